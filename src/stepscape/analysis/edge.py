"""The edge of stability: sharpness over its threshold, and which runs reached it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr

from stepscape.analysis.grouping import configurations

Outcome = Literal["reached", "late", "never", "diverged"]


def eigenvalue_ratios(ds: xr.Dataset) -> xr.DataArray:
    """Largest eigenvalues of P^-1 H over the optimizer's stability threshold.

    Taken from `preconditioned_top` where it was measured, else from `hessian_top` where P is the identity.

    Args:
        ds: the dataset of a study.

    Returns:
        (run, measured_step, eigenvalue), float64, largest first, with all coordinates of `run`; NaN where it was not
        measured, and at step 0 of runs that recorded `preconditioned_top`: there P comes from a single gradient and
        means nothing.

    Raises:
        ValueError: the dataset holds neither.
    """
    found: list[xr.DataArray] = []
    for prefix, observable in _measured(ds):
        ratio = ds[f"{prefix}_eigenvalue"] / ds[f"{prefix}_threshold"]
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
    return ratio.transpose("run", "measured_step", "eigenvalue").assign_coords(on_run).rename("eigenvalue_ratio")


def sharpness_ratio(ds: xr.Dataset) -> xr.DataArray:
    """The largest of `eigenvalue_ratios`, (run, measured_step): sharpness over its threshold."""
    return eigenvalue_ratios(ds).isel(eigenvalue=0).rename("sharpness_ratio")


def thresholds(ds: xr.Dataset) -> np.ndarray:
    """The last recorded stability threshold of each run, (run,), of the operator that `eigenvalue_ratios` takes."""
    found = np.full(ds.sizes["run"], np.nan)
    for prefix, _ in _measured(ds):
        recorded = ds[f"{prefix}_threshold"].values
        last = recorded.shape[1] - 1 - np.isfinite(recorded[:, ::-1]).argmax(axis=1)
        found = np.where(np.isfinite(found), found, recorded[np.arange(len(recorded)), last])
    return found


def _measured(ds: xr.Dataset) -> list[tuple[str, str]]:
    kinds = (("preconditioned", "preconditioned_top"), ("hessian", "hessian_top"))
    return [kind for kind in kinds if f"{kind[0]}_eigenvalue" in ds]


@dataclass(frozen=True)
class Reached:
    """The runs that reached the threshold in time and were measured after it.

    Attributes:
        runs: their indices.
        medians: of each of them, the median ratio over the judged part.
        counts: how many runs had which outcome, and how many are judged.
    """

    runs: list[int]
    medians: list[float]
    counts: dict[str, int]


@dataclass(frozen=True)
class EdgeRule:
    """When a run counts as at the edge, without using what it is judged on.

    Attributes:
        settled: crossings before this step do not count: the initial sharpness may lie above the threshold.
        judged_from: share of the updates done after which runs are judged; crossings after it are late.
    """

    settled: int = 20
    judged_from: float = 2 / 3

    def reached(self, ds: xr.Dataset) -> Reached:
        """The runs of a study's dataset that are judged."""
        ratio = sharpness_ratio(ds)
        outcomes = self.outcomes(ratio, ds.n_steps, ds.status)
        medians = self.medians(ratio, ds.n_steps)
        runs = [i for i, outcome in enumerate(outcomes) if outcome == "reached" and np.isfinite(medians[i])]
        counts = {**Counter(map(str, outcomes)), "judged": len(runs)}
        return Reached(runs, [float(medians[i]) for i in runs], counts)

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


def other_ratios(ds: xr.Dataset, reached: Reached) -> list[np.ndarray]:
    """For each run that reached its threshold, its sharpness over the thresholds of other learning rates.

    Args:
        ds: the dataset.
        reached: its runs that are judged.

    Returns:
        One array a run: a ratio for each learning rate but its own at which a run that is otherwise like it reached
        its threshold; empty where there is none.
    """
    own, alike = thresholds(ds), configurations(ds, but=("lr",))
    known: dict[object, dict[float, float]] = {}
    for run in reached.runs:
        known.setdefault(alike[run], {})[float(ds.lr.values[run])] = own[run]
    return [
        np.asarray([median * own[run] / other for lr, other in known[alike[run]].items() if lr != ds.lr.values[run]])
        for run, median in zip(reached.runs, reached.medians, strict=True)
    ]


def eigenvalues_near(ds: xr.Dataset, near: float) -> tuple[list[int], list[int]]:
    """How many eigenvalues of each run are at `near` thresholds or more in its last measurement, and how many it has.

    Args:
        ds: runs that measured eigenvalues.
        near: in thresholds.

    Returns:
        The two counts of each run.
    """
    ratios = eigenvalue_ratios(ds).values
    measured = np.isfinite(ratios[..., 0])
    last = ratios.shape[1] - 1 - measured[:, ::-1].argmax(axis=1)
    ends = ratios[np.arange(len(ratios)), last]
    return (ends >= near).sum(axis=1).tolist(), np.isfinite(ends).sum(axis=1).tolist()
