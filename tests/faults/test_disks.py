"""Disks that are full or read-only, and folders that vanish while a job writes to them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from stepscape.errors import StepscapeError
from tests.faults.disks import disk, leave_room, remount
from tests.faults.ledger import Ledger
from tests.faults.moments import at_touch
from tests.faults.sweep import Sweep, command, process

Tries = Callable[[int, int], range]
__all__ = ["disk"]
ROOM = 160_000  # bytes; what the sweep leaves is half as much again


def refused(sweep: Sweep) -> str:
    """Makes a sweep; what it said where it could not go on, "" where it could."""
    try:
        sweep.make()
    except StepscapeError as error:
        return str(error)
    return ""


def test_a_full_disk(disk: Path, tmp_path: Path, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]) -> None:
    sweep = Sweep(tmp_path / "sweep", disk / "results")
    with ledger.count("disk full", "at any file of a sweep", damage=True) as tally:
        for number in tries(16, 2):
            chance = random.Random(number)
            sweep.clear()
            with tally.trying(f"try {number}"):
                filler = leave_room(disk, chance.randrange(ROOM))
                said = refused(sweep)
                assert "the disk is full" in said
                assert str(disk / "results") in said
                assert "Make room there" in said
                assert sweep.damage() == []
                tally.noticed += 1
                filler.unlink()
                sweep.make()
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                tally.mended += 1


def test_a_read_only_disk(
    disk: Path, tmp_path: Path, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]
) -> None:
    sweep = Sweep(tmp_path / "sweep", disk / "results")
    with ledger.count("disk read-only", "results, at any stage", damage=True) as tally:
        for number in tries(4, 1):
            with tally.trying(f"stage {number}"):
                sweep.clear()
                sweep.make()
                for gone in [sweep.paths.archive("faulty"), sweep.paths.dataset("faulty"), sweep.paths.runs][:number]:
                    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
                sweep.paths.archive("faulty").unlink(missing_ok=True)
                remount(disk, "ro")
                try:
                    said = refused(sweep)
                    assert "it is read-only" in said
                    assert str(disk) in said
                    assert "Traceback" not in "".join(map(str, command("gc", "--delete", "--results", disk)[1:]))
                finally:
                    remount(disk, "rw")
                tally.noticed += 1
                sweep.make()
                assert sweep.results() == undisturbed
                tally.mended += 1


FOLDERS = ["runs", "packs", "leases", "checkpoints", "parts", "studies", "."]


def test_a_folder_vanishes_while_a_job_runs(
    sweep: Sweep, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]
) -> None:
    with ledger.count("deleted", "a folder, while a job writes to it") as tally:
        for number in tries(2 * len(FOLDERS), 1):
            folder = FOLDERS[number % len(FOLDERS)]
            with tally.trying(f"{folder}, try {number}"):
                sweep.clear()
                job = process(make_without, sweep, random.Random(number).randrange(20, 300), sweep.paths.root / folder)
                job.join()
                assert job.exitcode in (0, 1), "it ends by itself, whether it could go on or not"
                sweep.make()
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                tally.mended += 1


def make_without(sweep: Sweep, touch: int, folder: Path) -> None:
    """Makes a sweep; a folder is removed at a touch."""
    at_touch(touch, sweep.paths.root, lambda: shutil.rmtree(folder, ignore_errors=True))
    sweep.make()
