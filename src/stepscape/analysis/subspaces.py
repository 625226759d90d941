"""Overlaps of subspaces between all pairs of measurements."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray


def overlap_map(sketches: NDArray[np.floating], k: int | None = None) -> NDArray[np.float64]:
    """|U_s U_t^T|_F^2 / k for all pairs of measurements, from stored sketches or vectors.

    Args:
        sketches: (measurement, vector, entry), orthonormal rows, such as `subspace_sketch` of a run; rows of NaN
            where nothing was measured.
        k: of the leading subspaces, those of the first k rows; default: all.

    Returns:
        (measurement, measurement), symmetric; NaN where one of the two was not measured.
    """
    rows = np.asarray(sketches, np.float64)[:, :k]
    measurements, leading, entries = rows.shape
    flat = rows.reshape(measurements * leading, entries)
    squares = np.square(flat @ flat.T).reshape(measurements, leading, measurements, leading)
    overlaps: NDArray[np.float64] = squares.sum(axis=(1, 3)) / leading
    return overlaps


def overlaps_at_lag(ds: xr.Dataset, lag: int, since: int) -> NDArray[np.float64]:
    """Mean overlap of a run's top subspaces that are `lag` steps apart.

    Args:
        ds: a dataset with `subspace_sketch`.
        lag: steps between two measurements; even ones are not blurred by the oscillation of period two.
        since: the first step of a pair.

    Returns:
        (run,); NaN where a run has no such pair.
    """
    steps = ds.hessian_subspace_step.values
    pairs = [(i, j) for i, first in enumerate(steps) for j, second in enumerate(steps) if second - first == lag]
    pairs = [(i, j) for i, j in pairs if steps[i] >= since]
    found = np.full(ds.sizes["run"], np.nan)
    for run in range(ds.sizes["run"]):
        overlaps = overlap_map(ds.subspace_sketch.isel(run=run).values)
        measured = [overlaps[pair] for pair in pairs if np.isfinite(overlaps[pair])]
        if measured:
            found[run] = np.mean(measured)
    return found
