"""Damaged and deleted files: each is noticed by name, and what the message says to do mends it.

In a round one file of each kind is harmed; all must be named, no other may be, and one restart mends them.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.harms import Harm, flip, truncate, zero_tail
from tests.faults.ledger import Ledger
from tests.faults.moments import make_until
from tests.faults.sweep import Sweep, process

Tries = Callable[[int, int], range]

PLACES: dict[str, Callable[[Sweep], list[Path]]] = {
    "run files": lambda sweep: [sweep.paths.run(run.id) for run in sweep.study.runs],
    "receipts": lambda sweep: [sweep.paths.receipt(pack.id) for pack in sweep.plan.packs],
    "plans of packs": lambda sweep: [sweep.paths.pack_plan(pack.id) for pack in sweep.plan.packs],
    "checkpoints": lambda sweep: [sweep.paths.checkpoint(sweep.plan.packs[0].id)],
    "parts": lambda sweep: sorted(sweep.paths.parts.iterdir()),
    "datasets": lambda sweep: sorted(file for file in _folder(sweep).rglob("*") if file.is_file()),
    "archives": lambda sweep: [sweep.paths.archive(sweep.study.name)],
}
HARMS: dict[str, tuple[Harm, int]] = {
    "bit flipped": (flip, 30),
    "truncated": (truncate, 15),
    "tail of zeros": (zero_tail, 6),
}


def _folder(sweep: Sweep) -> Path:
    """Dataset, table and the list of their checksums."""
    return sweep.paths.study(sweep.study.name)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a job leaves that is killed while it trains."""
    sweep = Sweep(tmp_path_factory.mktemp("killed"))
    (path,) = PLACES["checkpoints"](sweep)
    for touch in range(40, 400, 7):
        job = process(make_until, sweep, touch)
        job.join()
        if path.exists():
            return path.read_bytes()
        sweep.clear()
    raise AssertionError("no job left a checkpoint")


@pytest.fixture
def begin(sweep: Sweep, checkpoint: bytes, undisturbed: dict[str, bytes]) -> Callable[[], None]:
    """Before each round: a finished sweep, and a checkpoint that the next job of its pack would go on from."""

    def begun() -> None:
        plans = PLACES["plans of packs"](sweep)  # of a pack whose runs all exist no plan is written
        if sweep.results() != undisturbed or not all(path.exists() for path in plans):
            sweep.clear()
            sweep.make()
        (path,) = PLACES["checkpoints"](sweep)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(checkpoint)
        assert sweep.faults() == []

    return begun


@pytest.mark.parametrize("harm", HARMS)
def test_damage(
    sweep: Sweep,
    begin: Callable[[], None],
    harm: str,
    ledger: Ledger,
    tries: Tries,
    undisturbed: dict[str, bytes],
) -> None:
    change, rounds = HARMS[harm]
    with ExitStack() as counting:
        tallies = {place: counting.enter_context(ledger.count(harm, place, damage=True)) for place in PLACES}
        for number in tries(rounds, 1):
            begin()
            chance = random.Random(f"{harm} {number}")
            with ExitStack() as trying:
                for tally in tallies.values():
                    trying.enter_context(tally.trying(f"round {number}"))
                harmed = {place: chance.choice(paths(sweep)) for place, paths in PLACES.items()}
                for path in harmed.values():
                    before = path.read_bytes()
                    path.write_bytes(change(before, chance))
                    assert path.read_bytes() != before
                for place in _named(sweep, harmed):
                    tallies[place].noticed += 1
                _follow_the_advice(sweep, harmed.values())
                sweep.make()
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                for tally in tallies.values():
                    tally.mended += 1


def _named(sweep: Sweep, harmed: dict[str, Path]) -> set[str]:
    """The places whose harmed file is named, while no other file is."""
    faults = sweep.faults()
    strange = [fault for fault in faults if not any(fault.startswith(f"{path}: ") for path in harmed.values())]
    assert not strange, strange
    return {place for place, path in harmed.items() if any(fault.startswith(f"{path}: ") for fault in faults)}


def _follow_the_advice(sweep: Sweep, harmed: Iterable[Path]) -> None:
    """Deletes what is damaged, of a dataset all, as the messages say; a checkpoint is set aside by the next job."""
    for path in harmed:
        if path.is_relative_to(_folder(sweep)):
            shutil.rmtree(sweep.paths.dataset(sweep.study.name))
        elif path not in PLACES["checkpoints"](sweep):
            path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("noticed", "silent"),
    [("run files", ["parts", "archives"]), ("datasets", ["receipts", "plans of packs", "checkpoints"])],
)
def test_deleted(
    sweep: Sweep,
    begin: Callable[[], None],
    noticed: str,
    silent: list[str],
    ledger: Ledger,
    tries: Tries,
    undisturbed: dict[str, bytes],
) -> None:
    """A restart makes it again; where something else tells that it was there, this is noticed before."""
    with ExitStack() as counting:
        tallies = {
            place: counting.enter_context(ledger.count("deleted", place, damage=place == noticed))
            for place in [noticed, *silent]
        }
        for number in tries(5, 1):
            begin()
            chance = random.Random(f"deleted {number}")
            with ExitStack() as trying:
                for tally in tallies.values():
                    trying.enter_context(tally.trying(f"round {number}"))
                gone = {place: chance.choice(PLACES[place](sweep)) for place in tallies}
                for path in gone.values():
                    path.unlink()
                assert _named(sweep, gone) == {noticed}
                tallies[noticed].noticed += 1
                _follow_the_advice(sweep, [gone[noticed]])
                sweep.make()
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                for tally in tallies.values():
                    tally.mended += 1


FOLDERS = ["runs", "packs", "parts", "studies", "archives", "."]


def test_a_whole_folder_is_gone(
    sweep: Sweep, begin: Callable[[], None], ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]
) -> None:
    with ledger.count("deleted", "whole folders of results") as tally:
        for number in tries(len(FOLDERS), 1):
            begin()
            with tally.trying(FOLDERS[number]):
                shutil.rmtree(sweep.paths.root / FOLDERS[number])
                sweep.make()
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                tally.mended += 1
