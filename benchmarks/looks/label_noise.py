"""The numbers of config/studies/label_noise.md: slopes at equal tr H, and how strongly R prefers large eigenvalues.

Run from the repository's root as `python -m benchmarks.looks.label_noise`; it reads spectra from run files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import stepscape
from benchmarks.looks import look, opened, span, with_interval
from stepscape.analysis.bootstrap import Interval
from stepscape.analysis.estimates import mean_over_seeds
from stepscape.analysis.label_noise import NoisePath, late_mean, noise_paths
from stepscape.study.paths import Paths

STUDIES = ("label_noise",)
BANDS = ((0.5, 0.7), (0.3, 0.5))
"""Of tr H as a share of its start, in which learning rates are compared."""

NEIGHBOURS = 4


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds = opened(paths, STUDIES[0])
    noisy = ds.stepscape.runs(optimizer_name="label_noise_sgd")
    full = noisy.stepscape.runs(optimizer_law="rademacher", full_batch=True)
    found = noise_paths(full)
    single = noise_paths(noisy.stepscape.runs(batch_size=1))
    yield "Where it ends: batches of one"
    lr = noisy.stepscape.runs(batch_size=1).lr.values[0]
    yield f"  lr tr H at the start: {lr * mean(path.trace[0] for path in single):.2g}"
    yield "Not found: the share of the largest eigenvalue; means over seeds"
    yield f"  lambda_1 over the threshold at the start: {by_rate(full, found, lambda path: load(full, path)[0])}"
    yield "At equal tr H"
    for band in BANDS:
        slope, range_of_lr = slope_in(full, found, band), full.lr.values.max() / full.lr.values.min()
        words = f"slope where tr H is {band[0]:g} to {band[1]:g} of its start: {with_interval(slope, 3)}"
        yield f"  {words}, over all lr {range_of_lr**slope.value - 1:+.1%}"
    shares = [path.top / path.trace for path in found]
    yield f"  lambda_1 / tr H at the start: {mean(share[0] for share in shares):.2f}"
    late = [late_mean(path, share) for path, share in zip(found, shares, strict=True)]
    yield f"  lambda_1 / tr H in the second half: {mean(late):.2f}"
    yield f"  tr H at the first measurement over its start: {by_rate(full, found, lambda p: p.trace[1] / p.trace[0])}"
    yield "How strong R's preference is"
    late_loads = by_rate(full, found, lambda path: late_mean(path, load(full, path)))
    yield f"  lambda_1 / c in the second half: {late_loads}"
    weights = by_rate(full, found, lambda path: late_mean(path, 1 / (1 - load(full, path))))
    yield f"  weight 1 / (1 - h / c) of lambda_1 in the second half: {weights}"
    yield f"  the same at the start: {by_rate(full, found, lambda path: 1 / (1 - load(full, path)[0]))}"
    yield f"  steps until tr H is half of its start: {by_rate(full, found, halved, 3)}"
    yield from neighbours(full, paths)
    yield "Test loss, means over runs"
    yield from test_losses(noisy)


def mean(values: Iterable[float]) -> float:
    """The mean of some numbers."""
    return float(np.mean(list(values)))


def load(ds: xr.Dataset, path: NoisePath) -> NDArray[np.float64]:
    """lambda_1 / c along a path, with c the threshold."""
    thresholds = ds.spectrum_threshold.values[path.run]
    return path.top / thresholds[np.isfinite(thresholds)][0]


def by_rate(ds: xr.Dataset, paths: Sequence[NoisePath], measure: Callable[[NoisePath], float], digits: int = 2) -> str:
    """The mean over seeds of what is measured of a path, a number a learning rate."""
    rates = sorted({float(ds.lr.values[path.run]) for path in paths})
    held = {lr: [measure(path) for path in paths if ds.lr.values[path.run] == lr] for lr in rates}
    return ", ".join(f"{np.mean(values):.{digits}g} at lr {lr:g}" for lr, values in held.items())


def halved(path: NoisePath) -> float:
    """The step at which tr H is first half of its start, on the line between two measurements; NaN if never."""
    left = path.trace / path.trace[0]
    after = int(np.argmax(left <= 0.5))
    if not after:
        return float("nan")
    return float(np.interp(-0.5, -left[after - 1 : after + 1], path.steps[after - 1 : after + 1]))


def slope_in(ds: xr.Dataset, paths: Sequence[NoisePath], band: tuple[float, float]) -> Interval:
    """The slope of log(lambda_1 / tr H) on log lr at equal tr H, a slope a seed, then the mean over seeds.

    Args:
        ds: the dataset of the paths.
        paths: of runs that differ in learning rate and seed.
        band: measurements count whose tr H, as a share of its start, lies in it.

    Returns:
        The coefficient of log lr in a least-squares fit that has log tr H beside it, and its interval over seeds; NaN
        where fewer than two seeds have measurements enough.
    """
    slopes = []
    for seed in sorted({path.seed for path in paths}):
        rows = [row for path in paths if path.seed == seed for row in _measured(path, ds.lr.values[path.run], band)]
        if len({lr for lr, _, _ in rows}) > 1 and len(rows) > _UNKNOWNS:
            log_lr, log_trace, log_share = np.log(rows).T
            fitted = np.linalg.lstsq(np.stack([log_lr, log_trace, np.ones(len(rows))], axis=1), log_share)
            slopes.append(float(fitted[0][0]))
    return mean_over_seeds(slopes).interval() if len(slopes) > 1 else Interval(*[float("nan")] * 3)


_UNKNOWNS = 3  # of that fit


def _measured(path: NoisePath, lr: float, band: tuple[float, float]) -> list[tuple[float, float, float]]:
    """Learning rate, tr H over its start, lambda_1 / tr H: of each measurement in the band."""
    left = path.trace / path.trace[0]
    inside = np.flatnonzero((left >= band[0]) & (left <= band[1]))
    return [(lr, left[index], path.top[index] / path.trace[index]) for index in inside]


def neighbours(ds: xr.Dataset, paths: Paths) -> Iterator[str]:
    """The largest eigenvalues at the start, over the first, of the runs at the largest learning rate."""
    runs = ds.stepscape.runs(lr=float(ds.lr.values.max())).run.values
    spectra = [stepscape.open_run(paths.run(str(run))).spectrum_eigenvalue.values[0] for run in runs]
    for place in range(1, NEIGHBOURS):
        yield f"  eigenvalue {place + 1} over the first at the start: {span(each[place] / each[0] for each in spectra)}"


def test_losses(ds: xr.Dataset) -> Iterator[str]:
    """At the start and at the end, a line an optimizer."""
    for label in dict.fromkeys(ds.optimizer.values):
        runs = ds.stepscape.runs(optimizer=label)
        for lr in sorted(set(runs.lr.values)):
            own = runs.stepscape.runs(lr=lr)
            losses = f"{np.nanmean(own.test_loss.values[:, 0]):.3f} to {own.final_test_loss.values.mean():.3f}"
            yield f"  {label}, lr {lr:g}: {losses}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
