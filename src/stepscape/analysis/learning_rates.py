"""Where on a grid something lies: the largest stable learning rate, the centre of the basin of the least value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Literal

import numpy as np

Censored = Literal["left", "right"]

CAP = 2.0
"""Where log(final / initial loss) is cut, so that how far a run blew up does not move where it crosses 0."""

BASIN, DECAY = 1.5, 1.25
"""How far above the least value, as a factor, points count; and the factor that costs a weight of 1/e."""


@dataclass(frozen=True)
class Located:
    """Where on a grid of positive numbers, such as learning rates, something lies.

    Attributes:
        log: its natural logarithm; where censored, that of the end of the grid that it lies beyond.
        censored: `left` if it lies below the grid, `right` if above.
    """

    log: float
    censored: Censored | None = None


def largest_stable_lr(lrs: Sequence[float], log_ratios: Sequence[float]) -> Located:
    """The largest learning rate up to which all are stable, read between two points of the grid.

    A learning rate is stable where r = log(final / initial loss) < 0. Between the last stable one and the next, where
    r is cut at `CAP`, it lies where the straight line in log lr crosses 0. Without that it would jump by whole steps
    of the grid, and its spread over seeds could vanish.

    Args:
        lrs: the grid (n,), in any order, no two alike.
        log_ratios: r of each (n,), of the loss on the full training set; NaN or infinite where the run diverged.

    Returns:
        Where it lies: left of the grid if the smallest is not stable, right if all are.

    Raises:
        ValueError: there are none, or two are alike.
    """
    logs, ratios = _sorted(lrs, log_ratios)
    ratios = np.minimum(np.nan_to_num(ratios, nan=CAP, posinf=CAP, neginf=-inf), CAP)
    unstable = np.flatnonzero(ratios >= 0)
    if not len(unstable):
        return Located(float(logs[-1]), "right")
    above = int(unstable[0])
    if above == 0:
        return Located(float(logs[0]), "left")
    share = 1 / (1 + ratios[above] / -ratios[above - 1])  # a loss of exactly 0 puts it at the unstable end
    return Located(float(logs[above - 1] + share * (logs[above] - logs[above - 1])))


def basin_centre(grid: Sequence[float], values: Sequence[float]) -> Located:
    """Where values are least, as the centre of their basin: of losses over learning rates the best one.

    The mean of the grid's logarithms over points whose value is within `BASIN` of the least, with weights
    exp(-log(value / least) / log `DECAY`): the least one alone jumps by whole steps of the grid.

    Args:
        grid: positive numbers (n,), in any order, no two alike.
        values: one for each (n,), not negative; NaN or infinite where there is none, as of a run that diverged.

    Returns:
        Where it lies: censored where the least value is at an end of the grid, `left` if there is none.

    Raises:
        ValueError: the grid is empty, or two of it are alike.
    """
    logs, found = _sorted(grid, values)
    found = np.where(np.isfinite(found), found, inf)
    least = int(found.argmin())
    if not np.isfinite(found[least]) or least == 0:
        return Located(float(logs[0]), "left")
    if least == len(logs) - 1:
        return Located(float(logs[-1]), "right")
    near = found <= BASIN * found[least]
    weights = (found[near] / found[least]) ** (-1 / log(DECAY)) if found[least] > 0 else np.ones(near.sum())
    return Located(float(np.average(logs[near], weights=weights)))


def _sorted(grid: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    if not len(grid) or len(set(grid)) != len(grid):
        raise ValueError(f"the grid {sorted(grid)}; at least one point, and no two alike")
    order = np.argsort(grid)
    return np.log(np.asarray(grid, dtype=float)[order]), np.asarray(values, dtype=float)[order]
