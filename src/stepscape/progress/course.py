"""How far an invocation of Snakemake is, and the sentences about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from stepscape.progress.expected import Expected, Tally, seconds_left

TRAINING_RULE = "train_pack"
TARGET_RULE = "all"  # only names what is wanted

_UNITS = (("s", 1.0, 90.0), ("min", 60.0, 5400.0), ("h", 3600.0, 129_600.0), ("days", 86_400.0, float("inf")))


@dataclass(frozen=True)
class Job:
    """A job that was started.

    Attributes:
        rule: its rule.
        pack: the wildcard of that name; "" for other rules.
        name: rule and wildcards.
        doing: the rule's message, else the name.
        begun: seconds of the Unix epoch.
    """

    rule: str
    pack: str
    name: str
    doing: str
    begun: float


@dataclass(frozen=True)
class Status:
    """One look at the work.

    Attributes:
        doing: what is being done.
        done: runs or jobs done.
        total: of how many.
        text: the same in words, with what failed and the time left.
    """

    doing: str
    done: int
    total: int
    text: str


class Course:
    """Bookkeeping of one invocation. Times are seconds of one clock that never goes back.

    Attributes:
        planned: jobs by rule and their "total", as Snakemake counts them; empty until it has.
        failed: jobs that failed and were not started again, by id.
    """

    def __init__(self, expected: Expected | None, now: float) -> None:
        self.planned: Mapping[str, int] = {}
        self.failed: dict[int, Job] = {}
        self._expected = expected or Expected({}, 0)
        self._tally = Tally(self._expected)
        self._running: dict[int, Job] = {}
        self._ended: Counter[str] = Counter()
        self._begun = self._latest_news = now
        self._training_since: float | None = None

    def start(self, jobid: int, job: Job, now: float) -> bool:
        """Notes that a job starts.

        Returns:
            Whether it failed before.
        """
        if job.rule == TRAINING_RULE:
            self._tally.expect_again(job.pack)
            if self._training_since is None:
                self._training_since = self._latest_news = now
        self._running[jobid] = job
        return self.failed.pop(jobid, None) is not None

    def finish(self, jobid: int) -> None:
        """Notes that a job ended well."""
        if jobid in self._running:
            self._ended[self._running.pop(jobid).rule] += 1

    def fail(self, jobid: int, job: Job) -> None:
        """Notes that a job failed; what it did not train is no longer expected."""
        self._running.pop(jobid, None)
        self.failed[jobid] = job
        self._tally.give_up(job.pack)

    def look(self, now: float, *, everywhere: bool = False) -> None:
        """Counts the runs published since the last look; `everywhere` as in `Tally.look`."""
        if self._tally.look(now, everywhere=everywhere):
            self._latest_news = now

    def running(self, jobid: int) -> Job | None:
        """Returns the job of that id while it runs."""
        return self._running.get(jobid)

    def left_of(self, pack: str) -> int:
        """Returns how many runs of a pack had no file at the last look."""
        return self._tally.left_of(pack)

    @property
    def training(self) -> bool:
        """Whether announced runs are being trained or wait for it."""
        met = self._ended[TRAINING_RULE] + self._training_jobs(self.failed)
        return bool(self._tally.total) and met < self.planned.get(TRAINING_RULE, 0)

    @staticmethod
    def _training_jobs(jobs: Mapping[int, Job]) -> int:
        return sum(job.rule == TRAINING_RULE for job in jobs.values())

    def status(self, now: float) -> Status:
        """Returns how far the runs are while they are trained, and the jobs before and after."""
        others = [job.doing for job in self._running.values() if job.rule not in (TRAINING_RULE, TARGET_RULE)]
        if self.training:
            return Status(others[-1] if others else "Training", self._tally.done, self._tally.total, self._runs(now))
        done, total = self._ended.total(), self.planned.get("total", 0)
        return Status(others[-1] if others else "Working", done, total, f"{done} of {count(total, 'job')}")

    def _runs(self, now: float) -> str:
        tally = self._tally
        parts = [f"{tally.done} of {self._at_most}{count(tally.total, 'run')}"]
        if tally.failed:
            parts.append(f"{tally.failed} failed")
        parts.append(f"{tally.to_go} to go")
        began = self._latest_news if self._training_since is None else self._training_since
        left = seconds_left(
            work_done=tally.work_done,
            work_to_go=tally.work_to_go,
            spent=self._latest_news - began,
            since=now - self._latest_news,
            at_once=self._training_jobs(self._running),
        )
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    @property
    def _at_most(self) -> str:
        """A target on the command line may need only some of the packs that the plan announced."""
        return "at most " if self._tally.packs > self.planned.get(TRAINING_RULE, 0) else ""

    def opening(self, *, dryrun: bool) -> str:
        """Returns what will be done, once it is planned."""
        others = self._jobs(self.planned)
        del others[TRAINING_RULE]
        packs, runs = min(self.planned.get(TRAINING_RULE, 0), self._tally.packs), self._tally.total
        if not packs:
            return f"{count(self._jobs(self.planned).total(), 'job')}: {_listed(self._jobs(self.planned))}."
        there = self._expected.total - runs
        text = (
            f"{'Would train' if dryrun else 'Training'} {self._at_most}{count(runs, 'run')} in {count(packs, 'pack')}"
        )
        text += f" ({there} of {self._expected.total} are there)" if there else ""
        text += f", an estimated {duration(self._tally.work_to_go)} of work" if dryrun else ""
        return f"{text}; then {_listed(others)}." if others else f"{text}."

    @staticmethod
    def _jobs(by_rule: Mapping[str, int]) -> Counter[str]:
        return Counter({rule: jobs for rule, jobs in by_rule.items() if rule not in ("total", TARGET_RULE)})

    def nothing_to_do(self) -> str:
        """Returns that everything exists, and of how many runs; "" where that was not announced."""
        if not self._expected.total or self._expected.runs:
            return ""
        return f"Nothing to do: all {count(self._expected.total, 'run')} are there, and all that is made from them."

    def summary(self, now: float) -> str:
        """Returns how the invocation ended."""
        took = duration(now - self._begun)
        jobs = self._jobs(self._ended)
        parts = []
        if self._tally.total and self.planned.get(TRAINING_RULE):
            parts.append(f"{count(self._tally.done, 'run')} trained")
            missing = self._tally.total - self._tally.done
            parts += [f"{missing} not trained"] if missing and not self._at_most else []
            del jobs[TRAINING_RULE]
        if jobs or not parts:
            parts.append(f"{count(jobs.total(), 'other job' if parts else 'job')} done")
        if self._ended.total() >= self.planned["total"]:
            return f"Finished in {took}: {', '.join(parts)}."
        return f"Not finished after {took}: {', '.join(parts)}. The same snakemake command goes on from here."


def count(number: int, noun: str) -> str:
    """Returns a number and its noun: "1 run", "3 runs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Returns a time in the unit that fits: "45 s", "12 min", "5 h", "3 days"."""
    unit, size = next((unit, size) for unit, size, limit in _UNITS if seconds < limit)
    return f"{max(1, round(seconds / size))} {unit}"


def _listed(jobs: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} {number}" for rule, number in jobs.items())
