"""How the largest stable, or the best, learning rate grows with the batch size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.clocks import clock_of
from stepscape.analysis.estimates import Estimate, fit_slope
from stepscape.analysis.learning_rates import Censored, Located, basin_centre, largest_stable_lr
from stepscape.analysis.saturation import Saturating, fit_saturating

FEWEST_BATCH_SIZES = 5
"""Batch sizes that a line needs: with three, its interval is wider than the exponents that it should tell apart."""


@dataclass(frozen=True)
class BatchScaling:
    """A learning rate against the batch size.

    Attributes:
        log_lr: batch size to the log of the learning rate, one a seed, of batch sizes where none is censored.
        censored: batch sizes left out because a seed's learning rate lies beyond the grid: to the side.
    """

    log_lr: Mapping[int, Sequence[float]]
    censored: Mapping[int, Censored]

    @property
    def exponent(self) -> Estimate | None:
        """Slope of log lr, median over seeds, against log B; None where fewer than `FEWEST_BATCH_SIZES` are left.

        The seeds' spread is in it through the scatter of the points about the line. In subsamples of a large grid the
        line's t-interval held its level, and bootstraps over seeds did not (docs/numerics.md).
        """
        return fit_slope(*self._points()) if self._is_enough else None

    def saturating(self, confidence: float = 0.95) -> Saturating | None:
        """The same up to a knee in log B beyond which it is flat; None where fewer batch sizes are left.

        Args:
            confidence: the level of its intervals.

        Returns:
            The exponent below the knee, and the knee.
        """
        return fit_saturating(*self._points(), confidence) if self._is_enough else None

    @property
    def _is_enough(self) -> bool:
        return len(self.log_lr) >= FEWEST_BATCH_SIZES

    def _points(self) -> tuple[list[float], list[float]]:
        return [float(np.log(size)) for size in self.log_lr], [float(np.median(logs)) for logs in self.log_lr.values()]


def stable_scaling(ds: xr.Dataset) -> BatchScaling:
    """The largest stable learning rate against the batch size.

    Args:
        ds: runs of one optimizer that differ in lr, batch size and seed alone, with `train_loss` recorded.

    Returns:
        The scaling.

    Raises:
        ValueError: the loss was not recorded at step 0.
    """
    return _scaling(ds, largest_stable_lr, log_loss_ratio(ds))


def best_scaling(ds: xr.Dataset) -> BatchScaling:
    """The best learning rate against the batch size; arguments as in `stable_scaling`."""
    return _scaling(ds, basin_centre, _survived(ds, ds.final_train_loss.values))


def log_loss_ratio(ds: xr.Dataset) -> np.ndarray:
    """log(final / initial loss) on the full training set, (run,) float64; NaN for runs that diverged.

    Args:
        ds: a dataset with `train_loss`.

    Returns:
        The ratios.

    Raises:
        ValueError: the loss was not recorded at step 0.
    """
    clock = str(ds.train_loss.dims[1])
    steps = clock_of(ds, "train_loss")
    if not len(steps) or steps[0] != 0:
        raise ValueError("no train_loss at step 0: `losses` must be measured there")
    initial = ds.train_loss.isel({clock: 0}).values.astype(float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _survived(ds, np.log(ds.final_train_loss.values.astype(float) / initial))


def _survived(ds: xr.Dataset, values: np.ndarray) -> np.ndarray:
    return np.where(ds.status.values == "diverged", np.nan, values)


def _scaling(
    ds: xr.Dataset, locate: Callable[[Sequence[float], Sequence[float]], Located], values: np.ndarray
) -> BatchScaling:
    grids: dict[int, dict[int, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for size, seed, lr, value in zip(ds.batch_size.values, ds.seed.values, ds.lr.values, values, strict=True):
        grids[int(size)][int(seed)][float(lr)] = float(value)  # runs that observe other things are alike
    found = {
        size: [locate(list(grid), list(grid.values())) for _, grid in sorted(grids[size].items())]
        for size in sorted(grids)
    }
    sides = {size: [place.censored for place in places if place.censored] for size, places in found.items()}
    return BatchScaling(
        {size: [place.log for place in places] for size, places in found.items() if not sides[size]},
        {size: beyond[0] for size, beyond in sides.items() if beyond},
    )
