"""How long a pack is on its way on an idle cluster: `python -m tests.cluster.latency [UPDATES]`."""

from __future__ import annotations

import sys
import tempfile
from datetime import datetime
from pathlib import Path

from tests.cluster.conftest import login
from tests.cluster.slurm import Cluster, cluster, install
from tests.cluster.test_cluster import STUDY


def moment(slurm: Cluster, job: str, event: str) -> datetime:
    return datetime.fromisoformat(slurm.detail(job)[event])


def main(updates: int = 600) -> None:
    """Trains one pack and prints, in seconds, what it waited for."""
    install()
    study = {**STUDY, "grid": [{"lr": [0.1]}], "defaults": {**STUDY["defaults"], "budget": {"steps": updates}}}
    with cluster() as slurm, tempfile.TemporaryDirectory() as folder:
        project = login(Path(folder) / "project", slurm, study)
        project.finish()
        (receipt,) = project.receipts().values()
        by_rule = {comment.split("_wildcards_")[0]: job for job, comment in slurm.jobs("COMPLETED").items()}
        pack, next_job = by_rule["rule_train_pack"], by_rule["rule_collect_study"]
        submitted, ended = (moment(slurm, pack, event) for event in ("SubmitTime", "EndTime"))
        seen = moment(slurm, next_job, "SubmitTime")
    work = sum(said["seconds"] for said in receipt["runs"].values())
    lags = f"submitted to ended {(ended - submitted).seconds} s, then seen {(seen - ended).seconds} s later"
    print(f"work {work:.0f} s, {lags}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
