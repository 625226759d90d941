"""A SLURM that keeps accounts: what is asked is checked against those of the user, and jobs are billed to them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepscape.cluster.slurm import ask_slurm
from tests.cluster.accounting import ACCOUNTING_COMMANDS, ACCOUNTING_PACKAGES, keep_accounts
from tests.cluster.conftest import login, required
from tests.cluster.latency import study_of
from tests.cluster.slurm import COMMANDS, Cluster, cluster, install, what_is_missing
from tests.cluster.test_cluster import jobs_of

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    """A cluster with accounts."""
    commands = (*COMMANDS, *ACCOUNTING_COMMANDS)
    required(what_is_missing(commands, ACCOUNTING_PACKAGES))
    install(commands, ACCOUNTING_PACKAGES)
    with cluster(keep_accounts) as made:
        yield made


def test_the_accounts_of_the_user_are_found(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(slurm.path), prepend=os.pathsep)
    accounts = ask_slurm().accounts
    assert accounts is not None
    assert {name: set(qualities) for name, qualities in accounts.items()} == {
        "root": {"normal"},  # SLURM's own, of the user who runs these tests
        "physics": {"normal", "long"},
        "maths": {"normal"},
    }


def test_an_account_or_qos_that_is_not_the_users_is_told_before_anything_is_submitted(
    slurm: Cluster, tmp_path: Path
) -> None:
    project = login(tmp_path / "project", slurm, study_of(20, 1))
    for site, told in (
        (
            {"account": "phisics", "qos": "lon"},
            ["yours: maths, physics, root", "did you mean 'physics'?", "'lon'"],
        ),
        ({"account": "maths", "qos": "long"}, ["qos", "'long'", "allowed  normal"]),
    ):
        refused = subprocess.run(
            [slurm.path / "sbatch", f"--account={site['account']}", f"--qos={site['qos']}", "--wrap=true"],
            capture_output=True,
            check=False,
        )
        assert refused.returncode != 0, "SLURM would not have taken it"
        project.site(**site)
        done = project.run("snakemake", "--profile", "slurm")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert all(words in done.stderr for words in ["config/site.yaml", *told]), done.stderr
        assert not (project.folder / "results").exists()


def test_jobs_are_billed_to_the_account(slurm: Cluster, tmp_path: Path) -> None:
    project = login(tmp_path / "project", slurm, study_of(20, 1))
    project.site(gpus=1, account="physics", qos="long")
    project.finish()
    (job,) = jobs_of(slurm, project, "COMPLETED")
    assert {key: slurm.detail(job)[key] for key in ("Account", "QOS")} == {"Account": "physics", "QOS": "long"}
