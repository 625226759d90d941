"""What Snakemake does inside a cluster's job: it parses the Snakefile again, and must not plan again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stepscape.store.outline import VARIABLE
from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow


def nested(project: Project, rule: str, wildcards: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The invocation that an executor makes for one job."""
    job = (
        "--target-jobs",
        f"{rule}:{wildcards}",
        "--allowed-rules",
        rule,
        "--force",
        "--nolock",
        "--ignore-incomplete",
    )
    return project.run("snakemake", "--cores", "1", "--mode", "remote", *job, *words)


def outline_of(project: Project) -> Path:
    (outline,) = (project.folder / "results/plans").iterdir()
    return outline


def test_a_job_asks_no_study(fresh: Project) -> None:
    """After an edit that no reader of the study survives, jobs go on with what the main process planned."""
    assert fresh.snakemake("--dry-run").returncode == 0
    fresh.env[VARIABLE] = str(outline_of(fresh))
    fresh.study.write_text("nonsense")
    packs = json.loads(outline_of(fresh).read_text())["packs"]
    done = nested(fresh, "train_pack", f"pack={packs[0]}")
    assert done.returncode == 0, done.stderr
    assert json.loads((fresh.folder / f"results/packs/{packs[0]}.json").read_text())["pack"] == packs[0]
    parsed = nested(fresh, "collect_study", "study=tiny", "--dry-run")
    assert parsed.returncode == 0, parsed.stderr
    assert "Collecting tiny" in parsed.stdout + parsed.stderr

    del fresh.env[VARIABLE]
    refused = nested(fresh, "collect_study", "study=tiny", "--dry-run")
    assert refused.returncode == 1, "without the file it plans again, and so meets the broken study"
    assert "config/studies/tiny.yaml: 1 mistake" in refused.stdout + refused.stderr


def test_a_job_that_is_told_nothing_plans_for_itself(fresh: Project) -> None:
    assert fresh.snakemake("--dry-run").returncode == 0
    packs = json.loads(outline_of(fresh).read_text())["packs"]
    outline_of(fresh).unlink()
    done = nested(fresh, "train_pack", f"pack={packs[0]}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert outline_of(fresh).exists(), "for the jobs that it may start in turn"
