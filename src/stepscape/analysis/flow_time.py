"""Runs of an optimizer beside the flow that follows it, at equal time: lr times steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from stepscape.analysis.grouping import configurations

FLOW = "stable_flow"
_OWN = ("lr", "batch_size", "full_batch")


def is_flow(ds: xr.Dataset) -> np.ndarray:
    """Which runs (run,) are flows."""
    names = ds["optimizer_name" if "optimizer_name" in ds.coords else "optimizer"].values
    return np.asarray([str(name).startswith(FLOW) for name in names])


def beside_flows(ds: xr.Dataset) -> Iterator[tuple[int, int]]:
    """Each run that is no flow, and the flow that starts where it does: alike in all but optimizer, lr and budget.

    Args:
        ds: runs of an optimizer and of flows.

    Yields:
        Indices of the run and of its flow; nothing where there is none.
    """
    others = [str(name) for name in ds.coords if str(name).startswith(("optimizer", "budget"))]
    alike = configurations(ds, but=(*_OWN, *others))
    keys = [(*key, seed) for key, seed in zip(alike, ds.seed.values.tolist(), strict=True)]
    flows = {keys[index]: int(index) for index in np.flatnonzero(is_flow(ds))}
    for index in np.flatnonzero(~is_flow(ds)):
        if keys[index] in flows:
            yield int(index), flows[keys[index]]


def sharpness_in_time(ds: xr.Dataset, run: int) -> tuple[np.ndarray, np.ndarray]:
    """Times lr * step (n,) and the sharpness of a run that was measured then, (n,)."""
    steps = ds.hessian_top_step.values if "hessian_top_step" in ds.coords else ds.step.values
    values = ds.hessian_eigenvalue.values[run, :, 0]
    measured = np.isfinite(values)
    return steps[measured] * float(ds.lr.values[run]), values[measured]


def deviation_from_flow(ds: xr.Dataset, run: int, flow: int, until: float) -> float:
    """The mean of |sharpness / that of the flow - 1| over measurements of a run up to a time, at equal time.

    Args:
        ds: the dataset.
        run: index of the run.
        flow: index of its flow, whose sharpness is interpolated linearly in time.
        until: the last time that counts, if the flow goes so far; else its end.

    Returns:
        NaN where nothing was measured until then but the start.
    """
    times, values = sharpness_in_time(ds, run)
    flow_times, flow_values = sharpness_in_time(ds, flow)
    if not len(flow_times):
        return float("nan")
    kept = (times > 0) & (times <= min(until, flow_times[-1]) * (1 + 1e-9))
    if not kept.any():
        return float("nan")
    expected = np.interp(times[kept], flow_times, flow_values)
    return float(np.mean(np.abs(values[kept] / expected - 1)))
