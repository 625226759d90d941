"""Killed processes: whenever it happens, nothing is damaged, and a restart ends with the same bytes."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.ledger import Ledger, Tally
from tests.faults.moments import count_touches, make_until
from tests.faults.sweep import Sweep, make, process

Tries = Callable[[int, int], range]


def touches(folder: Path) -> int:
    """How often an undisturbed sweep touches its results."""
    told = folder / "touches"
    job = process(count_touches, Sweep(folder / "counted"), told)
    job.join()
    assert job.exitcode == 0
    return int(told.read_text())


def check(sweep: Sweep, tally: Tally, undisturbed: dict[str, bytes], killed: int) -> None:
    """After a row of kills a restart makes the rest. All kills of the row count as tries."""
    sweep.make()
    assert sweep.results() == undisturbed
    assert sweep.faults() == []
    tally.tried += killed - 1
    tally.mended += killed


def test_killed_at_any_touch_of_a_file(
    sweep: Sweep, tmp_path: Path, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]
) -> None:
    count = touches(tmp_path)
    assert count > 100
    moments = random.Random(0)
    with ledger.count("kill -9", "a job, before it touches a file") as tally:
        while tally.tried < len(tries(64, 2)) and not tally.failures:
            sweep.clear()
            with tally.trying(f"try {tally.tried}"):
                killed = 0
                while killed < 4:
                    job = process(make_until, sweep, moments.randrange(count // (1 + killed)))
                    job.join()
                    assert sweep.damage() == []
                    if job.exitcode == 0:
                        break
                    assert job.exitcode == -signal.SIGKILL
                    killed += 1
                check(sweep, tally, undisturbed, killed)


def test_killed_at_any_time(sweep: Sweep, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]) -> None:
    started = time.monotonic()
    job = process(make, sweep)
    job.join()
    assert job.exitcode == 0
    lasts = time.monotonic() - started
    moments = random.Random(1)
    with ledger.count("kill -9", "a job, at any time") as tally:
        while tally.tried < len(tries(28, 2)) and not tally.failures:
            sweep.clear()
            with tally.trying(f"try {tally.tried}"):
                job, killed = None, 0
                while killed < 4 and (job is None or job.exitcode != 0):
                    job = process(make, sweep)
                    job.join(moments.uniform(0, 0.9) * lasts)
                    job.kill()
                    job.join()
                    killed += job.exitcode == -signal.SIGKILL
                    assert sweep.damage() == []
                check(sweep, tally, undisturbed, killed or 1)
