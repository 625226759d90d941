"""What jobs ask for, learned from receipts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepscape.cluster import jobs
from stepscape.cluster.jobs import Requests
from stepscape.store.costs import Costs, learn
from stepscape.store.receipts import RECEIPT_KEYS
from stepscape.store.seals import unsealed_json, write_sealed
from stepscape.study.paths import Paths
from stepscape.study.plan import Plan, cost, make_plan
from tests.factories import LEAST_SQUARES, make_study, train_plan

GRID = [{"lr": [0.5, 1.0], "seed": [0, 1]}, {"lr": [0.5], "optimizer": "heavy_ball"}]


def read_receipt(path: Path) -> dict[str, Any]:
    return unsealed_json(path.read_bytes(), RECEIPT_KEYS)


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Plan, Paths]:
    """Two shapes of runs, in one pack; receipts say that those of gradient descent took ten times what was planned."""
    defaults = {key: value for key, value in LEAST_SQUARES.items() if key not in ("lr", "optimizer")}
    grid = [{"optimizer": "gd", **block} for block in GRID]
    plan = make_plan([make_study(tmp_path / "studies", defaults=defaults, grid=grid)])
    paths = Paths(tmp_path / "results")
    train_plan(plan, paths)
    told = {"gd": (10.0, 700), "heavy_ball": (2.0, 900)}
    for pack in plan.packs:
        receipt = read_receipt(paths.receipt(pack.id))
        for run in pack.runs:
            factor, memory = told[run.optimizer.name]
            receipt["runs"][run.id] |= {"seconds": factor * cost(run), "mem_mb": memory}
        write_sealed(paths.receipt(pack.id), receipt)
    return plan, paths


def test_what_receipts_tell_is_believed_shape_by_shape(trained: tuple[Plan, Paths]) -> None:
    plan, paths = trained
    costs = learn(plan, paths)
    for run in plan.runs.values():
        factor = {"gd": 10.0, "heavy_ball": 2.0}[run.optimizer.name]
        assert costs.seconds([run]) == pytest.approx(factor * cost(run))
    assert costs.taken == pytest.approx(costs.seconds(plan.runs.values()))
    assert costs.planned == pytest.approx(sum(map(cost, plan.runs.values())))
    assert costs.mem_mb(plan.runs.values()) == 900


def test_a_shape_never_seen_takes_as_much_more_as_all_others_did(trained: tuple[Plan, Paths]) -> None:
    plan, paths = trained
    costs = learn(plan, paths)
    gd = [run for run in plan.runs.values() if run.optimizer.name == "gd"]
    other = Costs(costs.ratio, {}, {}, costs.taken, costs.planned)
    assert other.seconds(gd) == pytest.approx(costs.taken / costs.planned * sum(map(cost, gd)))
    assert other.mem_mb(gd) == 0


def test_without_receipts_the_formula_stands(tmp_path: Path) -> None:
    plan = make_plan([make_study(tmp_path / "studies")])
    costs = learn(plan, Paths(tmp_path / "results"))
    assert costs == Costs()
    assert not costs.is_learned
    assert costs.seconds(plan.runs.values()) == pytest.approx(sum(map(cost, plan.runs.values())))


def test_runs_that_ended_early_tell_nothing(trained: tuple[Plan, Paths]) -> None:
    plan, paths = trained
    for pack in plan.packs:
        receipt = read_receipt(paths.receipt(pack.id))
        for said in receipt["runs"].values():
            said["status"] = "diverged"
        write_sealed(paths.receipt(pack.id), receipt)
    assert learn(plan, paths) == Costs()


def test_a_receipt_says_how_much_memory_the_process_had_used(tmp_path: Path) -> None:
    plan, paths = make_plan([make_study(tmp_path / "studies")]), Paths(tmp_path / "results")
    train_plan(plan, paths)
    here = next(int(row.split()[1]) for row in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in row)
    told = [said["mem_mb"] for pack in plan.packs for said in read_receipt(paths.receipt(pack.id))["runs"].values()]
    assert all(here / 1024 / 2 < memory <= here / 1024 + 1 for memory in told), (told, here)


def test_jobs_ask_for_what_is_missing_with_a_margin(trained: tuple[Plan, Paths], monkeypatch) -> None:
    plan, paths = trained
    (pack,) = plan.packs
    monkeypatch.setattr(jobs, "START_SECONDS", 1000.0)
    assert Requests(plan, paths).minutes(pack.id) == 17, "nothing is missing"
    for run in pack.runs:
        paths.run(run.id).unlink()
    monkeypatch.setattr(jobs, "_MARGIN", 1000.0)
    costs = learn(plan, paths)
    assert Requests(plan, paths).minutes(pack.id) == -(-(1000 + 1000 * costs.seconds(pack.runs)) // 60)
    assert Requests(plan, paths).mem_mb(pack.id) == 2000
    monkeypatch.setattr(jobs, "_MARGIN_MEMORY", 10.0)
    assert Requests(plan, paths).mem_mb(pack.id) == 9000


def test_jobs_of_which_nothing_is_known_ask_for_the_least(tmp_path: Path) -> None:
    plan, paths = make_plan([make_study(tmp_path / "studies")]), Paths(tmp_path / "results")
    (pack,) = plan.packs
    assert (Requests(plan, paths).minutes(pack.id), Requests(plan, paths).mem_mb(pack.id)) == (10, 8000)


def test_inside_a_job_no_receipt_is_read(trained: tuple[Plan, Paths], monkeypatch: pytest.MonkeyPatch) -> None:
    plan, paths = trained
    (pack,) = plan.packs
    monkeypatch.setattr(jobs, "_latest", [])
    assert (jobs.minutes(pack.id), jobs.mem_mb(pack.id)) == (10, 2000)
    jobs.announce(plan, paths)
    assert jobs.minutes(pack.id) == Requests(plan, paths).minutes(pack.id)


def test_receipts_without_times_tell_nothing(trained: tuple[Plan, Paths]) -> None:
    """Such as those that unpacking an archive writes."""
    plan, paths = trained
    for pack in plan.packs:
        receipt = read_receipt(paths.receipt(pack.id))
        for said in receipt["runs"].values():
            del said["seconds"]
        write_sealed(paths.receipt(pack.id), receipt)
    assert learn(plan, paths) == Costs()
