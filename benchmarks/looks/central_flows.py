"""The numbers of config/studies/central_flows.md: the squared gradient seed by seed, and what the window does.

Run from the repository's root as `python -m benchmarks.looks.central_flows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import xarray as xr

from benchmarks.looks import listed, look, opened
from stepscape.analysis.edge import sharpness_ratio
from stepscape.analysis.flows import edge_step, prediction_error, trios
from stepscape.study.paths import Paths

STUDIES = ("central_flows",)
WINDOWS = ((30, 100), (30, 200), (50, 100))
"""Standard deviation of the Gaussian and steps left out after the edge: those of the claim, then two attempts."""


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds = opened(paths, STUDIES[0])
    descent = ds.isel(run=np.isin(ds.lr.values, [0.4, 0.5]) & (ds.n_steps.values == ds.n_steps.values.max()))
    yield "Gradient descent: mean sharpness over 2 / lr from the flow's first oscillation on, a number a seed"
    for lr in (0.5, 0.4):
        yield from sharpness(descent.stepscape.runs(lr=lr), f"lr {lr:g}")
    yield "Gradient descent: error of the squared gradient, a number a seed"
    for smoothing, after in WINDOWS:
        for lr in (0.5, 0.4):
            runs = descent.stepscape.runs(lr=lr)
            error = partial(prediction_error, runs, quantity="squared_gradient", sigma=smoothing, after=after)
            words = f"lr {lr:g}, averaged over {smoothing} steps, {after} left out after the edge"
            yield f"  {words}: {listed(error(trio) for trio in trios(runs))}"


def sharpness(ds: xr.Dataset, words: str) -> Iterator[str]:
    """Of the optimizer and of its central flow, once the flow oscillates."""
    ratios = sharpness_ratio(ds)
    found = trios(ds)
    for name, runs in (("optimizer", [each.followed for each in found]), ("flow", [each.near for each in found])):
        starts = [edge_step(ds, trio) for trio in found]
        means = [
            np.nan if start is None else np.nanmean(ratios.values[run][ratios.measured_step.values >= start])
            for run, start in zip(runs, starts, strict=True)
        ]
        yield f"  {words}, {name}: {listed(means, 4)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
