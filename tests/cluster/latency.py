"""How long a pack is on its way on an idle cluster, and what its job costs besides training.

    python -m tests.cluster.latency [UPDATES] [PACKS]

trains packs of as many updates, one run each, and prints what they waited for; without arguments packs of some seconds.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cluster.conftest import Login, login
from tests.cluster.slurm import Cluster, cluster, install
from tests.cluster.test_cluster import STUDY, jobs_of

_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY = 0.05


def study_of(updates: int, packs: int) -> dict[str, Any]:
    """A study of so many packs, each of one run."""
    defaults = {**STUDY["defaults"], "budget": {"steps": updates}}
    return {**STUDY, "grid": [{"lr": [0.1], "seed": list(range(packs))}], "defaults": defaults}


def moment(slurm: Cluster, job: str, event: str) -> datetime:
    return datetime.fromisoformat(slurm.detail(job)[event])


@contextmanager
def nested_starts(project: Login) -> Iterator[dict[int, float]]:
    """Meanwhile counts CPU seconds of each Snakemake inside jobs of this checkout, by process; children not counted."""
    found: dict[int, float] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    words = (process / "cmdline").read_bytes().decode().split("\0")
                    fields = (process / "stat").read_text().rpartition(")")[2].split()
                    parent, ticks = int(fields[1]), int(fields[11]) + int(fields[12])
                    is_nested = words[1:3] == ["-m", "snakemake"] and str(project.folder / "Snakefile") in words
                    if is_nested and parent not in found:  # else about to become what it starts
                        found[int(process.name)] = ticks / _TICKS

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def main(updates: int = 600, packs: int = 1) -> None:
    """Trains, and prints what packs waited for, in seconds of a clock, and what nested starts cost, in CPU seconds."""
    install()
    with cluster() as slurm, tempfile.TemporaryDirectory() as folder:
        project = login(Path(folder) / "project", slurm, study_of(updates, packs))
        with nested_starts(project) as starts:
            project.finish()
        ended = {pack: job for job, pack in jobs_of(slurm, project, "COMPLETED").items()}
        (collecting,) = (job for job, said in slurm.jobs("COMPLETED").items() if said.startswith("rule_collect_study"))
        begun = moment(slurm, collecting, "SubmitTime")
        last = max(moment(slurm, job, "EndTime") for job in ended.values())
        for pack, receipt in project.receipts().items():
            work = sum(said["seconds"] for said in receipt["runs"].values())
            took = (moment(slurm, ended[pack], "EndTime") - moment(slurm, ended[pack], "SubmitTime")).seconds
            print(f"pack {pack}: {work:.0f} s of work ended {took} s after it was submitted")
    print(f"the last pack was seen finished, and the next job submitted, {(begun - last).seconds} s later")
    mean, most = statistics.mean(starts.values()), max(starts.values())
    print(f"{len(starts)} nested starts: {mean:.2f} CPU s each, at most {most:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
