"""What tests of planning share: a small valid study, what is told of broken ones, fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from stepscape.errors import FileError, Mistake
from stepscape.study.run import Run
from stepscape.study.spec import Study, load_study

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "config" / "studies").glob("*.yaml"))

VALID = """\
title: A small study
sources: [arXiv:2103.00065]
defaults:
  dataset: {name: digits, train_size: 100, test_size: 20}
  model: {name: mlp, hidden: [8]}
  loss: mse
  budget: {steps: 40}
grid:
  - optimizer: gd
    lr: [0.1, 0.2]
    seed: [0, 1]
observe:
  losses: {every: 1}
  hessian_top: {every: 20, k: 2}
claims:
  - {id: edge, name: hovers_at_threshold}
figures:
  - loss_curves
"""


def edited(*edits: tuple[str, str], text: str = VALID) -> str:
    """The valid study with some of its text replaced; each must stand in it once."""
    for old, new in edits:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the study"
        text = text.replace(old, new)
    return text


def in_block(lines: str) -> tuple[str, str]:
    """The edit that adds lines to the block of the valid study, behind line 11."""
    return "    seed: [0, 1]\n", f"    seed: [0, 1]\n{lines}"


def write(folder: Path, text: str | bytes, files: Mapping[str, str | bytes] | None = None) -> Path:
    """Writes a study, and files beside it; its path."""
    for name, content in {"probe.yaml": text, **(files or {})}.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / "probe.yaml"


def load(folder: Path, text: str | bytes, files: Mapping[str, str | bytes] | None = None) -> Study:
    """The study that `text` describes."""
    return load_study(write(folder, text, files))


def runs_of(folder: Path, *edits: tuple[str, str], files: Mapping[str, str | bytes] | None = None) -> tuple[Run, ...]:
    """The runs of the valid study with edits; its claims and figures are left out."""
    text = edited(*edits).partition("claims:")[0]
    return load(folder, text, files).runs


def told(folder: Path, text: str | bytes, files: Mapping[str, str | bytes] | None = None) -> list[Mistake]:
    """What is told of a broken study; that the message names the file and nothing is written is checked here."""
    path = write(folder, text, files)
    before = {entry: entry.read_bytes() for entry in folder.iterdir()}
    with pytest.raises(FileError) as caught:
        load_study(path)
    assert {entry: entry.read_bytes() for entry in folder.iterdir()} == before
    mistakes = caught.value.mistakes
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    assert str(caught.value).splitlines()[0] == f"{path}: {count}"
    return list(mistakes)


def run_python(code: str, *folders: Path, cwd: Path = ROOT, **environment: str) -> str:
    """What a fresh process prints; `folders` stand first on its path."""
    paths = os.pathsep.join(map(str, [*folders, ROOT / "src"]))
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout
