"""The uniformity of the Hessian's diagonal, R_med, where two runs have the same training loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.class_groups import RESOLUTION, Best, pairs

LEVELS = 8
"""Losses at which two runs are compared."""


@dataclass(frozen=True)
class Descent:
    """What a run measured wherever its loss was lower than at any measurement before.

    Attributes:
        losses: training losses, (n,), falling.
        ratios: R_med = max |H_ii| / median |H_ii| of each layer, (n, layers); NaN where the median is 0.
    """

    losses: np.ndarray
    ratios: np.ndarray

    @property
    def over_layers(self) -> np.ndarray:
        """The geometric mean over layers that always have an R_med, (n,); NaN where there are none."""
        kept = np.isfinite(self.ratios).all(axis=0)
        if not kept.any():
            return np.full(len(self.losses), np.nan)
        return np.asarray(np.exp(np.log(self.ratios[:, kept]).mean(axis=1)))

    def at(self, levels: np.ndarray) -> np.ndarray:
        """R_med (levels, layers) at these losses, by interpolation of its logarithm along that of the loss."""
        clock = np.log(self.losses[::-1])
        logs = np.log(self.ratios[::-1])
        return np.exp(np.stack([np.interp(np.log(levels), clock, column) for column in logs.T], axis=1))


@dataclass(frozen=True)
class Matched:
    """Two runs that differ in the optimizer and its learning rate alone.

    Attributes:
        first: the one run.
        second: the other.
        levels: losses that both reach, (LEVELS,), falling.
        ratios: R_med of the first over that of the second, (LEVELS, layers).
    """

    first: Best
    second: Best
    levels: np.ndarray
    ratios: np.ndarray

    @property
    def middle(self) -> float:
        """The median over levels and layers; NaN where no layer has an R_med in both runs."""
        known = self.ratios[np.isfinite(self.ratios)]
        return float(np.median(known)) if known.size else float("nan")

    @property
    def of_layers(self) -> np.ndarray:
        """The median over levels, (layers,); NaN for a layer without an R_med in one of the runs."""
        return np.asarray(np.median(self.ratios, axis=0))


def descent(ds: xr.Dataset, run: int) -> Descent:
    """What a run measured of `layer_diagonals` on its way down.

    Args:
        ds: a dataset with the observable `layer_diagonals`.
        run: an index.

    Returns:
        Measurements with a loss that is lower than all before and not below `RESOLUTION`, of the layers that the run
        has.
    """
    losses = ds.layer_diagonal_loss.values[run].astype(float)
    largest, median = (ds[f"layer_diagonal_{name}"].values[run].astype(float) for name in ("largest", "median"))
    measured = np.isfinite(losses) & (losses >= RESOLUTION)
    losses, largest, median = losses[measured], largest[measured], median[measured]
    before = np.concatenate(([np.inf], np.minimum.accumulate(losses)[:-1])) if losses.size else losses
    lower = losses < before
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(median > 0, largest / median, np.nan)[lower]
    return Descent(losses[lower], ratios[:, np.isfinite(largest).any(axis=0)])


def meet(one: Descent, other: Descent) -> tuple[np.ndarray, np.ndarray] | None:
    """Two runs where their losses are equal.

    Levels are evenly spaced in the logarithm, over the lower half of what both pass: at the start, which runs of one
    seed share, their ratio is 1 whatever they do.

    Args:
        one: the one run.
        other: another, of the same layers.

    Returns:
        The levels (LEVELS,), falling, and R_med of the one over that of the other there (LEVELS, layers); None where
        not both have two measurements at losses that the other passes.
    """
    if min(len(one.losses), len(other.losses)) < 2:
        return None
    high = min(one.losses[0], other.losses[0])
    low = max(one.losses[-1], other.losses[-1])
    if low >= high:
        return None
    levels = np.geomspace(np.sqrt(high * low), low, LEVELS)
    return levels, one.at(levels) / other.at(levels)


def matched(ds: xr.Dataset, first: str, second: str) -> list[Matched]:
    """The best runs of two optimizers, compared where their losses are equal.

    Args:
        ds: a dataset with the observables `losses` and `layer_diagonals`.
        first: label or name of one optimizer.
        second: of the other.

    Returns:
        One entry for each setting and seed at which they `meet`.
    """
    found = []
    for ours, theirs in pairs(ds, first, second):
        met = meet(descent(ds, ours.run), descent(ds, theirs.run))
        if met is not None:
            found.append(Matched(ours, theirs, *met))
    return found
