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


def mend(sweep: Sweep, tally: Tally, undisturbed: dict[str, bytes], killed: int) -> None:
    """After a row of kills: nothing is damaged, and a restart makes the rest. All kills of the row count."""
    assert sweep.faults() == []
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
    with ledger.count("kill -9", "a job, before a file is opened, renamed or removed") as tally:
        for row in tries(16, 1):
            moments = random.Random(row)
            with tally.trying(f"row {row}"):
                sweep.clear()
                killed = 0
                for _ in range(4):
                    job = process(make_until, sweep, moments.randrange(count if killed == 0 else count // 2))
                    job.join()
                    assert job.exitcode in (0, -signal.SIGKILL)
                    killed += job.exitcode != 0
                    assert sweep.faults() == []
                mend(sweep, tally, undisturbed, killed)


def test_killed_at_any_time(sweep: Sweep, ledger: Ledger, tries: Tries, undisturbed: dict[str, bytes]) -> None:
    started = time.monotonic()
    job = process(make, sweep)
    job.join()
    assert job.exitcode == 0
    lasts = time.monotonic() - started
    with ledger.count("kill -9", "a job, at any time") as tally:
        for row in tries(10, 1):
            moments = random.Random(1000 + row)
            with tally.trying(f"row {row}"):
                sweep.clear()
                killed = 0
                for _ in range(4):
                    job = process(make, sweep)
                    job.join(moments.uniform(0.1, 0.9) * lasts)
                    job.kill()
                    job.join()
                    killed += job.exitcode == -signal.SIGKILL
                assert killed
                mend(sweep, tally, undisturbed, killed)
