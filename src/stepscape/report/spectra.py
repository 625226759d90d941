"""The largest Hessian eigenvalues along runs, and how their subspace turned, packed for a page."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stepscape.analysis.clocks import clock_of
from stepscape.analysis.subspaces import overlap_map
from stepscape.report.clocks import Clocks
from stepscape.report.series import encode
from stepscape.report.trajectories import rows_of

Packed = tuple[dict[str, Any] | None, dict[str, str]]
"""What a series is, in terms of JSON, and the series by name; None and nothing where no run has it."""
_MOST_EIGENVALUES, _MOST_OVERLAPS = 150_000, 60_000
_MOST_TIMES = 32


def packed_spectra(ds: xr.Dataset, clocks: Clocks) -> Packed:
    """The largest Hessian eigenvalues of each run that measured more than one, measurement by measurement.

    Where they are too many for a page, every run keeps each n-th measurement; the description says so as `every`.

    Args:
        ds: the dataset.
        clocks: where their steps are told.

    Returns:
        What they are, and the rows.
    """
    name = "hessian_eigenvalue"
    if name not in ds or ds[name].shape[2] < 2:
        return None, {}
    values = ds[name].values
    several = np.isfinite(values[:, :, 1:]).any(axis=(1, 2))
    rows = rows_of(np.where(several[:, None, None], values, np.nan))
    counts = [int(np.isfinite(row).any(axis=0).sum()) if len(row) else 0 for _, row in rows]
    total = sum(len(row) * count for (_, row), count in zip(rows, counts, strict=True))
    if not total:
        return None, {}
    every = -(-total // _MOST_EIGENVALUES)
    flat = [row[::every, :count].ravel() for (_, row), count in zip(rows, counts, strict=True)]
    clock = clocks.add([clock_of(ds, name)[where[::every]] for where, _ in rows])
    return {"scale": "linear", "count": counts, "every": every, "clock": clock}, {"spectra": encode(flat, "linear")}


def packed_overlaps(ds: xr.Dataset, clocks: Clocks) -> Packed:
    """Overlaps of the top subspace between all pairs of measurements, where sketches of it were kept.

    Where they are too many for a page, every run keeps each n-th measurement; the description says so as `every`.

    Args:
        ds: the dataset.
        clocks: where their steps are told.

    Returns:
        What they are, and the rows.
    """
    name = "subspace_sketch"
    if name not in ds:
        return None, {}
    recorded = np.flatnonzero(np.isfinite(ds["subspace_null"].values).any(axis=1))
    if not len(recorded):
        return None, {}
    clock = ds["hessian_subspace_step"].values
    times = max(min(_MOST_TIMES, int((2 * _MOST_OVERLAPS / len(recorded)) ** 0.5)), 2)
    every = -(-len(clock) // times)
    found = {int(run): _overlaps(ds[name].isel(run=run).values, every) for run in recorded}
    none = np.empty(0, int), np.empty((0, 0))
    both = [found.get(run, none) for run in range(ds.sizes["run"])]
    rows = [overlaps[np.triu_indices(len(where), 1)] for where, overlaps in both]
    told = {"scale": "linear", "every": every, "clock": clocks.add([clock[where] for where, _ in both])}
    return told, {"overlaps": encode(rows, "linear")}


def _overlaps(sketches: NDArray[np.floating], every: int) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    where = np.flatnonzero(np.isfinite(sketches).all(axis=2).any(axis=1))[::every]
    vectors = np.isfinite(sketches[where]).all(axis=(0, 2))
    return where, overlap_map(sketches[where][:, vectors]) if len(where) else np.empty((0, 0))
