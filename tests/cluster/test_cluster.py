"""Studies on a real SLURM: what jobs are given, and that whatever happens to them leaves the same bytes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from stepscape.store.livelog import Progress, read_live
from stepscape.study.paths import Paths
from tests.cluster.conftest import Login, login
from tests.cluster.slurm import Cluster, wait_until

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(900)]

STUDY: dict[str, Any] = {
    "title": "Eight packs of some seconds each",
    "defaults": {
        "dataset": {"name": "digits", "train_size": 1000, "test_size": 20},
        "model": {"name": "mlp", "hidden": [256, 256]},
        "loss": "mse",
        "optimizer": "gd",
        "budget": {"steps": 300},
    },
    "grid": [{"lr": [0.1, 0.2], "seed": [0, 1, 2, 3]}],
    "observe": {"losses": {"every": 50}},
}
"""Each run is planned with over half of the shortest pack, so that each is a pack; it takes a fifth of that."""

PACKS = 8


@pytest.fixture(scope="module")
def finished(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Login:
    """The study, trained on the cluster and left in peace."""
    made = login(tmp_path_factory.mktemp("cluster") / "project", slurm, STUDY)
    made.finish()
    return made


def dataset(project: Login) -> dict[str, bytes]:
    """Every file of the study's dataset."""
    root = project.folder / "results/studies/tiny/dataset.zarr"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def run_bytes(project: Login) -> dict[str, bytes]:
    return {run_id: content for run_id, (content, _) in project.runs().items()}


def jobs_of(slurm: Cluster, project: Login, *states: str) -> dict[str, str]:
    """Job id to pack, of the jobs that train for this checkout."""
    found = {}
    for job, comment in slurm.jobs(*states).items():
        if comment.startswith("rule_train_pack") and slurm.detail(job)["WorkDir"] == str(project.folder):
            found[job] = comment.rpartition("_")[2]
    return found


def test_every_pack_has_a_gpu_of_its_own_and_no_other_job_has_one(finished: Login, slurm: Cluster) -> None:
    devices = slurm.devices()
    training = jobs_of(slurm, finished, "COMPLETED")
    assert len(set(training.values())) == len(training) == PACKS
    assert {slurm.jobs("COMPLETED")[job] for job in training} == {
        f"rule_train_pack_wildcards_tiny_{pack}" for pack in finished.receipts()
    }, "comments in squeue name study and pack"
    held: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for job in training:
        detail, (place,) = slurm.detail(job), devices[job]
        assert place[1] in {"0", "1", "2", "3"}
        held.setdefault(place, []).append((detail["StartTime"], detail["EndTime"]))
    for times in held.values():
        assert all(ended <= started for (_, ended), (started, _) in pairwise(sorted(times))), held
    others = [job for job, comment in slurm.jobs("COMPLETED").items() if "rule_collect_study" in comment]
    assert others
    assert all({given for _, given in devices[job]} == {"none"} for job in others)


def test_the_bytes_are_those_of_a_local_run(finished: Login, slurm: Cluster, tmp_path: Path) -> None:
    local = login(tmp_path / "project", slurm, STUDY)
    done = local.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    assert run_bytes(local) == run_bytes(finished)
    assert dataset(local) == dataset(finished)


def test_again_nothing_is_submitted(finished: Login, slurm: Cluster) -> None:
    before = slurm.ask("squeue", "--noheader", "--states", "all", "--format", "%i")
    finished.finish()
    assert slurm.ask("squeue", "--noheader", "--states", "all", "--format", "%i") == before


def results(project: Login) -> Paths:
    return Paths(project.folder / "results")


def training_log(project: Login, pack: str) -> str:
    with suppress(FileNotFoundError):  # Snakemake removes it when a job begins
        return results(project).log("train_pack", pack).read_text()
    return ""


def job_logs(project: Login, pack: str) -> list[str]:
    """What the jobs of a pack printed, in the order in which they began."""
    return [log.read_text() for log in sorted(results(project).job_log(pack, "").parent.glob(f"{pack}.*.log"))]


