"""Analysis by dask workers that are jobs of SLURM, as docs/cluster.md shows it."""

from __future__ import annotations

import os
from pathlib import Path

import dask
import numpy as np
import pytest

import stepscape
from stepscape.study.paths import Paths
from tests.cluster.slurm import Cluster
from tests.factories import collected, make_study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.filterwarnings("ignore")  # of distributed: ports, deprecations, unclosed loops
def test_a_lazy_dataset_is_reduced_by_workers_on_the_cluster(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dask.distributed import Client
    from dask_jobqueue import SLURMCluster

    monkeypatch.setenv("PATH", str(slurm.path), prepend=os.pathsep)
    paths = Paths(tmp_path / "results")
    plain = collected(make_study(tmp_path / "studies"), paths)
    ds = stepscape.open_study(paths.study("small"), chunks={"run": 2})
    assert ds.train_loss.chunks is not None
    assert ds.train_loss.chunks[0] == (2, 2, 2)
    wish = {"cores": 1, "memory": "1GB", "walltime": "00:05:00", "queue": "gpu", "log_directory": str(tmp_path)}
    options = {"host": "127.0.0.1", "dashboard_address": None}
    with SLURMCluster(**wish, scheduler_options=options) as workers, Client(workers) as client:
        workers.scale(jobs=2)
        client.wait_for_workers(2, timeout=120)
        where = client.run(lambda: os.environ["SLURM_JOB_ID"])
        assert set(where.values()) <= set(slurm.jobs("RUNNING"))
        assert len(set(where.values())) == 2
        with dask.config.set(scheduler=client):
            mean = ds.train_loss.astype(float).mean("run").compute()
    np.testing.assert_allclose(mean, plain.train_loss.astype(float).mean("run"), rtol=1e-12)
