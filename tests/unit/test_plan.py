"""Plans: which packs runs are in, that growing a study disturbs few of them, and what planning costs."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepscape.study.config import load_plan
from stepscape.study.identity import digest
from stepscape.study.plan import Pack, cost, make_plan, plan_packs
from stepscape.study.run import Run
from stepscape.study.spec import load_study
from tests.planning import SHIPPED, VALID, edited, in_block, load, run_python, runs_of

LRS = [round(0.01 * 1.1**n, 6) for n in range(20)]


def grid(folder: Path, lrs: Sequence[float], seeds: int = 5) -> tuple[Run, ...]:
    """Runs with 1,000 images, 400 steps and three batch sizes: for twenty learning rates and five seeds, 300."""
    return runs_of(
        folder,
        in_block("    batch_size: [32, 128, full]\n"),
        ("train_size: 100, test_size: 20", "train_size: 1000"),
        ("steps: 40", "steps: 400"),
        ("[0.1, 0.2]", str(list(lrs))),
        ("[0, 1]", str(list(range(seeds)))),
    )


def ids(packs: Sequence[Pack]) -> set[str]:
    return {pack.id for pack in packs}


def largest(packs: Sequence[Pack]) -> float:
    return max(pack.cost for pack in packs)


@pytest.mark.parametrize("number", [1, 2, 7, 20])
def test_every_run_is_in_one_pack(tmp_path: Path, number: int) -> None:
    runs = grid(tmp_path, LRS[:number])
    packs = plan_packs(runs)
    assert Counter(run.id for pack in packs for run in pack.runs) == Counter(run.id for run in runs)
    assert set(Counter(run.id for run in runs).values()) == {1}


def test_no_runs_make_no_packs() -> None:
    assert plan_packs([]) == []


def test_packs_do_not_depend_on_the_order_of_runs(tmp_path: Path) -> None:
    runs = grid(tmp_path, LRS)
    assert [pack.id for pack in plan_packs(reversed(runs))] == [pack.id for pack in plan_packs(runs)]


def test_a_pack_is_named_by_its_runs(tmp_path: Path) -> None:
    packs = plan_packs(grid(tmp_path, LRS))
    assert len(ids(packs)) == len(packs)
    for pack in packs:
        assert pack.id == digest("\n".join(run.id for run in pack.runs))
        assert pack.cost == pytest.approx(sum(map(cost, pack.runs)))


@pytest.mark.parametrize("added", [0.777, 0.0001, 0.0333])
def test_a_new_learning_rate_disturbs_few_packs_and_its_removal_none(tmp_path: Path, added: float) -> None:
    before = plan_packs(grid(tmp_path, LRS))
    runs = grid(tmp_path, [*LRS, added])
    assert len(runs) == 315
    after = plan_packs(runs)
    assert len(ids(before) & ids(after)) >= len(before) - 3, "more than a pack for each of three batch sizes"
    assert ids(plan_packs(grid(tmp_path, LRS))) == ids(before)


def test_the_seeds_of_a_configuration_are_trained_together(tmp_path: Path) -> None:
    homes: dict[tuple[object, ...], set[str]] = {}
    for pack in plan_packs(grid(tmp_path, LRS)):
        for run in pack.runs:
            homes.setdefault((run.lr, run.batch_size), set()).add(pack.id)
    assert [len(packs) for packs in homes.values()] == [1] * 60


def test_runs_of_a_pack_are_alike_in_shape(tmp_path: Path) -> None:
    packs = plan_packs(grid(tmp_path, LRS))
    assert all(len({run.batch for run in pack.runs}) == 1 for pack in packs)


@pytest.mark.parametrize("number", [4, 8, 20])
def test_packs_are_of_a_sensible_length(tmp_path: Path, number: int) -> None:
    packs = plan_packs(grid(tmp_path, LRS[:number]))
    total = sum(pack.cost for pack in packs)
    assert len(packs) >= min(4, total / 16), "so that all cores have work"
    assert largest(packs) <= max(16, total / 4)
    assert total / len(packs) >= 4, "or starting a process would be the main cost"


def test_a_long_study_is_cut_into_jobs_of_minutes(tmp_path: Path) -> None:
    text = VALID.replace("steps: 40", "steps: 40000").replace("[0, 1]", "{linear: [0, 99], step: 1}")
    packs = plan_packs(load(tmp_path, text).runs)
    assert 150 <= largest(packs) <= 300


def test_a_run_longer_than_a_pack_is_a_pack(tmp_path: Path) -> None:
    packs = plan_packs(runs_of(tmp_path, ("steps: 40", "steps: 1000000")))
    assert [len(pack.runs) for pack in packs] == [1, 1, 1, 1]
    assert all(pack.cost > 300 for pack in packs)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_are_cut_into_sensible_packs(path: Path) -> None:
    study = load_study(path)
    assert ids(study.packs) == ids(make_plan([study]).packs)
    mean = math.fsum(pack.cost for pack in study.packs) / len(study.packs)
    if path.stem.endswith(("_smoke", "_looks")):  # seconds or minutes in all
        assert mean >= 4 or len(study.packs) <= 2, "no more packs than generations"
    else:
        assert mean >= 4
    assert largest(study.packs) <= 300 or all(len(pack.runs) == 1 for pack in study.packs if pack.cost > 300)


@pytest.mark.parametrize(
    "edit",
    [
        ("steps: 40", "steps: 80"),
        ("hidden: [8]", "hidden: [64, 64]"),
        ("train_size: 100", "train_size: 1000"),
        ("every: 20, k: 2", "every: 10, k: 2"),
        ("every: 20, k: 2", "every: 20, k: 8"),
        in_block("    observe: {preconditioned_top: {every: 20}}\n"),
    ],
    ids=lambda edit: edit[1],
)
def test_what_takes_longer_costs_more(tmp_path: Path, edit: tuple[str, str]) -> None:
    assert cost(runs_of(tmp_path, edit)[0]) > cost(runs_of(tmp_path)[0])


@pytest.mark.parametrize("edit", [("[0.1, 0.2]", "[0.3]"), ("[0, 1]", "[5]")], ids=lambda edit: edit[1])
def test_what_takes_as_long_costs_as_much(tmp_path: Path, edit: tuple[str, str]) -> None:
    assert cost(runs_of(tmp_path, edit)[0]) == cost(runs_of(tmp_path)[0])


def test_a_run_that_two_studies_share_is_trained_for_the_first(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(VALID)
    (tmp_path / "second.yaml").write_text(edited(("[0.1, 0.2]", "[0.2, 0.3]")))
    plan = load_plan([str(tmp_path / "first.yaml"), str(tmp_path / "second.yaml")])
    first, second = plan.studies
    assert len(plan.runs) == 6
    assert sum(len(pack.runs) for pack in plan.packs) == 6
    assert ids(plan.packs_of(first)) == ids(plan_packs(first.runs))
    shared = {run.id for run in first.runs} & {run.id for run in second.runs}
    assert len(shared) == 2
    assert {run.id for pack in plan.packs_of(second) for run in pack.runs} >= {run.id for run in second.runs}
    assert plan.study("second") is second


def test_a_thousand_runs_are_planned_within_a_second_of_one_core(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text(
        edited(
            in_block("    batch_size: [10, full]\n"),
            ("[0.1, 0.2]", "{geometric: [1e-3, 1], factor: 1.0715}"),
            ("[0, 1]", "{linear: [0, 4], step: 1}"),
        )
    )
    code = (
        "import json, sys, time\n"
        "from stepscape.study.config import load_plan\n"
        "plan = load_plan(['large.yaml'])\n"
        "heavy = {'torch', 'xarray', 'zarr', 'pandas', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "print(json.dumps([len(plan.runs), time.process_time(), sorted(heavy)]))\n"
    )
    measured = [json.loads(run_python(code, cwd=tmp_path)) for _ in range(3)]
    assert measured[0][0] == 1010
    assert measured[0][2] == []
    seconds = min(seconds for _, seconds, _ in measured)
    print(f"planning 1,010 runs took {seconds:.2f} s of one core, imports included")
    assert seconds < 1
