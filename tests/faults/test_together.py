"""Several invocations on one results folder at once, and clocks that jump."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

from tests.faults.ledger import Ledger
from tests.faults.moments import at_touch, make_until
from tests.faults.sweep import Sweep, make, process

Tries = Callable[[int, int], range]
YEAR = 365 * 86_400.0


def test_three_at_once(sweep: Sweep, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]) -> None:
    with ledger.count("at once", "three invocations, no lock") as tally:
        for number in tries(6, 1):
            with tally.trying(f"try {number}"):
                sweep.clear()
                jobs = [process(make, sweep) for _ in range(3)]
                for job in jobs:
                    job.join()
                assert [job.exitcode for job in jobs] == [0, 0, 0]
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                tally.mended += 1


def test_of_two_at_once_one_is_killed(
    sweep: Sweep, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]
) -> None:
    with ledger.count("kill -9", "one of two invocations") as tally:
        for number in tries(6, 1):
            with tally.trying(f"try {number}"):
                sweep.clear()
                killed = process(make_until, sweep, random.Random(number).randrange(150))
                other = process(make, sweep)
                killed.join()
                other.join()
                assert (killed.exitcode, other.exitcode) == (-signal.SIGKILL, 0)
                sweep.make()
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                tally.mended += 1


def test_a_clock_that_jumps(sweep: Sweep, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]) -> None:
    """Of one of two that train at once, by years or by hours, there or back, at any touch."""
    with ledger.count("clock jumps", "of one of two invocations") as tally:
        for number in tries(6, 1):
            with tally.trying(f"try {number}"):
                sweep.clear()
                chance = random.Random(number)
                by = chance.choice([-1, 1]) * chance.choice([3600.0, 10 * YEAR])
                jobs = [process(make_while_time_jumps, sweep, chance.randrange(200), by), process(make, sweep)]
                for job in jobs:
                    job.join()
                assert [job.exitcode for job in jobs] == [0, 0]
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                tally.mended += 1


def make_while_time_jumps(sweep: Sweep, touch: int, by: float) -> None:
    """Makes a sweep; from a touch on, the time of day is another."""
    now, now_ns = time.time, time.time_ns

    def jump() -> None:
        time.time = lambda: now() + by
        time.time_ns = lambda: now_ns() + round(by * 1e9)

    at_touch(touch, sweep.paths.root, jump)
    sweep.make()


def test_time_stamps_of_another_clock(
    sweep: Sweep, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]
) -> None:
    """Some files are from the future, some from the past, and some are missing: the restart makes these."""
    with ledger.count("clock jumps", "time stamps of all files") as tally:
        for number in tries(6, 1):
            with tally.trying(f"try {number}"):
                sweep.clear()
                sweep.make()
                chance = random.Random(number)
                for file in sorted(path for path in sweep.paths.root.rglob("*") if path.is_file()):
                    then = time.time() + chance.uniform(-YEAR, YEAR)
                    os.utime(file, (then, then))
                sweep.paths.run(chance.choice(sweep.study.runs).id).unlink()
                sweep.make()
                assert sweep.results() == undisturbed
                assert sweep.faults() == []
                tally.mended += 1
