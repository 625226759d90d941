"""What happens before and after the sharpness first reaches its stability threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.edge import EdgeRule, sharpness_ratio


@dataclass(frozen=True)
class Crossing:
    """Where a run reached its threshold, between two measurements of its sharpness.

    Attributes:
        run: its index.
        below: the step of the last measurement below the threshold before it; of all, where it never did.
        reached: the step of the first measurement at 1 or above; None where there is none.
    """

    run: int
    below: int
    reached: int | None


def crossings(ds: xr.Dataset, rule: EdgeRule) -> list[Crossing]:
    """The runs that reached their threshold in time, as `EdgeRule` has it, and those that never did.

    Runs that diverged, that did so late, or that began at 1 or above, are left out: they have no time before it.

    Args:
        ds: a dataset with sharpness.
        rule: which crossings count.

    Returns:
        One entry for each of these runs, in their order.
    """
    ratio = sharpness_ratio(ds)
    steps, outcomes = ratio.measured_step.values, rule.outcomes(ratio, ds.n_steps, ds.status)
    found = []
    for run, (row, outcome) in enumerate(zip(ratio.values, outcomes, strict=True)):
        measured = np.isfinite(row)
        if outcome not in ("reached", "never") or not measured.any():
            continue
        at, values = steps[measured], row[measured]
        above = np.flatnonzero(values >= 1)
        if len(above) and above[0] == 0:
            continue
        if outcome == "never" and not len(above):
            found.append(Crossing(run, int(at[-1]), None))
        elif outcome == "reached" and at[above[0]] >= rule.settled:
            found.append(Crossing(run, int(at[above[0] - 1]), int(at[above[0]])))
    return found


def rising_share(ds: xr.Dataset, run: int, first: int, last: float, tolerance: float) -> float:
    """The share of updates after which the training loss of a run is higher than before.

    Args:
        ds: a dataset with `train_loss` at every step.
        run: its index.
        first: updates from this step on count.
        last: updates that end after this step do not.
        tolerance: a loss is higher if it is so by more than this, relative.

    Returns:
        In [0, 1]; NaN where no two successive losses were recorded.
    """
    losses = ds.train_loss.values[run].astype(float)
    steps = ds.step.values[:-1]
    before, after = losses[:-1], losses[1:]
    counts = (steps >= first) & (steps + 1 <= last) & np.isfinite(before) & np.isfinite(after)
    return float((after > before * (1 + tolerance))[counts].mean()) if counts.any() else float("nan")


def falling_share(ds: xr.Dataset, run: int, first: int, windows: int) -> float:
    """The share of successive windows whose mean training loss is lower than that of the window before.

    Args:
        ds: a dataset with `train_loss` at every step.
        run: its index.
        first: the step that the first window starts at; the last one ends with the run.
        windows: how many windows of equal length, 2 or more.

    Returns:
        In [0, 1]; NaN where there are fewer losses than windows.
    """
    losses = ds.train_loss.values[run].astype(float)
    kept = losses[(ds.step.values >= first) & np.isfinite(losses)]
    if len(kept) < windows:
        return float("nan")
    means = [part.mean() for part in np.array_split(kept, windows)]
    return float(np.mean(np.diff(means) < 0))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation of x and y.

    Args:
        x: (n,).
        y: (n,).

    Returns:
        In [-1, 1]; NaN where x or y is constant.

    Source: Spearman 1904.
    """
    from scipy.stats import rankdata

    if len(set(x.tolist())) < 2 or len(set(y.tolist())) < 2:
        return float("nan")
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
