"""Runs with momentum beside those without, at equal effective learning rates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.batch_scaling import log_loss_ratio
from stepscape.analysis.estimates import Estimate, mean_over_seeds
from stepscape.analysis.learning_rates import largest_stable_lr

_DIVERGED = 1e30
"""The loss that stands for one that is not finite: differences of it are large, and numbers."""


def decay(ds: xr.Dataset) -> np.ndarray:
    """Beta of each run's heavy ball, (run,); 0 of gradient descent without momentum."""
    beta = ds.optimizer_beta.values.astype(float) if "optimizer_beta" in ds.coords else np.zeros(ds.sizes["run"])
    return np.where(_names(ds) == "heavy_ball", beta, 0.0)


def _names(ds: xr.Dataset) -> np.ndarray:
    return np.asarray(ds["optimizer_name" if "optimizer_name" in ds.coords else "optimizer"].values)


def _descending(ds: xr.Dataset) -> xr.Dataset:
    """Runs of the two optimizers."""
    return ds.isel(run=np.flatnonzero(np.isin(_names(ds), ["gd", "heavy_ball"])))


def effective_lr(ds: xr.Dataset) -> np.ndarray:
    """The learning rate over 1 - beta, (run,), which a constant gradient is multiplied with; to nine digits."""
    return np.asarray([float(f"{rate:.9g}") for rate in ds.lr.values / (1 - decay(ds))])


@dataclass(frozen=True)
class Twins:
    """Runs with one beta and those without momentum, alike in batch size, effective learning rate and seeds.

    Attributes:
        beta: of the heavy ball.
        batch_size: of both.
        lr: the effective learning rate.
        steps: where losses were recorded, (s,).
        plain: training losses without momentum, (seed, s).
        heavy: training losses with it, (seed, s).
    """

    beta: float
    batch_size: int
    lr: float
    steps: np.ndarray
    plain: np.ndarray
    heavy: np.ndarray

    def differences(self) -> list[Estimate]:
        """At each step but 0, the mean difference of losses in standard deviations of the plain ones over seeds.

        Returns:
            One estimate a step; its error is that of the mean of paired differences.
        """
        later = self.steps > 0
        plain, heavy = self.plain[:, later], self.heavy[:, later]
        with np.errstate(divide="ignore", invalid="ignore"):  # all seeds may have one loss, as where all diverged
            gaps = (heavy - plain) / plain.std(axis=0, ddof=1)
            return [mean_over_seeds(column) for column in gaps.T]


def twins(ds: xr.Dataset) -> list[Twins]:
    """All twins of a dataset with at least two seeds in common, by batch size, effective learning rate and beta.

    Args:
        ds: runs of `gd` and `heavy_ball` that differ in lr, batch size and seed alone, with `train_loss` recorded.

    Returns:
        The twins. Losses of runs that diverged are 1e30 from there on.
    """
    ds = _descending(ds)
    clock = "step" if "step" in ds.train_loss.dims else "losses_step"
    losses = np.minimum(np.nan_to_num(ds.train_loss.values.astype(float), nan=_DIVERGED), _DIVERGED)
    held: dict[tuple[int, float], dict[float, dict[int, np.ndarray]]] = {}
    columns = (ds.batch_size.values, effective_lr(ds), decay(ds), ds.seed.values, losses)
    for size, lr, beta, seed, row in zip(*columns, strict=True):
        held.setdefault((int(size), float(lr)), {}).setdefault(float(beta), {})[int(seed)] = row
    return [
        Twins(
            beta,
            size,
            lr,
            ds[clock].values,
            np.stack([of[0.0][seed] for seed in seeds]),
            np.stack([of[beta][seed] for seed in seeds]),
        )
        for (size, lr), of in sorted(held.items())
        for beta in sorted(of.keys() - {0.0})
        if len(seeds := sorted(of.get(0.0, {}).keys() & of[beta].keys())) > 1
    ]


def tuned(found: Sequence[Twins]) -> dict[int, float]:
    """Of each batch size the effective learning rate whose median last loss without momentum is the least."""
    least: dict[int, tuple[float, float]] = {}
    for pair in found:
        ends = (float(np.median(pair.plain[:, -1])), pair.lr)
        least[pair.batch_size] = min(ends, least.get(pair.batch_size, ends))
    return {size: lr for size, (_, lr) in least.items()}


def stability_gains(ds: xr.Dataset) -> dict[tuple[int, float], list[float] | None]:
    """Log of the largest stable effective learning rate with momentum over that without, one a seed.

    Args:
        ds: as in `twins`.

    Returns:
        (batch size, beta) to the logs; None where one of either lies beyond its grid.
    """
    ds = _descending(ds)
    ratios, rates, betas = log_loss_ratio(ds), effective_lr(ds), decay(ds)
    grids: dict[tuple[int, float, int], dict[float, float]] = {}
    for size, beta, seed, lr, ratio in zip(ds.batch_size.values, betas, ds.seed.values, rates, ratios, strict=True):
        grids.setdefault((int(size), float(beta), int(seed)), {})[float(lr)] = float(ratio)
    places = {key: largest_stable_lr(list(grid), list(grid.values())) for key, grid in grids.items()}
    gains: dict[tuple[int, float], list[float] | None] = {}
    for size, beta, seed in sorted(places):
        if beta and (size, 0.0, seed) in places:
            heavy, plain = places[size, beta, seed], places[size, 0.0, seed]
            known = gains.setdefault((size, beta), [])
            beyond = heavy.censored or plain.censored
            gains[size, beta] = None if beyond or known is None else [*known, heavy.log - plain.log]
    return gains


def sharpness_at_start(ds: xr.Dataset) -> Mapping[Hashable, float]:
    """Seed to the largest Hessian eigenvalue at step 0, of the runs that measured it."""
    if "hessian_eigenvalue" not in ds:
        return {}
    first = ds.hessian_eigenvalue.isel(eigenvalue=0, hessian_top_measurement=0).values
    return {int(seed): float(value) for seed, value in zip(ds.seed.values, first, strict=True) if np.isfinite(value)}
