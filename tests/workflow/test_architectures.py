"""One study over kinds of models and kinds of data, at smoke size, through real Snakemake."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stepscape import open_study
from stepscape.datasets.cifar10 import CIFAR10
from stepscape.study.paths import DataPaths
from tests.stand_ins import prepare_stand_in
from tests.workflow.conftest import Project

pytestmark = pytest.mark.workflow

STUDY = """\
title: Kinds of models, kinds of data
defaults:
  loss: cross_entropy
  optimizer: gd
  lr: 0.05
  budget: {steps: 6}
grid:
  - &images
    model:
      - {name: mlp, hidden: [6]}
      - {name: cnn, channels: [3, 4]}
      - {name: residual, channels: [3, 4], norm: layer}
      - {name: transformer, width: 4, depth: 1, heads: 2, patch: 4}
    dataset: {name: digits, shape: image, train_size: 20, test_size: 10}
  - {<<: *images, dataset: {name: cifar10, train_size: 20, test_size: 10}}
  - dataset: {name: text, path: words.txt, context: 5, train_size: 20, test_size: 10}
    model: [{name: mlp, hidden: [6]}, {name: transformer, width: 4, depth: 1, heads: 2}]
observe:
  losses: {every: 1}
  hessian_top: {every: 3, k: 2, tol: 1e-3}
figures:
  - sharpness_over_threshold
"""


def test_every_kind_of_model_trains_on_every_kind_of_data_it_takes(fresh: Project) -> None:
    fresh.study.write_text(STUDY)
    (fresh.folder / "config/studies/words.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 4)
    prepare_stand_in(CIFAR10, DataPaths(fresh.folder / "data"))
    done = fresh.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    ds = open_study(fresh.folder / "results/studies/tiny").load()
    assert ds.sizes["run"] == 10
    assert set(ds.status.values) == {"completed"}
    assert np.isfinite(ds.train_loss).all()
    assert (ds.hessian_residual < 1e-3).all()
    assert (ds.hessian_eigenvalue[..., 0] > 0).all()
    lanes = {json.loads(platform)["lanes"] for platform in ds.attrs["platforms"]}
    assert lanes == {"sequential", "vectorised"}
    assert (fresh.folder / "results/studies/tiny/figures/sharpness_over_threshold.png").stat().st_size > 10_000
    told = fresh.run("stepscape", "selftest")
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.count("yes") == 10
