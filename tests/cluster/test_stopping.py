"""Jobs that are told to stop: a pack has all the time that SLURM leaves it, and the head learns of every end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepscape.store.livelog import Progress, read_live
from stepscape.store.owners import started_at
from tests.cluster.conftest import Login, login
from tests.cluster.slurm import Cluster, wait_until
from tests.cluster.test_cluster import job_logs, jobs_of, results, resumed_after

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(600)]

STUDY: dict[str, Any] = {
    "title": "One pack whose updates take about a second each",
    "defaults": {
        "dataset": {"name": "digits", "train_size": 1000, "test_size": 20},
        "model": {"name": "mlp", "hidden": [256, 256]},
        "loss": "mse",
        "optimizer": "gd",
        "budget": {"steps": 400},
    },
    "grid": [{"lr": [0.1]}],
    "observe": {"hessian_top": {"every": 1, "k": 6, "tol": 1e-4}},
}

NEEDED = 5.0
"""Seconds from SIGTERM until the pack has saved its state: less than KillWait, more than shells take to end."""


def trained(project: Login, step: int) -> Progress | None:
    """The pack in training, once it has come this far."""
    return next((told for told in read_live(results(project)) if told.step >= step), None)


def takes_its_time(pid: int) -> None:
    """Holds a process that SLURM is about to signal, and to wake for that, as if its update took so long."""
    end = time.monotonic() + NEEDED
    while time.monotonic() < end:
        assert started_at(pid), "the pack was killed before its time was over"
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.1)
    os.kill(pid, signal.SIGCONT)


def stop_and_follow(project: Login, slurm: Cluster, least: int, stop: Callable[[str], None], state: str) -> int:
    """Stops the pack once it has done `least` updates; from which on its next job goes on."""
    wait_until(lambda: trained(project, least), 180, "the pack to train")
    told = trained(project, least)
    assert told
    ((job, pack),) = jobs_of(slurm, project, "RUNNING").items()
    stop(job)
    wait_until(lambda: slurm.detail(job)["JobState"] != "RUNNING", 60, "SLURM to end the job")
    takes_its_time(told.pid)
    wait_until(lambda: not started_at(told.pid), 60, "the pack to stop")
    (log,) = (log for log in job_logs(project, pack) if f"SLURM job {job}\n" in log)
    assert log.splitlines()[-1].startswith("stopped by SIGTERM")
    wait_until(lambda: jobs_of(slurm, project, "RUNNING", "COMPLETING").keys() - {job}, 240, "the next job")
    assert slurm.detail(job)["JobState"] == state
    wait_until(lambda: resumed_after(project, pack) > told.step, 60, "the next job to go on from there")
    return resumed_after(project, pack)


def test_a_pack_that_is_told_to_stop_saves_its_state_and_is_tried_again(slurm: Cluster, tmp_path: Path) -> None:
    """Cancelled, then preempted where preemption cancels and gives no grace."""
    project = login(tmp_path / "project", slurm, STUDY)
    project.site(gpus=1, partition="short")
    with project.head():
        step = stop_and_follow(project, slurm, 1, slurm.cancel, "CANCELLED")
        stop_and_follow(project, slurm, step + 1, slurm.preempt, "PREEMPTED")
