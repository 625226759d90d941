"""Runs that start from runs, through real Snakemake: parents first, and nothing twice."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

import stepscape
from stepscape.store.receipts import RECEIPT_KEYS
from stepscape.store.seals import unsealed_json, write_sealed
from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow

STUDY = """\
title: Two generations
defaults:
  dataset: {name: digits, train_size: 40, test_size: 20}
  model: {name: mlp, hidden: [4]}
  loss: mse
  optimizer: gd
  seed: [0, 1]
grid:
  - lr: [0.2]
    budget: {steps: 9}
  - lr: 0.2
    budget: {steps: 5}
    start: {run: {lr: 0.2}, step: 4}
observe:
  losses: {every: 1}
  parameters: {every: 1}
"""
COLLECTED = "collect_study/tiny"


@pytest.fixture
def generations(fresh: Project) -> Project:
    """A checkout in which parents and children are trained."""
    fresh.study.write_text(STUDY)
    done = fresh.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return fresh


def families(project: Project) -> list[tuple[xr.Dataset, xr.Dataset]]:
    """Each child that is trained, with its parent."""
    opened = [stepscape.open_run(file) for file in (project.folder / "results/runs").glob("*/*.zarr.zip")]
    runs = {run.attrs["run_id"]: run for run in opened}
    specs: dict[str, Any] = {run_id: json.loads(run.attrs["spec"]) for run_id, run in runs.items()}
    return [(runs[spec["start"]["run"]], runs[run_id]) for run_id, spec in specs.items() if "start" in spec]


def test_full_batch_descent_goes_on_to_the_bit(generations: Project) -> None:
    found = families(generations)
    assert len({parent.attrs["run_id"] for parent, _ in found}) == len(found) == 2
    for parent, child in found:
        assert np.array_equal(child.start_parameters, parent.parameters[4])
        for name in ("parameters", "train_loss", "test_loss"):
            assert child[name].dtype == parent[name].dtype
            assert np.array_equal(child[name], parent[name][4:])
    ds = stepscape.open_study(generations.folder / "results/studies/tiny")
    assert np.array_equal(np.sort(ds.start_step), [4, 4, np.nan, np.nan], equal_nan=True)
    assert set(ds.start_run.values) == {"", *(parent.attrs["run_id"] for parent, _ in found)}


def trained_again(project: Project, edit: tuple[str, str] | None = None) -> int:
    """Runs Snakemake after an edit, all of it well; how many jobs trained."""
    before = project.logs()
    if edit:
        project.edit(*edit)
    done = project.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {name for name, when in project.logs().items() if before.get(name) != when}
    assert ran == set() or COLLECTED in ran
    return sum(name.startswith("train_pack/") for name in ran)


def test_what_is_added_or_lost_is_trained_and_nothing_else(generations: Project) -> None:
    assert trained_again(generations) == 0
    before = generations.runs()
    assert trained_again(generations, ("step: 4}", "step: 4}\n    start.step: [4, 6]")) == 1
    with_children = generations.runs()
    assert len(with_children) == 6
    assert before.items() <= with_children.items()

    gone = families(generations)[0][0].attrs["run_id"]
    next(generations.folder.glob(f"results/runs/*/{gone}.zarr.zip")).unlink()
    assert trained_again(generations) == 2, "its pack, and that of its children, which finds nothing to train"
    again = generations.runs()
    assert again[gone][0] == with_children.pop(gone)[0]
    assert with_children.items() <= again.items()
    for receipt in (generations.folder / "results/packs").glob("????????????????.json"):
        told = unsealed_json(receipt.read_bytes(), RECEIPT_KEYS)
        write_sealed(receipt, {**told, "runs": dict.fromkeys(told["runs"])})
        assert trained_again(generations) == 0, "a newer receipt moves no child"

    assert trained_again(generations, ("lr: [0.2]", "lr: [0.2, 0.3]")) == 1, "regrouped parents move no child"
    with_parents = generations.runs()
    assert len(with_parents) == 8
    assert again.items() <= with_parents.items()
    assert trained_again(generations) == 0


def test_a_child_whose_parent_diverged_fails_and_says_so(fresh: Project) -> None:
    fresh.study.write_text(
        STUDY.replace("lr: [0.2]\n    budget: {steps: 9}", "lr: [0.2, 1e6]\n    budget: {steps: 60}").replace(
            "start: {run: {lr: 0.2}, step: 4}", "start: [{run: {lr: 0.2}, step: 60}, {run: {lr: 1e6}, step: 60}]"
        )
    )
    done = fresh.snakemake()
    assert done.returncode == 1
    said = " ".join((done.stdout + done.stderr).split())
    assert "its parent" in said
    assert "diverged after" in said
    assert "Traceback" not in said
    assert len(fresh.runs()) == 6, "four parents, and the two children whose parents did not diverge"
    assert len(families(fresh)) == 2
    status = fresh.run("stepscape", "status").stdout
    assert "6 of 8 runs done, 2 diverged, 2 failed" in status
