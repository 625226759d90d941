"""Small runs, studies and datasets, made as users make them: from the words of a study file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import yaml

from stepscape.cli import main
from stepscape.registry import make
from stepscape.store.collect import collect_study
from stepscape.store.receipts import keep_up
from stepscape.store.seals import write_sealed
from stepscape.study.paths import Paths
from stepscape.study.plan import Pack, Plan, make_plan
from stepscape.study.run import Run
from stepscape.study.spec import Study, load_study
from stepscape.study.values import parse
from stepscape.training.loop import train_run
from stepscape.training.pack import train_pack
from stepscape.training.platform import prepare
from stepscape.training.record import Record

LEAST_SQUARES = {
    "dataset": "quadratic",
    "model": {"name": "linear", "bias": False},
    "loss": "mse",
    "optimizer": "gd",
    "lr": 0.5,
    "budget": {"steps": 10},
}
"""A run on a quadratic loss with the eigenvalues 1, 0.5, 0.25, 0.1; it takes milliseconds."""

SMALL_DIGITS = {
    "dataset": {"name": "digits", "train_size": 40, "test_size": 20},
    "model": {"name": "mlp", "hidden": [5]},
    "loss": "mse",
    "optimizer": "gd",
    "lr": 0.1,
    "budget": {"steps": 12},
}
"""A network of 385 parameters on forty images."""


def make_run(
    base: Mapping[str, Any] = LEAST_SQUARES, /, observe: Mapping[str, Any] | None = None, **changed: Any
) -> Run:
    """A run from the keys of a study file; it records every loss unless told otherwise."""
    observe = {"losses": {"every": 1}} if observe is None else observe
    values = {key: parse(key, given, key) for key, given in {**base, **changed}.items()}
    members: list[Any] = [
        make("observable", {"name": name, **fields}, name) for name, fields in sorted(observe.items())
    ]
    made = Run(**values, observe=tuple(members))
    assert not made.faults(), made.faults()
    return made


def train(run: Run) -> Record:
    """What a run records, in memory."""
    return train_run(run, prepare("cpu"))


def final_parameters(record: Record) -> np.ndarray:
    """The last parameters that a record holds, (P,)."""
    return record.values["parameters"][-1]


def make_study(folder: Path, name: str = "small", **given: Any) -> Study:
    """A study written to `folder` and read from there; what is not given is a sweep of three learning rates."""
    content = {
        "title": "Descent on a quadratic",
        "defaults": {key: value for key, value in LEAST_SQUARES.items() if key != "lr"},
        "grid": [{"lr": [0.5, 1.0, 1.5], "seed": [0, 1]}],
        "observe": {"losses": {"every": 1}},
        **given,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_study(path)


def write_pack(paths: Paths, runs: Sequence[Run]) -> Pack:
    """The plan of a pack of these runs, in their order, as the main process writes it."""
    pack = Pack(tuple(runs))
    write_sealed(paths.pack_plan(pack.id), {"pack": pack.id, "runs": [run.spec for run in runs]})
    return pack


def train_plan(plan: Plan, paths: Paths) -> None:
    """Trains all that is missing of a plan, as Snakemake's jobs would."""
    keep_up(plan, paths)
    for pack in plan.packs:
        if not paths.receipt(pack.id).exists():
            assert train_pack(pack.id, paths, "cpu")


def collected(study: Study, paths: Paths) -> xr.Dataset:
    """The dataset of a study, all of it trained."""
    train_plan(make_plan([study]), paths)
    return collect_study(study, paths).load()


def judged_and_drawn(study: Study, paths: Paths) -> None:
    """Writes the verdicts and figures of a collected study, as the jobs would."""
    for words in (["judge"], *(["draw", entry.id] for entry in study.figures)):
        assert main([words[0], str(study.path), *words[1:], "--results", str(paths.root)]) == 0


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers in float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def sharpness_dataset(
    ratios: np.ndarray,
    *,
    steps: Sequence[int],
    updates: int | Sequence[int],
    status: Sequence[str] | None = None,
    lr: Sequence[float] | None = None,
    seed: Sequence[int] | None = None,
) -> xr.Dataset:
    """A dataset as collected, of gradient descent whose sharpness over its threshold is `ratios` (run, measurement)."""
    runs = len(ratios)
    rates = np.full(runs, 0.5) if lr is None else np.asarray(lr, dtype=float)
    thresholds = np.broadcast_to(2 / rates[:, None], ratios.shape)
    labels = {key: ("run", np.full(runs, key, object)) for key in ("optimizer", "model", "dataset", "loss", "schedule")}
    return xr.Dataset(
        {
            "hessian_eigenvalue": (("run", "hessian_top_measurement", "eigenvalue"), (ratios * thresholds)[..., None]),
            "hessian_threshold": (("run", "hessian_top_measurement"), thresholds),
            "status": ("run", np.asarray(status or ["completed"] * runs, object)),
            "n_steps": ("run", np.broadcast_to(updates, runs)),
        },
        {
            "run": np.asarray([f"{index:016x}" for index in range(runs)], object),
            **labels,
            "lr": ("run", rates),
            "batch_size": ("run", np.full(runs, 4)),
            "seed": ("run", np.arange(runs) if seed is None else np.asarray(seed)),
            "hessian_top_step": ("hessian_top_measurement", np.asarray(steps)),
        },
    )


def loss_dataset(
    ratios: Mapping[tuple[str, int, int, float], float], *, status: Sequence[str] | None = None, updates: int = 100
) -> xr.Dataset:
    """A dataset as collected, of runs (optimizer, batch size, seed, lr) with their ratio of final to initial loss."""
    optimizer, batch, seed, lr = (np.asarray(column) for column in zip(*ratios, strict=True))
    count, final = len(ratios), 2.5 * np.asarray(list(ratios.values()))
    labels = {key: ("run", np.full(count, key, object)) for key in ("model", "dataset", "loss", "schedule", "budget")}
    return xr.Dataset(
        {
            "train_loss": (("run", "losses_measurement"), np.stack([np.full(count, 2.5), final], axis=1)),
            "final_train_loss": ("run", final),
            "status": ("run", np.asarray(status or ["completed"] * count, object)),
            "n_steps": ("run", np.full(count, updates)),
        },
        {
            "run": np.asarray([f"{index:016x}" for index in range(count)], object),
            **labels,
            "optimizer": ("run", optimizer.astype(object)),
            "lr": ("run", lr),
            "batch_size": ("run", batch),
            "full_batch": ("run", np.zeros(count, bool)),
            "seed": ("run", seed),
            "losses_step": ("losses_measurement", [0, updates]),
        },
    )
