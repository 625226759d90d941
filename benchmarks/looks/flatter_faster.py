"""The numbers of config/studies/flatter_faster.md: other levels, other definitions, learning rate by learning rate.

Run from the repository's root as `python -m benchmarks.looks.flatter_faster`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import log

import numpy as np
import torch
import xarray as xr

import stepscape
from benchmarks.looks import listed, look, opened, span, with_interval
from stepscape.analysis.clocks import clock_of
from stepscape.analysis.settling import (
    Fastest,
    fastest_dampings,
    fastest_momenta,
    line,
    settled,
    settling_step,
    settling_times,
)
from stepscape.curvature import dense_eigenvalues, regulariser
from stepscape.study.paths import Paths
from stepscape.study.restore import restore_run
from stepscape.training.problem import Problem
from stepscape.training.starts import start_parameters

STUDIES = ("flatter_faster",)
LEVEL = 0.3
LEVELS = (0.2, LEVEL, 0.5)


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds = opened(paths, STUDIES[0])
    fitted = ds.stepscape.runs(optimizer="gd").final_test_loss.values
    yield f"The start: tr G {span(first(ds), 3)}, test loss {span(fitted, 3)}"
    runs = ds.stepscape.runs(optimizer_name="label_noise_sgd")
    found = fastest_momenta(settled(runs, LEVEL))
    yield "The fastest momentum, medians over seeds, by learning rate"
    yield from by_rate(found)
    yield "Exponents: of 1 - beta, of the time, and of the time without momentum"
    for level in LEVELS:
        yield f"  settled at {level:g}: {exponents(fastest_momenta(settled(runs, level)))}"
    yield from without_ends(found)
    yield f"  settled at {LEVEL:g} without momentum, from one learning rate to the next: {between(found)}"
    yield from nonlinear(runs, paths)
    yield "Once at the level, instead of for good: 1 - beta of the fastest"
    yield from once(runs)
    yield "Test losses with the fastest momentum over those without, by seed"
    yield from test_losses(found)


def first(ds: xr.Dataset) -> np.ndarray:
    """The traces that runs start from."""
    traces = ds.gauss_newton_trace.values[:, 0]
    return np.asarray(traces[np.isfinite(traces)])


def by_rate(found: Mapping[float, Sequence[Fastest]]) -> Iterator[str]:
    """A line a learning rate: where the fastest lies, its time, and that without momentum."""
    dampings, fastest, plain = fastest_dampings(found), settling_times(found, "fastest"), settling_times(found, "none")
    for lr in found:
        told = []
        if lr in dampings:
            told.append(f"1 - beta {median(dampings[lr]):.2g}, {median(fastest[lr]):.3g} updates")
        if lr in plain:
            told.append(f"{median(plain[lr]):.3g} without momentum")
        if lr in plain and lr in fastest:
            told.append(f"{median(plain[lr]) / median(fastest[lr]):.3g} times as many")
        yield f"  lr {lr:g}: {', '.join(told) or 'at an end of the grid'}"


def median(logs: Sequence[float]) -> float:
    """Of numbers given as logs."""
    return float(np.exp(np.median(logs)))


def exponents(found: Mapping[float, Sequence[Fastest]]) -> str:
    """The three exponents; none where there are too few learning rates."""
    points = fastest_dampings(found), settling_times(found, "fastest"), settling_times(found, "none")
    estimates = [line(held) for held in points]
    return ", ".join("none" if each is None else with_interval(each.interval()) for each in estimates)


def without_ends(found: Mapping[float, Sequence[Fastest]]) -> Iterator[str]:
    """The exponent of 1 - beta without the smallest, and without the largest learning rate that has one."""
    points = fastest_dampings(found)
    ends = {"smallest": min(points), "largest": max(points)} if points else {}
    for word, left in ends.items():
        estimate = line({lr: logs for lr, logs in points.items() if lr != left})
        if estimate is not None:
            yield f"  settled at {LEVEL:g} without the {word}, {left:g}: 1 - beta {with_interval(estimate.interval())}"


def nonlinear(ds: xr.Dataset, paths: Paths) -> Iterator[str]:
    """The largest eigenvalue at the starts against the threshold, and R over tr H / 4, its limit at small steps."""
    plain = ds.isel(run=(ds.optimizer_beta == 0).values)
    _, starts = np.unique(plain.seed.values, return_index=True)
    spectra = [spectrum(str(plain.run.values[run]), paths) for run in starts]
    yield f"  the largest eigenvalue where runs start: {span([values[0] for values in spectra], 3)}"
    for lr in np.unique(plain.lr.values):
        over = [regulariser(values, 2 / lr) / (values.sum() / 4) for values in spectra]
        top = span([values[0] * lr / 2 for values in spectra])
        yield f"  lr {lr:g}: {top} of the threshold, R over tr H / 4 {span(over, 3)}"


def spectrum(run_id: str, paths: Paths) -> np.ndarray:
    """The eigenvalues of the Hessian where a run starts."""
    run = restore_run(json.loads(stepscape.open_run(paths.run(run_id)).attrs["spec"]))
    problem = Problem(run, torch.device("cpu"), start_parameters(run, paths))
    return dense_eigenvalues(problem.dense_hessian(problem.initial()))


def between(found: Mapping[float, Sequence[Fastest]]) -> str:
    """The power between neighbouring learning rates without momentum."""
    times = settling_times(found, "none")
    rates = list(times)
    pairs = pairwise(rates)
    return listed([log(median(times[b]) / median(times[a])) / log(b / a) for a, b in pairs], 3)


def once(ds: xr.Dataset) -> Iterator[str]:
    """A line a learning rate: the momentum that is at the level first, medians over seeds."""
    steps = clock_of(ds, "gauss_newton_trace")
    times: dict[tuple[float, float], list[float]] = {}
    for run in settled(ds, LEVEL):
        trace = ds.gauss_newton_trace.values[run.run]
        held = np.isfinite(trace)
        below = np.flatnonzero(trace[held] <= LEVEL * trace[0])
        end = int(below[0]) + 1 if len(below) else held.sum()
        step = settling_step(steps[held][:end], trace[held][:end], LEVEL * trace[0])
        times.setdefault((run.lr, run.damping), []).append(step)
    for lr in sorted({lr for lr, _ in times}):
        medians = {damping: float(np.median(held)) for (rate, damping), held in times.items() if rate == lr}
        best, least = min(medians, key=lambda damping: medians[damping]), min(medians)
        yield f"  lr {lr:g}: {best:.2g}, {medians[best]:.3g} updates; at {least:.2g}, {medians[least]:.3g}"


def test_losses(found: Mapping[float, Sequence[Fastest]]) -> Iterator[str]:
    """A line a learning rate at which both settled."""
    for lr, seeds in found.items():
        both = [(each.run, each.plain) for each in seeds if each.plain is not None and each.plain is not each.run]
        ratios = [run.test_loss / plain.test_loss for run, plain in both if np.isfinite(run.steps + plain.steps)]
        if ratios:
            tested = [run.test_loss for run, _ in both], [plain.test_loss for _, plain in both]
            yield f"  lr {lr:g}: {listed(ratios)}; {span(tested[0])} against {span(tested[1])}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
