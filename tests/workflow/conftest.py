"""A real checkout in a temporary folder, and real Snakemake in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = """\
title: A tiny sweep
defaults:
  dataset: {name: digits, train_size: 40, test_size: 20}
  model: {name: mlp, hidden: [4]}
  loss: mse
  budget: {steps: 6}
grid:
  - optimizer: gd
    lr: [0.1, 0.2]
    seed: [0, 1]
observe:
  losses: {every: 1}
  hessian_top: {every: 2}
claims:
  - {id: at_the_edge, name: hovers_at_threshold}
figures:
  - {name: loss_curves, window: 3}
  - sharpness_over_threshold
"""


class Project:
    """A checkout: what a user would edit, and the commands that a user would type."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    @property
    def study(self) -> Path:
        return self.folder / "config/studies/tiny.yaml"

    def run(self, *words: str, seconds: float = 300.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=seconds, check=False
        )

    def snakemake(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("snakemake", "--cores", "2", *words)

    def edit(self, old: str, new: str) -> None:
        text = self.study.read_text()
        assert text.count(old) == 1
        self.study.write_text(text.replace(old, new))

    def runs(self) -> dict[str, tuple[bytes, int]]:
        """Run id to the bytes of its file and when it was written."""
        files = (self.folder / "results/runs").glob("*/*.zarr.zip")
        return {file.name.split(".")[0]: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}

    def logs(self) -> dict[str, int]:
        """Every job that ever ran, as `rule/name`, and when it last did."""
        files = (self.folder / "results/logs").glob("*/*.log")
        return {f"{file.parent.name}/{file.stem}": file.stat().st_mtime_ns for file in files}

    def jobs(self, *words: str) -> tuple[set[str], subprocess.CompletedProcess[str]]:
        """Runs Snakemake; the jobs that ran, those of training by their rule alone, and what was printed."""
        before = self.logs()
        done = self.snakemake(*words)
        ran = {name for name, when in self.logs().items() if before.get(name) != when}
        return {"train_pack" if name.startswith("train_pack/") else name for name in ran}, done


PAGES = {"report_study/tiny", "index_studies/all"}
AFTER_TRAINING = {
    *PAGES,
    "collect_study/tiny",
    "judge_claims/tiny",
    "draw_figure/tiny.loss_curves",
    "draw_figure/tiny.sharpness_over_threshold",
}


def checkout(folder: Path) -> Project:
    """Lays out what git would, with the tiny study as the only one."""
    folder.mkdir()
    for name in ("Snakefile", "LICENSE", "rules", "workflow", "envs", "profiles", "slurm"):
        source = ROOT / name
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            shutil.copy2(source, folder / name, follow_symlinks=False)
    project = Project(folder)
    project.study.parent.mkdir(parents=True)
    project.study.write_text(STUDY)
    (folder / "config/config.yaml").write_text("studies: [tiny]\ndevice: cpu\n")
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout in which the tiny sweep has run. Copied for each test, so that tests do not meet."""
    project = checkout(tmp_path_factory.mktemp("finished") / "project")
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return project


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    return checkout(tmp_path / "project")


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)  # copies time stamps too
    return Project(tmp_path / "project")
