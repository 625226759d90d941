"""The numbers of config/studies/spectral_evolution.md: why the tangent kernel moves, outliers run by run, tails.

Run from the repository's root as `python -m benchmarks.looks.spectral_evolution`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

import numpy as np
import xarray as xr

from benchmarks.looks import listed, look, opened, span
from stepscape.analysis.spectra import (
    Spectra,
    both_ends,
    kolmogorov_distance,
    outlier_path,
    start_law,
    tail_exponent,
)
from stepscape.claims.aligned_outlier import AlignedOutlier
from stepscape.study.paths import Paths

STUDIES = ("spectral_evolution", "spectral_evolution_looks")
BOTH, FIXED = "both layers", "second layer fixed"
SMALL, LARGE = [10, 50], [500, 550]
"""Learning rates of gradient descent."""

TAIL, SHORT_TAIL, LONG_TAIL = 0.1, 0.05, 0.2
"""Shares of the eigenvalues that make the tail: that of the claims, and two others."""

FIRST, LAST = attrgetter("first"), attrgetter("last")


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds, same_seeds = (opened(paths, study) for study in STUDIES)
    descent = ds.stepscape.runs(optimizer="gd", model=BOTH)
    small, large = descent.stepscape.runs(lr=SMALL), descent.stepscape.runs(lr=LARGE)
    yield "Small steps: the tangent kernel, means over seeds"
    yield from kernels(small)
    yield "The second layer fixed"
    yield f"  on seeds {listed(sorted(set(same_seeds.seed.values)))}: {stays(same_seeds)}"
    fixed = ds.stepscape.runs(model=FIXED)
    yield f"  on seeds {listed(sorted(set(fixed.seed.values)))}: {stays(fixed)}"
    yield "Large steps: largest eigenvalue over the edge, and |cos| of its eigenvector and X^T y"
    yield from outliers(large)
    cosines = [outlier_path(small, run)[2][-1] for run in range(small.sizes["run"])]
    yield f"  small steps, cosine at the end: {span(cosines)}"
    yield "Tails: the exponent at the end"
    adam = ds.stepscape.runs(optimizer="adam")
    for words, runs in (("Adam", adam), ("gradient descent", descent)):
        for lr in sorted(set(runs.lr.values)):
            yield f"  {words}, lr {lr:g}: {span(exponents(runs.stepscape.runs(lr=lr), TAIL), 3)}"
    yield f"  before training: {span(exponents(ds, TAIL, FIRST), 3)}"
    steepest = adam.stepscape.runs(lr=float(adam.lr.values.max()))
    yield f"  of the largest {SHORT_TAIL:.0%}, Adam's largest lr: {span(exponents(steepest, SHORT_TAIL))}"
    yield f"  of the largest {LONG_TAIL:.0%}, before training: {span(exponents(ds, LONG_TAIL, FIRST))}"
    yield "Test loss, means over seeds"
    yield from test_losses(ds.stepscape.runs(model=BOTH))


def kernels(ds: xr.Dataset) -> Iterator[str]:
    """How the trace grows, a line a configuration; then eigenvalues before and after, but for their scale."""
    ends = tangents(ds)
    for target in dict.fromkeys(ds.dataset.values):
        for lr in SMALL:
            own = tangents(ds.stepscape.runs(dataset=target, lr=lr))
            yield f"  {target}, lr {lr:g}: trace {np.mean([growth(each) for each in own]):.2f} times"
    correlations = [np.corrcoef(each.first, each.last)[0, 1] for each in ends]
    scaled = [kolmogorov_distance(each.first / each.first.mean(), each.last / each.last.mean()) for each in ends]
    yield f"  correlation of sorted eigenvalues: {np.mean(correlations):.4f}"
    yield f"  distance of spectra divided by their means: {np.mean(scaled):.3f}"


def tangents(ds: xr.Dataset) -> list[Spectra]:
    """Spectra of the tangent kernel, of all runs that did not diverge."""
    return [each for each in both_ends(ds, "tangent_kernel") if each is not None]


def growth(ends: Spectra) -> float:
    """Last over first trace of a kernel."""
    return float(ends.last.sum() / ends.first.sum())


def stays(ds: xr.Dataset) -> str:
    """How little a kernel moves."""
    ends = tangents(ds)
    change = max(abs(growth(each) - 1) for each in ends)
    return f"the trace changes by at most {change:.1%}, distances {span((each.moved for each in ends), 3)}"


def outliers(ds: xr.Dataset) -> Iterator[str]:
    """A line a run: how many eigenvalues end beyond the edge, where the largest ends, and how far it was at most."""
    beyond = AlignedOutlier().beyond
    for run, ends in enumerate(both_ends(ds, "first_layer")):
        if ends is None:
            continue
        _, edges, cosines = outlier_path(ds, run)
        count = int((ends.last > beyond * start_law(ds, run).edges[1]).sum())
        name = f"lr {ds.lr.values[run]:g}, {ds.dataset.values[run]}, seed {ds.seed.values[run]}"
        largest = f"the largest at {edges[-1]:.3f}, {edges.max():.2f} at most"
        yield f"  {name}: {count} beyond {beyond} of the edge, {largest}; cosine {cosines[-1]:.2f}"


def exponents(ds: xr.Dataset, share: float, end: Callable[[Spectra], np.ndarray] = LAST) -> list[float]:
    """The exponent of the tail of each run's first layer, by default at the end."""
    return [tail_exponent(end(ends), share) for ends in both_ends(ds, "first_layer") if ends is not None]


def test_losses(ds: xr.Dataset) -> Iterator[str]:
    """A line an optimizer, learning rate and batch size."""
    for target in dict.fromkeys(ds.dataset.values):
        runs = ds.stepscape.runs(dataset=target)
        for key in sorted(set(zip(runs.optimizer.values, runs.lr.values, runs.batch_size.values, strict=True))):
            optimizer, lr, size = key
            losses = runs.stepscape.runs(optimizer=optimizer, lr=lr, batch_size=size).final_test_loss.values
            yield f"  {target}, {optimizer}, lr {lr:g}, B = {size}: {losses.mean():.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
