"""Runs beside the flows that follow them: how far apart they are, and how well a flow predicts time averages."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from stepscape.analysis.clocks import clock_of
from stepscape.analysis.grouping import configurations

Quantity = Literal["loss", "squared_gradient", "step_size", "mean_squares"]
VARIABLES: dict[str, str] = {
    "loss": "average_loss",
    "squared_gradient": "average_squared_gradient",
    "step_size": "mean_step_size",
    "mean_squares": "mean_squared_preconditioner",
}
"""Each quantity's variable in a dataset."""


@dataclass(frozen=True)
class Trio:
    """Three runs, by their indices, alike in all but the optimizer, from one start.

    Attributes:
        followed: the optimizer's own run.
        near: the run that is to stay close, such as the central flow's.
        far: the one that is not, such as the stable flow's.
        of: the optimizer's name.
        group: the configuration; trios of a group differ in their seed only.
    """

    followed: int
    near: int
    far: int
    of: str
    group: Hashable


def optimizer_names(ds: xr.Dataset) -> list[str]:
    """The optimizer's name of each run, without its fields."""
    return [str(name) for name in ds["optimizer_name" if "optimizer_name" in ds.coords else "optimizer"].values]


def trios(ds: xr.Dataset, near: str = "central_flow", far: str = "stable_flow") -> list[Trio]:
    """The runs that belong together.

    Args:
        ds: a study's dataset.
        near: name of the optimizer that is to stay close.
        far: name of the one that is not.

    Returns:
        One for each run of another optimizer that has both beside it: flows that follow its optimizer, at the same
        learning rate, seed, start and whatever else there is but `branch_noise`. None diverged.
    """
    names, flows = optimizer_names(ds), {near, far}
    followed = _followed(ds, names, flows)
    ignored = [str(name) for name in ds.coords if str(name).startswith(("optimizer", "branch_noise"))]
    settings = configurations(ds, but=[*ignored, "start_run"])
    starts = ds["start_run"].values.tolist() if "start_run" in ds.coords else [""] * len(names)
    keys = list(zip(followed, settings, starts, ds.seed.values.tolist(), strict=True))
    ended = ds.status.values == "diverged"
    places = {(name, key): i for i, (name, key) in enumerate(zip(names, keys, strict=True)) if not ended[i]}
    found = []
    for i, (name, key) in enumerate(zip(names, keys, strict=True)):
        if name not in flows and (near, key) in places and (far, key) in places and not ended[i]:
            found.append(Trio(i, places[near, key], places[far, key], name, (name, settings[i])))
    return found


def _followed(ds: xr.Dataset, names: list[str], flows: set[str]) -> list[str]:
    """Which optimizer each run is about: its own, or the one that it follows."""
    stated = ds["optimizer_of"].values if "optimizer_of" in ds.coords else np.full(len(names), "")
    own = sorted({name for name in names if name not in flows})
    only = own[0] if len(own) == 1 else ""
    return [
        name if name not in flows else str(of) if isinstance(of, str) and of else only
        for name, of in zip(names, stated, strict=True)
    ]


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    """A series (n,) under a Gaussian of standard deviation `sigma`, its ends continued; as it is where sigma is 0."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(values, sigma, mode="nearest")) if sigma else values


def edge_step(ds: xr.Dataset, trio: Trio) -> int | None:
    """The first step at which the near flow oscillates; None where it never does."""
    steps = np.flatnonzero(ds.oscillation_modes.values[trio.near] > 0)
    return int(steps[0]) if len(steps) else None


def prediction_error(
    ds: xr.Dataset, trio: Trio, quantity: Quantity, *, sigma: float, after: int = 0, of_far: bool = False
) -> float:
    """How far a flow's prediction is from the run, relative to it, on average over the steps at the edge.

    Both sides are smoothed alike: the run oscillates, and a filter takes as much off a falling series on either side.

    Args:
        ds: runs that recorded `time_average` in every step.
        trio: the runs.
        quantity: what is predicted.
        sigma: standard deviation of the Gaussian, in steps.
        after: steps to leave out after the flow's first oscillation.
        of_far: of the far flow instead of the near one.

    Returns:
        The mean of |smooth(run) - smooth(flow)| / smooth(run); NaN where the flow has not oscillated for so long.
    """
    start = edge_step(ds, trio)
    values = ds[VARIABLES[quantity]].values.astype(float)
    run, flow = (smoothed(_measured(values[i]), sigma) for i in (trio.followed, trio.far if of_far else trio.near))
    length = min(len(run), len(flow))
    if start is None or start + after >= length:
        return float("nan")
    part = slice(start + after, length)
    return float(np.mean(np.abs(run[part] - flow[part]) / run[part]))


def _measured(values: np.ndarray) -> np.ndarray:
    """A series up to its last number."""
    return values[: np.flatnonzero(np.isfinite(values))[-1] + 1] if np.isfinite(values).any() else values[:0]


def distances(ds: xr.Dataset, one: int, other: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n,) at which two runs kept their parameters, and the Euclidean distances (n,) between these.

    Args:
        ds: a dataset that holds parameters (`parameters: {..., collected: true}`).
        one: index of a run.
        other: index of another, of the same model.

    Returns:
        Steps and distances.
    """
    kept = ds.parameters.values.astype(float)
    steps = clock_of(ds, "parameters")
    gaps = np.sqrt(np.nansum((kept[one] - kept[other]) ** 2, axis=1))
    both = np.isfinite(kept[one]).any(axis=1) & np.isfinite(kept[other]).any(axis=1)
    return steps[both], gaps[both]


def distance_ratio(ds: xr.Dataset, trio: Trio, last: int) -> float:
    """Distance of the run to the near flow over that to the far one, both averaged over the last steps.

    Args:
        ds: a dataset that holds parameters.
        trio: the runs.
        last: how many steps before the end count.

    Returns:
        The ratio; NaN where none of the last measurements is later than the start.
    """
    means = []
    for flow in (trio.near, trio.far):
        steps, gaps = distances(ds, trio.followed, flow)
        counts = (steps >= steps.max(initial=0) - last) & (steps > 0)
        means.append(float(gaps[counts].mean()) if counts.any() else float("nan"))
    return means[0] / means[1] if means[1] > 0 else float("nan")
