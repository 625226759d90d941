"""Curvature along runs with noise on their labels, in the time in which the noise regularises."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.bootstrap import Interval, resampled
from stepscape.analysis.clocks import clock_of
from stepscape.analysis.grouping import configurations

FEWEST_MEASUREMENTS = 4
"""Of a run, the start included, or there is no curve."""


@dataclass(frozen=True)
class NoisePath:
    """The measurements of one run, (n,) each.

    Attributes:
        run: its index in the dataset.
        seed: of the run.
        group: its configuration, that is all but the seed.
        weight: lambda, of R in the loss that it follows on average.
        steps: updates done.
        time: lambda times the time of gradient flow: in which R alone is descended.
        trace: of the Hessian.
        top: largest eigenvalue of the Hessian.
        regulariser: R; NaN where the largest eigenvalue is at the threshold or above.
        predicted_loss: mean loss that the noise keeps up; NaN likewise.
    """

    run: int
    seed: int
    group: Hashable
    weight: float
    steps: np.ndarray
    time: np.ndarray
    trace: np.ndarray
    top: np.ndarray
    regulariser: np.ndarray
    predicted_loss: np.ndarray


def noise_paths(ds: xr.Dataset) -> list[NoisePath]:
    """The runs that measured `hessian_spectrum`, were not diverged, and whose weight of R is known.

    Args:
        ds: a study's dataset.

    Returns:
        One path a run.
    """
    if "spectrum_trace" not in ds:
        return []
    steps = clock_of(ds, "spectrum_trace")
    groups = configurations(ds, but=("start_run",))
    found = []
    for run, group in enumerate(groups):
        held = {field: ds[name].values[run].astype(float) for field, name in _NAMES.items()}
        kept = np.isfinite(held["trace"]) & np.isfinite(held["weight"])
        if ds.status.values[run] == "diverged" or kept.sum() < FEWEST_MEASUREMENTS:
            continue
        held = {field: values[kept] for field, values in held.items()}
        weight, rate = held.pop("weight"), held.pop("rate")
        gained = np.diff(steps[kept]) * (weight * rate)[:-1]
        time = np.concatenate(([0.0], np.cumsum(gained)))
        found.append(NoisePath(run, int(ds.seed.values[run]), group, float(weight[0]), steps[kept], time, **held))
    return found


_NAMES = {
    "weight": "implicit_weight",
    "rate": "implicit_rate",
    "trace": "spectrum_trace",
    "top": "spectrum_top",
    "regulariser": "label_noise_regulariser",
    "predicted_loss": "label_noise_loss",
}


def collapse(paths: Sequence[NoisePath], clock: str, confidence: float) -> Interval:
    """How far the curves of tr H(t) / tr H(0) of different configurations are apart, as a share of their mean.

    Curves are means over seeds, on the measurements of the configuration that was measured most seldom within the time
    that all have. At each: the largest minus the smallest over their mean; then the mean over measurements. The
    interval resamples seeds, the same ones for all configurations. Noise makes curves differ, so the number is too
    large rather than too small.

    Args:
        paths: of two configurations or more, all with the same seeds.
        clock: `time` or `steps`.
        confidence: level of the interval.

    Returns:
        The spread and its interval.

    Raises:
        ValueError: there is a single configuration, or their seeds differ, or there are fewer than two.
    """
    groups: dict[Hashable, dict[int, NoisePath]] = {}
    for path in paths:
        groups.setdefault(path.group, {})[path.seed] = path
    seeds = sorted({path.seed for path in paths})
    if len(groups) < 2 or len(seeds) < 2 or any(sorted(held) != seeds for held in groups.values()):
        raise ValueError(f"{len(groups)} configurations, seeds {seeds}; at least two of both, every seed in each")
    end = min(getattr(path, clock)[-1] for path in paths)
    clocks = (getattr(path, clock) for path in paths)
    at = min((ticks[(ticks > 0) & (ticks <= end * (1 + 1e-9))] for ticks in clocks), key=len)
    curves = np.array(
        [
            [np.interp(at, getattr(held[seed], clock), held[seed].trace / held[seed].trace[0]) for seed in seeds]
            for held in groups.values()
        ]
    )

    def spread(chosen: np.ndarray) -> float:
        means = curves[:, chosen].mean(axis=1)
        return float(np.mean((means.max(axis=0) - means.min(axis=0)) / means.mean(axis=0)))

    return resampled(spread, len(seeds), confidence=confidence)


def late_mean(path: NoisePath, values: np.ndarray) -> float:
    """The mean of what was measured (n,) in the second half of the steps of a path; NaN where it never was finite."""
    late = values[(path.steps >= path.steps[-1] / 2) & np.isfinite(values)]
    return float(late.mean()) if len(late) else float("nan")


def late_loss(ds: xr.Dataset, path: NoisePath) -> float:
    """The mean training loss of a run over the second half of its steps."""
    steps = clock_of(ds, "train_loss")
    losses = ds.train_loss.values[path.run].astype(float)
    late = losses[(steps >= path.steps[-1] / 2) & (steps <= path.steps[-1]) & np.isfinite(losses)]
    return float(late.mean()) if len(late) else float("nan")
