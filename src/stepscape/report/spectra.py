"""The largest Hessian eigenvalues along runs, and how their subspace turned, packed for a page."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stepscape.analysis.subspaces import overlap_map
from stepscape.report.clocks import Clocks
from stepscape.report.series import encode
from stepscape.report.thinning import caps_of
from stepscape.report.trajectories import clock_of, rows_of

Packed = tuple[dict[str, Any] | None, dict[str, str]]
"""What a series is, in terms of JSON, and the series by name; None and nothing where no run has it."""
_MOST_OVERLAPS = 400_000
_MOST_TIMES = 32
_NONE = np.empty((0, 0, 0))


def packed_spectra(ds: xr.Dataset, clocks: Clocks) -> Packed:
    """The largest Hessian eigenvalues of each run that measured more than one, measurement by measurement."""
    name = "hessian_eigenvalue"
    if name not in ds or ds[name].shape[2] < 2:
        return None, {}
    rows = rows_of(ds[name].values)
    several = [
        (where, values) if np.isfinite(values[:, 1:]).any() else (where[:0], values[:0]) for where, values in rows
    ]
    counts = [int(np.isfinite(values).any(axis=0).sum()) if len(values) else 0 for _, values in several]
    flat = [values[:, :count].ravel() for (_, values), count in zip(several, counts, strict=True)]
    if not any(counts) or caps_of([[len(row) for row in flat]]) != [None]:
        return None, {}
    clock = clocks.add([clock_of(ds, name)[where] for where, _ in several])
    return {"scale": "linear", "count": counts, "clock": clock}, {"spectra": encode(flat, "linear")}


def packed_overlaps(ds: xr.Dataset, clocks: Clocks) -> Packed:
    """Overlaps of the top subspace between all pairs of measurements, where sketches of it were kept."""
    name = "subspace_sketch"
    if name not in ds:
        return None, {}
    clock = ds["hessian_subspace_step"].values
    recorded = np.isfinite(ds["subspace_null"].values).any(axis=1)
    kept, steps, rows = 0, [], []
    for run in range(ds.sizes["run"]):
        sketches = ds[name].isel(run=run).values if recorded[run] and kept < _MOST_OVERLAPS else _NONE
        where, found = _overlaps(sketches)
        kept += len(where) ** 2 // 2
        steps.append(clock[where])
        rows.append(found[np.triu_indices(len(where), 1)])
    if not kept:
        return None, {}
    return {"scale": "linear", "clock": clocks.add(steps)}, {"overlaps": encode(rows, "linear")}


def _overlaps(sketches: NDArray[np.floating]) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    where = np.flatnonzero(np.isfinite(sketches).all(axis=2).any(axis=1))
    where = where[:: -(-len(where) // _MOST_TIMES)] if len(where) else where
    vectors = np.isfinite(sketches[where]).all(axis=(0, 2))
    return where, overlap_map(sketches[where][:, vectors]) if len(where) else np.empty((0, 0))
