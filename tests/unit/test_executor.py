"""The executor for SLURM: when it looks at jobs, and what it makes of those that were preempted."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from snakemake_executor_plugin_slurm import Executor as SlurmExecutor

import snakemake_executor_plugin_stepscape_slurm as plugin

SOONEST = 5


class Limiter(nullcontext[None]):
    """Lets everything pass."""


class Resources(dict[str, Any]):
    """Of a job; by key and by name, as Snakemake has them."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Follower(plugin.Executor):
    """An executor without Snakemake and SLURM; `states` is what `squeue` would print."""

    def __init__(self) -> None:
        settings = SimpleNamespace(init_seconds_before_status_checks=SOONEST)
        self.workflow = SimpleNamespace(executor_settings=settings)
        self.run_uuid, self.logger, self.status_rate_limiter = "name", None, Limiter()
        self.states: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.next_seconds = 0.0

    @property
    def next_seconds_between_status_checks(self) -> float:
        return self.next_seconds

    @next_seconds_between_status_checks.setter
    def next_seconds_between_status_checks(self, value: float) -> None:
        self.next_seconds = value

    def report_job_error(self, info: Any, msg: str = "", aux_logs: Any = None) -> None:
        self.failed[info.external_jobid] = msg
        assert aux_logs == [f"{info.external_jobid}.log"]

    def look(self) -> set[str]:
        """One look at all jobs that have not failed; those that go on."""
        jobs = [
            SimpleNamespace(external_jobid=job, aux={"slurm_logfile": Path(f"{job}.log")})
            for job in self.states
            if job not in self.failed
        ]

        async def followed() -> set[str]:
            return {info.external_jobid async for info in self.check_active_jobs(jobs)}

        return asyncio.run(followed())


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch) -> Follower:
    made = Follower()

    async def query(command: str, logger: Any) -> tuple[dict[str, str], float]:
        assert "--name name" in command
        return made.states, 0.0

    async def as_upstream(self: SlurmExecutor, active_jobs: Any) -> Any:
        """Of the plugin itself: what runs or was preempted goes on; the rest has ended."""
        for info in active_jobs:
            if made.states[info.external_jobid] in ("RUNNING", "PENDING", "PREEMPTED"):
                yield info

    monkeypatch.setattr(plugin, "query_job_status", query)
    monkeypatch.setattr(SlurmExecutor, "check_active_jobs", as_upstream)
    return made


def test_a_job_that_was_preempted_for_good_has_failed(follower: Follower) -> None:
    follower.states = {"1": "RUNNING", "2": "PREEMPTED", "3": "PENDING", "4": "COMPLETED"}
    assert follower.look() == {"1", "3"}
    assert list(follower.failed) == ["2"]
    assert "2 was preempted" in follower.failed["2"]


def test_a_slurm_that_does_not_answer_fails_no_job(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(command: str, logger: Any) -> tuple[None, None]:
        return None, None

    monkeypatch.setattr(plugin, "query_job_status", nothing)
    follower.states = {"1": "RUNNING"}
    assert follower.look() == {"1"}
    assert follower.failed == {}


def looks(follower: Follower, clock: list[float], until: float) -> list[float]:
    """When it looks, while nothing changes."""
    found = []
    while clock[0] < until:
        follower.look()
        found.append(clock[0])
        clock[0] += follower.next_seconds
    return found


def test_ends_are_seen_a_tenth_of_the_quiet_time_late_at_most(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    follower.states = {"1": "RUNNING"}
    times = [when - 1000 for when in looks(follower, clock, 1000 + 7200)]
    late = {end: next(when for when in times if when >= end) - end for end in range(1, 7000)}
    assert all(late[end] <= min(max(SOONEST, end / 10), 180) for end in late), max(late.values())
    assert sum(when < 3600 for when in times) < 70, "SLURM is not asked all the time"


def test_a_new_job_and_an_end_are_followed_closely(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    follower.states = {"1": "RUNNING", "2": "RUNNING"}
    looks(follower, clock, 1200)
    assert follower.next_seconds > 100
    for change in ({"2": "COMPLETED"}, {"3": "PENDING"}, {"3": "PREEMPTED"}):
        follower.states.update(change)
        follower.look()
        assert follower.next_seconds == SOONEST
        clock[0] += 600
        follower.look()
        assert follower.next_seconds == pytest.approx(60)


def test_an_account_is_billed_if_it_is_named(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_slurm.validate_account", lambda account, logger: account)
    named = [SimpleNamespace(resources=Resources(given)) for given in ({"slurm_account": "physics"}, {})]
    assert [next(follower.get_account_arg(job)) for job in named] == [" -A physics", ""]
