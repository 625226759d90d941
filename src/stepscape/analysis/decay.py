"""How the training loss falls: as a power of the number of steps, or exponentially."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.clocks import clock_of
from stepscape.analysis.estimates import fit_slope

FEWEST_POINTS = 5


@dataclass(frozen=True)
class Decay:
    """The last part of a loss curve.

    Attributes:
        steps: (n,), above 0, ascending.
        losses: (n,), above 0.
    """

    steps: np.ndarray
    losses: np.ndarray

    @property
    def exponent(self) -> float:
        """The slope of log loss on log step: a where the loss goes as step^a."""
        return fit_slope(np.log(self.steps).tolist(), np.log(self.losses).tolist()).value

    @property
    def linearity(self) -> float:
        """R^2 of the line of log loss on the step: 1 where the loss falls exponentially; NaN where it is constant."""
        correlation: np.ndarray = np.ma.corrcoef(self.steps, np.log(self.losses))
        return float(np.ma.filled(correlation[0, 1], np.nan)) ** 2


def last_decades(ds: xr.Dataset, decades: float) -> list[Decay | None]:
    """The training loss of each run over the last `decades` of its steps.

    Args:
        ds: a dataset with `train_loss`.
        decades: powers of ten: from step T / 10^decades to T, the last one done.

    Returns:
        One a run; None where fewer than `FEWEST_POINTS` losses above 0 were recorded there, or the run diverged.
    """
    steps = clock_of(ds, "train_loss")
    runs = zip(ds.train_loss.values.astype(float), ds.n_steps.values, ds.status.values, strict=True)
    return [None if how == "diverged" else _last(steps, losses, end / 10**decades) for losses, end, how in runs]


def _last(steps: np.ndarray, losses: np.ndarray, since: float) -> Decay | None:
    kept = (steps >= max(since, 1)) & np.isfinite(losses) & (losses > 0)
    return Decay(steps[kept], losses[kept]) if kept.sum() >= FEWEST_POINTS else None
