"""A checkout on a cluster that the test session starts, and what users do there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepscape.store.files import read_json
from tests.cluster.slurm import Cluster, cluster, install, what_is_missing
from tests.workflow.conftest import Project, checkout

SECONDS = 300.0


def required(missing: str) -> None:
    """CI must have a cluster; elsewhere what needs it is skipped where it cannot be."""
    if missing and not os.environ.get("CI"):
        pytest.skip(missing)
    assert not missing, missing


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """The cluster of this session."""
    required(what_is_missing())
    install()
    with cluster() as made:
        yield made


class Login(Project):
    """A checkout as seen from a login node."""

    def __init__(self, folder: Path, slurm: Cluster) -> None:
        super().__init__(folder)
        self.slurm = slurm
        self.env["PATH"] = f"{slurm.path}{os.pathsep}{self.env['PATH']}"

    @contextmanager
    def head(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Snakemake on the cluster, while the body does something to it; killed behind it if it still runs."""
        command = ["snakemake", "--profile", "slurm", *words]
        with (self.folder / "head.log").open("a") as log:
            started = subprocess.Popen(command, cwd=self.folder, env=self.env, stdout=log, stderr=log, text=True)
        try:
            yield started
        finally:
            started.kill()
            started.wait()

    def head_as_job(self) -> str:
        """Snakemake on the cluster as a job of its own; the id of that job."""
        wish = ["--parsable", "--mem=1000", f"--chdir={self.folder}", "--output=head.log", "--open-mode=append"]
        return self.run("sbatch", *wish, "--wrap=snakemake --profile slurm").stdout.strip()

    def finish(self, *words: str) -> str:
        """Runs Snakemake on the cluster to its end, which must be good; what it printed."""
        done = self.run("snakemake", "--profile", "slurm", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def site(self, **keys: Any) -> None:
        """Writes what is asked of the cluster."""
        (self.folder / "config/site.yaml").write_text(yaml.safe_dump(keys))

    def receipts(self) -> dict[str, Any]:
        """Pack id to its receipt."""
        files = (self.folder / "results/packs").glob("????????????????.json")
        return {file.stem: read_json(file) for file in files}


def login(folder: Path, slurm: Cluster, study: dict[str, Any]) -> Login:
    """Lays out a checkout with a study, to be trained on CPUs whatever GPU a job was given."""
    made = Login(checkout(folder).folder, slurm)
    made.study.write_text(yaml.safe_dump(study, sort_keys=False))
    made.site(gpus=1)
    return made
