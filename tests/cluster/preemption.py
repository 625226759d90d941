"""A pack of ten minutes that is preempted twice: `make cluster-long`. Its name keeps it out of the ordinary tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepscape.store.livelog import read_live
from tests.cluster.conftest import Login, login
from tests.cluster.slurm import NODES, Cluster, wait_until
from tests.cluster.test_cluster import dataset, jobs_of, results, resumed_after, run_bytes

pytestmark = pytest.mark.timeout(7200)

UPDATES = 1_500_000
"""About ten minutes on a processor that has nothing else to do."""

STUDY: dict[str, Any] = {
    "title": "One pack of ten minutes",
    "defaults": {
        "dataset": {"name": "digits", "train_size": 40, "test_size": 20},
        "model": {"name": "mlp", "hidden": [4]},
        "loss": "mse",
        "optimizer": "gd",
        "budget": {"steps": UPDATES},
    },
    "grid": [{"lr": [0.1]}],
    "observe": {"losses": {"every": 5000}},
}


def step_of(project: Login) -> int:
    return max((told.step for told in read_live(results(project))), default=0)


def preempt(slurm: Cluster, victim: str) -> None:
    """Makes a job end for a more urgent one."""
    slurm.preempt(victim)
    wait_until(lambda: slurm.detail(victim)["JobState"] not in ("RUNNING", "COMPLETING"), 120, "the job to end")
    assert slurm.detail(victim)["PreemptTime"] != "None"


def test_a_pack_preempted_twice_goes_on_where_it_was(slurm: Cluster, tmp_path: Path) -> None:
    assert set(slurm.node_states()) == set(NODES)
    project = login(tmp_path / "project", slurm, STUDY)
    with project.head() as head:
        for share in (1 / 3, 2 / 3):
            wait_until(lambda share=share: step_of(project) > share * UPDATES, 3600, "the pack to come this far")
            ((job, pack),) = jobs_of(slurm, project, "RUNNING").items()
            before = step_of(project)
            preempt(slurm, job)
            wait_until(lambda: jobs_of(slurm, project, "RUNNING"), 600, "its next job")
            wait_until(lambda before=before: step_of(project) >= before, 600, "it to train again")
            assert resumed_after(project, pack) >= before
        assert head.wait(3600) == 0, (project.folder / "head.log").read_text()
    local = login(tmp_path / "local", slurm, STUDY)
    done = local.run("snakemake", "--cores", "1")
    assert done.returncode == 0, done.stderr
    assert run_bytes(project) == run_bytes(local)
    assert dataset(project) == dataset(local)
