"""Receipts: they agree with the run files when Snakemake plans, whatever was deleted, regrouped or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepscape.errors import StepscapeError
from stepscape.store.receipts import existing_runs, keep_up, known, missing_runs, read_pack, runs_of, write_receipt
from stepscape.study.paths import Paths
from stepscape.study.plan import Pack, Plan
from stepscape.study.run import Run
from stepscape.training.pack import train_pack
from tests.factories import make_run, write_pack


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "results")


@pytest.fixture
def runs() -> list[Run]:
    return [make_run(seed=seed, budget={"steps": 2}) for seed in range(4)]


def plan_of(*groups: list[Run]) -> Plan:
    return Plan((), tuple(Pack(tuple(group)) for group in groups))


def trained(plan: Plan, paths: Paths) -> None:
    keep_up(plan, paths)
    for pack in plan.packs:
        assert train_pack(pack.id, paths, "cpu")


def told_of(paths: Paths, pack: Pack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(paths.receipt(pack.id).read_text())["runs"]
    return found


def test_a_new_plan_writes_what_its_jobs_read_and_nothing_else(paths: Paths, runs: list[Run]) -> None:
    plan = plan_of(runs[:2], runs[2:])
    assert existing_runs(paths) == set()
    assert keep_up(plan, paths) == plan.runs
    assert sorted(path.name for path in paths.packs.iterdir()) == sorted(f"{pack.id}.plan.json" for pack in plan.packs)
    for pack in plan.packs:
        assert read_pack(paths, pack.id) == pack


def test_a_deleted_run_sets_its_receipt_aside_and_no_other(paths: Paths, runs: list[Run]) -> None:
    plan = plan_of(runs[:2], runs[2:])
    trained(plan, paths)
    before = {pack.id: paths.receipt(pack.id).read_bytes() for pack in plan.packs}
    assert keep_up(plan, paths) == {}
    assert {pack.id: paths.receipt(pack.id).read_bytes() for pack in plan.packs} == before
    paths.run(runs[0].id).unlink()
    assert keep_up(plan, paths) == {runs[0].id: runs[0]}
    first, second = plan.packs
    assert not paths.receipt(first.id).exists()
    assert (paths.packs / "aside" / f"{first.id}.json").read_bytes() == before[first.id]
    assert paths.receipt(second.id).read_bytes() == before[second.id]
    said = told_of(paths, second)[runs[2].id]
    assert train_pack(first.id, paths, "cpu")
    assert told_of(paths, first)[runs[1].id] == json.loads(before[first.id])["runs"][runs[1].id]
    assert told_of(paths, second)[runs[2].id] == said


def test_regrouped_packs_copy_what_old_receipts_say(paths: Paths, runs: list[Run]) -> None:
    trained(plan_of(runs[:2], runs[2:]), paths)
    said = {run_id: told for receipt in paths.packs.glob("*.json") for run_id, told in runs_of(receipt).items()}
    plan = plan_of(runs[:1], runs[1:])
    assert keep_up(plan, paths) == {}
    for pack in plan.packs:
        assert told_of(paths, pack) == {run.id: said[run.id] for run in pack.runs}
        assert not paths.pack_plan(pack.id).exists(), "no job will read it"


def test_of_a_run_that_was_trained_twice_the_last_word_counts(paths: Paths, runs: list[Run]) -> None:
    pack, plan = Pack((runs[0],)), plan_of(runs[:1])
    trained(plan, paths)
    said = told_of(paths, pack)[runs[0].id]
    for index in range(6):  # whichever name comes first in the folder
        stale = Pack((runs[0], make_run(seed=10 + index)))
        old = {**said, "sha256": f"old {index}", "finished": f"200{index}-01-01T00:00:00+00:00"}
        write_receipt(paths, stale, {runs[0].id: old})
    assert known(paths, [runs[0].id]) == {runs[0].id: said}


def test_runs_without_a_receipt_are_told_of_as_unknown(paths: Paths, runs: list[Run]) -> None:
    plan = plan_of(runs)
    trained(plan, paths)
    paths.receipt(plan.packs[0].id).unlink()
    paths.failures(plan.packs[0].id).write_text("{}")
    assert keep_up(plan, paths) == {}
    assert told_of(paths, plan.packs[0]) == dict.fromkeys((run.id for run in runs), None)
    assert not paths.failures(plan.packs[0].id).exists()


@pytest.mark.parametrize("content", ["{", "[]", "3", '{"runs": 3}', '{"runs": {"x": 3}}', '{"runs": {"x": {}}}', ""])
def test_a_damaged_receipt_of_another_pack_does_no_harm(paths: Paths, runs: list[Run], content: str) -> None:
    plan = plan_of(runs[:1])
    trained(plan, paths)
    other = paths.packs / "0123456789abcdef.json"
    other.write_text(content.replace("x", runs[0].id))
    assert known(paths, [runs[0].id]) == {runs[0].id: told_of(paths, plan.packs[0])[runs[0].id]}


def test_what_is_half_written_is_no_run(paths: Paths, runs: list[Run]) -> None:
    path = paths.run(runs[0].id)
    path.parent.mkdir(parents=True)
    path.with_name(f".{path.name}.host.7.tmp").write_bytes(b"half")
    (paths.runs / "README").write_text("no folder")
    plan = plan_of(runs[:1])
    assert missing_runs(plan, paths) == plan.runs


def test_asking_writes_nothing(paths: Paths, runs: list[Run]) -> None:
    assert missing_runs(plan_of(runs), paths).keys() == {run.id for run in runs}
    assert not paths.root.exists()


def test_a_plan_under_another_name_is_refused(paths: Paths, runs: list[Run]) -> None:
    first, second = write_pack(paths, runs[:1]), write_pack(paths, runs[1:])
    paths.pack_plan(first.id).write_bytes(paths.pack_plan(second.id).read_bytes())
    with pytest.raises(StepscapeError, match="damaged"):
        read_pack(paths, first.id)
