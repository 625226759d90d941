"""Classes in groups from frequent to rare, at the best learning rate of every sweep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.grouping import configurations

RESOLUTION = 1e-7
"""Losses are not taken for less: the rounding of a cross-entropy in float32, below which logarithms mean nothing."""

_DRAW = ("dataset", "dataset_subset_seed")
"""Coordinates that tell draws of one dataset apart; its other settings are coordinates of their own."""


@dataclass(frozen=True)
class Best:
    """The best run of a sweep over learning rates.

    Attributes:
        run: its index.
        settings: what its sweep has in common, learning rate, seed and draw of the data left out.
        others: the settings without the optimizer's.
        draw: seed, and what draws the data.
        at_end: whether its learning rate is the smallest or largest of the sweep.
    """

    run: int
    settings: Hashable
    others: Hashable
    draw: Hashable
    at_end: bool


def best_runs(ds: xr.Dataset) -> list[Best]:
    """For all settings, seeds and draws of the data, the run of least final training loss among learning rates.

    Args:
        ds: runs with `final_train_loss`.

    Returns:
        One entry a sweep, in the order of the dataset; a sweep all of whose runs diverged has none.
    """
    settings = configurations(ds, but=("lr", *_DRAW))
    of_optimizer = [str(name) for name in ds.coords if str(name).startswith("optimizer")]
    others = configurations(ds, but=("lr", *_DRAW, *of_optimizer))
    draws = ds.dataset_subset_seed.values.tolist() if "dataset_subset_seed" in ds.coords else [0] * ds.sizes["run"]
    keys = list(zip(settings, ds.seed.values.tolist(), draws, strict=True))
    losses = np.where(ds.status.values == "diverged", np.inf, ds.final_train_loss.values.astype(float))
    sweeps: dict[Hashable, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        sweeps[key].append(index)
    found = []
    for members in sweeps.values():
        run = min(members, key=lambda index: losses[index] if np.isfinite(losses[index]) else np.inf)
        if np.isfinite(losses[run]):
            rates = ds.lr.values[members]
            at_end = len(members) > 1 and ds.lr.values[run] in (rates.min(), rates.max())
            found.append(Best(run, settings[run], others[run], keys[run][1:], bool(at_end)))
    return found


def pairs(ds: xr.Dataset, first: str, second: str) -> list[tuple[Best, Best]]:
    """The best runs of two optimizers that are alike in all but optimizer and learning rate.

    Args:
        ds: runs with `final_train_loss`.
        first: label or name of one optimizer.
        second: of the other.

    Returns:
        One pair for each setting, seed and draw of the data that both have.
    """
    best = best_runs(ds)
    theirs = {(each.others, each.draw): each for each in best if _of_optimizer(ds, each.run, second)}
    ours = [each for each in best if _of_optimizer(ds, each.run, first)]
    return [(each, theirs[each.others, each.draw]) for each in ours if (each.others, each.draw) in theirs]


def _of_optimizer(ds: xr.Dataset, run: int, name: str) -> bool:
    return any(ds[key].values[run] == name for key in ("optimizer", "optimizer_name") if key in ds.coords)


def at_end(ds: xr.Dataset, name: str) -> np.ndarray:
    """The last measurement of each class, (run, class) in float64; NaN where there is none.

    Args:
        ds: a dataset with the observable `per_class`.
        name: one of its variables.

    Returns:
        The values.
    """
    values = ds[name].values.astype(float)  # (run, measurement, class)
    seen = np.isfinite(values).any(axis=2)
    last = values.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)
    return np.asarray(values[np.arange(len(values)), last])


def frequency_groups(shares: np.ndarray, groups: int) -> np.ndarray:
    """Which group each class is in, from the most frequent classes to the rarest, all of nearly as many samples.

    Args:
        shares: of each class among samples, (classes,); NaN for classes that a run does not have.
        groups: how many groups.

    Returns:
        (classes,) in 0 .. groups - 1: where on the line of all samples, classes of equal shares in their order, the
        middle of the class lies. A class that is larger than a group leaves some group empty. -1 for classes without
        samples.
    """
    held = np.nan_to_num(shares)
    order = np.argsort(-held, kind="stable")
    middles = np.cumsum(held[order]) - held[order] / 2
    found = np.empty(len(shares), dtype=int)
    found[order] = np.minimum((middles * groups).astype(int), groups - 1)
    return np.where(held > 0, found, -1)


def group_means(values: np.ndarray, shares: np.ndarray, groups: int) -> np.ndarray:
    """The mean over samples of each group of classes.

    Args:
        values: the mean over the samples of each class, (classes,).
        shares: of each class, (classes,).
        groups: how many groups, as in `frequency_groups`.

    Returns:
        (groups,), the most frequent classes first; NaN for a group without classes.
    """
    places = frequency_groups(shares, groups)
    found = np.full(groups, np.nan)
    for group in np.unique(places[places >= 0]):
        inside = places == group
        found[group] = np.average(values[inside], weights=shares[inside])
    return found


def group_losses(ds: xr.Dataset, runs: Sequence[int], groups: int) -> np.ndarray:
    """The final training loss of each group of classes, the most frequent first.

    Args:
        ds: a dataset with the observable `per_class`.
        runs: indices of runs.
        groups: how many groups, as in `frequency_groups`.

    Returns:
        (len(runs), groups), not below `RESOLUTION`; NaN for a group without classes.
    """
    losses, shares = at_end(ds, "class_loss"), at_end(ds, "class_share")
    return np.maximum(np.stack([group_means(losses[run], shares[run], groups) for run in runs]), RESOLUTION)


def log_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of log x and log y, over entries where both are above 0; NaN where fewer than three are."""
    kept = (x > 0) & (y > 0)
    if kept.sum() < 3:
        return float("nan")
    logs = np.log(x[kept]), np.log(y[kept])
    return float(np.corrcoef(*logs)[0, 1]) if all(np.ptp(values) > 0 for values in logs) else float("nan")
