"""The runs that an invocation has to train, and which of them are published."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepscape.study.paths import Paths
    from stepscape.study.plan import Plan

# A directory is listed while it changes and for this long after: some file systems date changes to 2 s only, so that a
# second run may be published under the time stamp of the first.
SETTLED_SECONDS = 3.0


@dataclass(frozen=True)
class RunFile:
    """One run to train.

    Attributes:
        path: where its file will be published.
        cost: estimated work in seconds.
        pack: id of the pack that trains it.
    """

    path: str | os.PathLike[str]
    cost: float
    pack: str


@dataclass(frozen=True)
class Expected:
    """What an invocation of Snakemake has to train.

    Attributes:
        runs: the runs without a file, by run id.
        total: runs of the whole plan, those that exist included.
    """

    runs: Mapping[str, RunFile]
    total: int


def expect(plan: Plan, paths: Paths, missing: Container[str]) -> Expected:
    """What an invocation has to train of a plan.

    Args:
        plan: the selected studies.
        paths: where results lie.
        missing: ids of the planned runs that have no file yet.

    Returns:
        Those runs, with the plan's own estimate of their cost.
    """
    from stepscape.study.plan import cost  # the Snakefile has loaded it; the plugin, which comes first, need not

    runs = {
        run.id: RunFile(paths.run(run.id), cost(run), pack.id)
        for pack in plan.packs
        for run in pack.runs
        if run.id in missing
    }
    return Expected(runs, total=len(plan.runs))


_latest: list[Expected] = []


def announce(expected: Expected) -> None:
    """Tells this process's progress display what will be trained; a later call replaces an earlier one."""
    _latest[:] = [expected]


def announced() -> Expected | None:
    """Returns what was announced last, if anything."""
    return _latest[0] if _latest else None


class Tally:
    """Counts published runs at the price of one `stat` a directory, whatever the number of runs.

    Relative paths are taken from the directory in which it is made.

    Attributes:
        total: runs to train.
        done: runs published so far.
        work_done: their estimated cost in seconds.
    """

    def __init__(self, expected: Expected) -> None:
        self.total = len(expected.runs)
        self.done = 0
        self.work_done = 0.0
        self._work = sum(run.cost for run in expected.runs.values())
        self._runs_left = Counter(run.pack for run in expected.runs.values())
        self._work_left: dict[str, float] = defaultdict(float)
        by_directory: dict[str, dict[str, RunFile]] = defaultdict(dict)
        for run in expected.runs.values():
            self._work_left[run.pack] += run.cost
            directory, name = os.path.split(run.path)
            by_directory[directory][name] = run
        self._pending = {Path(directory).absolute(): files for directory, files in by_directory.items()}
        self._given_up: set[str] = set()
        self._stamps: dict[Path, tuple[int, float]] = {}

    @property
    def packs(self) -> int:
        """Packs that hold the runs to train."""
        return len(self._work_left)

    @property
    def failed(self) -> int:
        """Runs without a file whose pack has failed."""
        return sum(self._runs_left[pack] for pack in self._given_up)

    @property
    def to_go(self) -> int:
        """Runs that are still expected."""
        return self.total - self.done - self.failed

    @property
    def work_to_go(self) -> float:
        """Their estimated cost in seconds."""
        return self._work - self.work_done - sum(self._work_left[pack] for pack in self._given_up)

    def left_of(self, pack: str) -> int:
        """Returns how many runs of a pack have no file yet; 0 for a pack that was not announced."""
        return self._runs_left[pack]

    def give_up(self, pack: str) -> None:
        """Expects no more of a pack, because its job has failed."""
        self._given_up.add(pack)

    def expect_again(self, pack: str) -> None:
        """Expects a pack's runs after all, because its job is tried again."""
        self._given_up.discard(pack)

    def look(self, now: float, *, everywhere: bool = False) -> int:
        """Counts the runs published since the last look.

        Args:
            now: seconds of a clock that never goes back.
            everywhere: list also the directories that seem unchanged.

        Returns:
            How many were published.
        """
        before = self.done
        for directory, pending in self._pending.items():
            if pending and (everywhere or self._changes(directory, now)):
                self._strike_off(directory, pending)
        return self.done - before

    def _changes(self, directory: Path, now: float) -> bool:
        try:
            stamp = directory.stat().st_mtime_ns
        except OSError:  # not made yet
            return False
        if stamp != self._stamps.get(directory, (None, now))[0]:
            self._stamps[directory] = (stamp, now)
        return now - self._stamps[directory][1] <= SETTLED_SECONDS

    def _strike_off(self, directory: Path, pending: dict[str, RunFile]) -> None:
        try:
            with os.scandir(directory) as entries:
                published = pending.keys() & {entry.name for entry in entries}
        except OSError:
            return
        for name in published:
            run = pending.pop(name)
            self.done += 1
            self.work_done += run.cost
            self._runs_left[run.pack] -= 1
            self._work_left[run.pack] -= run.cost


def seconds_left(*, work_done: float, work_to_go: float, spent: float, since: float, at_once: int) -> float | None:
    """Time to the end, if work goes on at the speed it had up to the latest published run.

    Between two published runs the estimate counts down instead of growing. Before the first one the plan's own estimate
    is taken at its word for every pack at work.

    Args:
        work_done: estimated seconds of work published since training began.
        work_to_go: estimated seconds of work still to do.
        spent: seconds from the beginning of training to the latest published run.
        since: seconds since then.
        at_once: packs being trained.

    Returns:
        Seconds, or None where the estimate has run out or nothing is known.
    """
    speed = work_done / spent if work_done and spent else float(at_once)
    left = work_to_go / speed - since if speed else 0.0
    return left if left > 0 else None
