"""The edge of stability: sharpness over its threshold, and which runs reached it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

Outcome = Literal["reached", "late", "never", "diverged"]


def sharpness_ratio(ds: xr.Dataset) -> xr.DataArray:
    """Largest eigenvalue of P^-1 H over the optimizer's stability threshold.

    Taken from `preconditioned_top` where it was measured, else from `hessian_top` where P is the identity.

    Args:
        ds: the dataset of a study.

    Returns:
        (run, measured_step), float64, with all coordinates of `run`; NaN where it was not measured, and at step 0 of
        runs that recorded `preconditioned_top`: there P comes from a single gradient and means nothing.

    Raises:
        ValueError: the dataset holds neither.
    """
    found: list[xr.DataArray] = []
    for prefix, observable in (("preconditioned", "preconditioned_top"), ("hessian", "hessian_top")):
        if f"{prefix}_eigenvalue" in ds:
            ratio = ds[f"{prefix}_eigenvalue"].isel(eigenvalue=0) / ds[f"{prefix}_threshold"]
            clock = ratio.dims[1]
            steps = ds["step" if clock == "step" else f"{observable}_step"].values
            bare = ratio.reset_coords(drop=True).drop_vars(["run", clock], errors="ignore")
            found.append(bare.rename({clock: "measured_step"}).assign_coords(measured_step=steps))
    if not found:
        raise ValueError("no sharpness: the dataset holds neither hessian_eigenvalue nor preconditioned_eigenvalue")
    ratio = found[0] if len(found) == 1 else found[0].combine_first(found[1])
    if "preconditioned_threshold" in ds:
        threshold = ds["preconditioned_threshold"].values
        adaptive = np.isfinite(threshold).any(axis=1)
        ratio = ratio.where(~(xr.DataArray(adaptive, dims="run") & (ratio.measured_step == 0)))
    on_run = {name: value for name, value in ds.coords.items() if value.dims == ("run",)}
    return ratio.transpose("run", "measured_step").assign_coords(on_run).rename("sharpness_ratio")


@dataclass(frozen=True)
class EdgeRule:
    """When a run counts as at the edge, without using what it is judged on.

    Attributes:
        settled: crossings before this step do not count: the initial sharpness may lie above the threshold.
        judged_from: share of the updates done after which runs are judged; crossings after it are late.
    """

    settled: int = 20
    judged_from: float = 2 / 3

    def outcomes(self, ratio: xr.DataArray, updates: xr.DataArray, status: xr.DataArray) -> list[Outcome]:
        """What became of each run: whether some measurement in time was at the threshold or above."""
        rows = zip(ratio.values, updates.values, status.values, strict=True)
        return [self._outcome(row, ratio.measured_step.values, int(end), str(how)) for row, end, how in rows]

    def _outcome(self, ratio: np.ndarray, steps: np.ndarray, updates: int, status: str) -> Outcome:
        if status == "diverged":
            return "diverged"
        above = steps[np.nan_to_num(ratio, nan=-np.inf) >= 1]
        above = above[above >= self.settled]
        if not len(above):
            return "never"
        return "reached" if above[0] <= self._last_in_time(updates) else "late"

    def medians(self, ratio: xr.DataArray, updates: xr.DataArray) -> np.ndarray:
        """Median ratio of each run (run,) over the measurements it is judged on; NaN where there are none."""
        late = ratio.measured_step.values[None, :] > self._last_in_time(updates.values)[:, None]
        judged = np.ma.masked_invalid(np.where(late, ratio.values, np.nan))
        return np.asarray(np.ma.median(judged, axis=1).filled(np.nan), dtype=float)

    def _last_in_time(self, updates: Any) -> Any:
        return np.floor(self.judged_from * updates + 1e-9)  # 0.7 x 90 is 63, though not in floating point
