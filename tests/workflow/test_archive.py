"""Archives through real Snakemake: made by their rule, and taken as finished where they are laid out again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workflow.conftest import Project, checkout
from tests.workflow.test_starts import STUDY as GENERATIONS

pytestmark = pytest.mark.workflow

ARCHIVE = "results/archives/tiny.zip"


def test_made_by_its_rule_and_laid_out_in_another_checkout(project: Project, tmp_path: Path) -> None:
    ran, done = project.jobs(ARCHIVE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran == {"archive_study/tiny"}
    assert project.jobs(ARCHIVE)[0] == set()
    assert project.jobs()[0] == set(), "it is no part of `all`"
    content = (project.folder / ARCHIVE).read_bytes()
    project.study.write_text(f"{project.study.read_text()}# a comment\n")
    assert project.jobs(ARCHIVE)[0] == {"archive_study/tiny"}
    assert (project.folder / ARCHIVE).read_bytes() != content

    other = checkout(tmp_path / "other")
    other.study.unlink()
    unpacked = other.run("stepscape", "unpack", str(project.folder / ARCHIVE), ".")
    assert unpacked.returncode == 0, unpacked.stderr
    ran, done = other.jobs()
    assert done.returncode == 0, done.stdout + done.stderr
    assert ran == set()
    assert "Nothing to do: all 4 runs are there" in done.stdout + done.stderr
    assert "4 of 4 runs done" in other.run("stepscape", "status").stdout
    assert other.jobs(ARCHIVE)[0] == {"archive_study/tiny"}
    assert (other.folder / ARCHIVE).read_bytes() == (project.folder / ARCHIVE).read_bytes()


def test_runs_that_start_from_runs(fresh: Project, tmp_path: Path) -> None:
    fresh.study.write_text(GENERATIONS)
    assert fresh.snakemake().returncode == 0
    made = fresh.run("stepscape", "archive", "tiny", "--output", "tiny.zip")
    assert made.returncode == 0, made.stderr
    other = checkout(tmp_path / "other")
    other.study.unlink()
    assert other.run("stepscape", "unpack", str(fresh.folder / "tiny.zip"), ".").returncode == 0
    assert other.jobs()[0] == set()
    assert {run_id: content for run_id, (content, _) in other.runs().items()} == {
        run_id: content for run_id, (content, _) in fresh.runs().items()
    }
    lost = sorted(other.runs())[0]
    next(other.folder.glob(f"results/runs/*/{lost}.zarr.zip")).unlink()
    assert "train_pack" in other.jobs()[0]
    assert other.runs()[lost][0] == fresh.runs()[lost][0]
