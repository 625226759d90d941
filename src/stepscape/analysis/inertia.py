"""How far top Hessian subspaces turn: in equal steps or equal time, with or without a crowd at the threshold."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr

from stepscape.analysis.clocks import clock_of
from stepscape.analysis.edge import eigenvalue_ratios
from stepscape.analysis.grouping import configurations
from stepscape.analysis.pairs import Gaps
from stepscape.analysis.subspaces import overlap_map


@dataclass(frozen=True)
class Turn:
    """Two measurements of a run and the overlap of its top subspaces then.

    Attributes:
        first: step of the earlier one.
        second: step of the later one.
        overlap: |U_first U_second^T|_F^2 / k.
    """

    first: int
    second: int
    overlap: float

    @property
    def lag(self) -> int:
        """Steps between them."""
        return self.second - self.first


@dataclass(frozen=True)
class Lag:
    """How far apart two measurements are: in steps, or in time, lr times steps.

    Attributes:
        length: steps, or time.
        in_time: which of the two.
    """

    length: float
    in_time: bool = False

    def fits(self, turn: Turn, lr: float) -> bool:
        """Whether two measurements of a run at learning rate `lr` are that far apart."""
        return abs(turn.lag * (lr if self.in_time else 1.0) - self.length) <= 1e-6 * self.length


def turns(ds: xr.Dataset, run: int, since: int) -> list[Turn]:
    """All pairs of measurements of a run.

    Args:
        ds: a dataset with `subspace_sketch`.
        run: its index.
        since: the first step of a pair.

    Returns:
        One entry a pair, the earlier first.
    """
    steps, overlaps = clock_of(ds, "subspace_sketch"), overlap_map(_sketches(ds, run))
    measured = [i for i in range(len(steps)) if np.isfinite(overlaps[i, i]) and steps[i] >= since]
    return [Turn(int(steps[i]), int(steps[j]), float(overlaps[i, j])) for i, j in combinations(measured, 2)]


def modes_at_edge(ds: xr.Dataset, near: float) -> list[dict[int, int]]:
    """For each run, step to the number of its eigenvalues at `near` thresholds or more."""
    ratios = eigenvalue_ratios(ds)
    steps = ratios.measured_step.values.tolist()
    counts = (ratios.values >= near).sum(axis=-1)
    measured = np.isfinite(ratios.values).any(axis=-1)
    return [
        {int(step): int(count) for step, count, there in zip(steps, row, known, strict=True) if there}
        for row, known in zip(counts, measured, strict=True)
    ]


def crowd_gaps(ds: xr.Dataset, lag: Lag, since: int, near: float, several: int) -> Gaps:
    """Overlap where several eigenvalues are at the edge, minus overlap where none is.

    Runs that differ in their learning rate alone are taken together, since those with small ones are seldom at the
    edge: for each network and seed, the mean over all pairs of measurements with `several` eigenvalues or more at both
    ends, minus the mean over all with none at both ends.

    Args:
        ds: a dataset with `subspace_sketch` and eigenvalues at the same steps.
        lag: between the two measurements.
        since: the first step of a pair.
        near: from here on an eigenvalue is at the edge, in thresholds.
        several: how many make a crowd.

    Returns:
        One gap for each network and seed that has pairs of both kinds.
    """
    alike, modes = configurations(ds, but=("lr",)), modes_at_edge(ds, near)
    found: dict[tuple[Hashable, int], tuple[list[float], list[float]]] = {}
    for run in range(ds.sizes["run"]):
        crowd, free = found.setdefault((alike[run], int(ds.seed.values[run])), ([], []))
        for turn in turns(ds, run, since):
            ends = [modes[run].get(step) for step in (turn.first, turn.second)]
            if not lag.fits(turn, float(ds.lr.values[run])) or None in ends:
                continue
            if all(count is not None and count >= several for count in ends):
                crowd.append(turn.overlap)
            elif not any(ends):
                free.append(turn.overlap)
    both = {key: means for key, means in found.items() if all(means)}
    return Gaps([float(np.mean(a) - np.mean(b)) for a, b in both.values()], [group for group, _ in both])


def overlap_by_lag(ds: xr.Dataset, since: int) -> dict[int, float]:
    """Lag in steps to the mean overlap of all pairs of all runs, each run with equal weight."""
    each = [_by_lag(turns(ds, run, since)) for run in range(ds.sizes["run"])]
    lags = sorted({lag for means in each for lag in means})
    return {lag: float(np.mean([means[lag] for means in each if lag in means])) for lag in lags}


def _by_lag(pairs: list[Turn]) -> dict[int, float]:
    held: dict[int, list[float]] = {}
    for turn in pairs:
        held.setdefault(turn.lag, []).append(turn.overlap)
    return {lag: float(np.mean(values)) for lag, values in held.items()}


def overlaps_of_seeds(ds: xr.Dataset, since: int) -> list[float]:
    """Overlaps of runs that differ in their seed alone, at equal steps: what unrelated runs of a network share."""
    return [value for pair in _seed_pairs(ds) for value in _between(ds, *pair, since)]


def _seed_pairs(ds: xr.Dataset) -> Iterator[tuple[int, int]]:
    groups = configurations(ds)
    return ((i, j) for i, j in combinations(range(ds.sizes["run"]), 2) if groups[i] == groups[j])


def _between(ds: xr.Dataset, one: int, other: int, since: int) -> list[float]:
    here, there = _sketches(ds, one), _sketches(ds, other)
    if here.shape != there.shape:
        return []
    squares = np.square(np.einsum("mae,mbe->mab", here, there)).sum(axis=(1, 2)) / here.shape[1]
    rows = zip(squares, clock_of(ds, "subspace_sketch"), strict=True)
    return [float(value) for value, step in rows if step >= since and np.isfinite(value)]


def _sketches(ds: xr.Dataset, run: int) -> np.ndarray:
    """A run's sketches (measurement, vector, entry), without the NaN that datasets pad smaller ones with."""
    held = ds.subspace_sketch.isel(run=run).values.astype(np.float64)
    there = np.isfinite(held)
    kept: np.ndarray = held[:, there.any(axis=(0, 2))][..., there.any(axis=(0, 1))]
    return kept