def suspend(project: Login, packs: Iterable[str]) -> dict[str, Progress]:
    """Stops the processes that train these packs, each once it is under way; SLURM wakes what it signals.

    Returns:
        How far they were when last heard of.
    """
    found: dict[str, Progress] = {}

    def all_are_stopped() -> bool:
        for told in read_live(results(project)):
            if told.pack in packs and told.pack not in found and told.step:
                os.kill(told.pid, signal.SIGSTOP)
                found[told.pack] = told
        return found.keys() == set(packs)

    wait_until(all_are_stopped, 180, f"packs {packs} to be under way")
    return found


def test_disturbed_jobs_and_a_killed_head_leave_the_same_bytes(finished: Login, slurm: Cluster, tmp_path: Path) -> None:
    """Of packs under way, one loses its node, one is cancelled, one reaches its time limit, one outlives the head."""
    project = login(tmp_path / "project", slurm, STUDY)
    with project.head() as head:
        wait_until(lambda: len(jobs_of(slurm, project, "RUNNING")) == PACKS, 60, "jobs to run")
        first = {pack: job for job, pack in jobs_of(slurm, project, "RUNNING").items()}
        nodes = {pack: slurm.detail(job)["NodeList"] for pack, job in first.items()}
        by_node = {node: pack for pack, node in nodes.items()}
        assert len(by_node) == 4, "SLURM spreads the jobs"
        lost, cancelled, limited, surviving = by_node.values()
        told = suspend(project, by_node.values())
        slurm.ask("scontrol", "update", f"jobid={first[limited]}", "timelimit=1")
        slurm.ask("scancel", first[cancelled])
        slurm.ask("scontrol", "update", f"nodename={nodes[lost]}", "state=down", "reason=test")
        wait_until(lambda: slurm.detail(first[lost])["JobState"] == "NODE_FAIL", 60, "the node to be lost")
        refused = project.run("snakemake", "--profile", "slurm")
        assert refused.returncode == 1
        assert f"process {head.pid} on" in refused.stderr
        others = set(first) - {surviving}
        wait_until(lambda: project.receipts().keys() >= others, 300, "all other packs")
        for pack in (lost, cancelled, limited):
            assert resumed_after(project, pack) >= told[pack].step, pack
        head.kill()
        head.wait()
    wait_until(lambda: "down" not in slurm.node_states()[nodes[lost]], 60, "the node to return")
    assert slurm.detail(first[surviving])["JobState"] == "RUNNING"
    head_job = project.head_as_job()
    waiting = "is being trained by"
    wait_until(lambda: waiting in training_log(project, surviving), 120, "the survivor to be waited for")
    os.kill(told[surviving].pid, signal.SIGCONT)
    wait_until(lambda: slurm.detail(head_job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), 300, "the head")
    assert slurm.detail(head_job)["JobState"] == "COMPLETED", (project.folder / "head.log").read_text()
    assert slurm.detail(first[limited])["JobState"] == "TIMEOUT"
    assert slurm.detail(first[cancelled])["JobState"] == "CANCELLED"
    assert slurm.detail(first[surviving])["JobState"] == "COMPLETED"
    trainer, waiter = job_logs(project, surviving)
    assert f"SLURM job {first[surviving]}\n" in trainer
    assert "1/1" in trainer, "the log of the job that was waited for is whole"
    assert "now held by" in waiter
    assert "completed" not in waiter, "it found all trained"
    assert run_bytes(project) == run_bytes(finished)
    assert dataset(project) == dataset(finished)


def resumed_after(project: Login, pack: str) -> int:
    """How many updates the last job of a pack found done."""
    match = re.search(r"going on after (\d+) updates", training_log(project, pack))
    return int(match[1]) if match else 0


@pytest.mark.parametrize(
    ("site", "told"),
    [
        ({"partition": "gpux"}, ["partition", "'gpux'", "gpu, short, urgent", "did you mean 'gpu'?"]),
        (
            {"partition": "short", "gpus": 5, "minutes": 6, "account": "mine"},
            ["at most 4, which a node has in partition short", "at most 5 in partition short", "keeps no accounts"],
        ),
    ],
)
def test_what_the_cluster_has_not_is_told_before_anything_is_submitted(
    slurm: Cluster, tmp_path: Path, site: dict[str, Any], told: list[str]
) -> None:
    project = login(tmp_path / "project", slurm, STUDY)
    project.site(**site)
    done = project.run("snakemake", "--profile", "slurm")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert all(words in done.stderr for words in ["config/site.yaml", *told]), done.stderr
    assert not (project.folder / "results").exists()
