"""How soon label noise settles at a flat minimum, and which momentum is the fastest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Literal

import numpy as np
import xarray as xr

from stepscape.analysis.clocks import clock_of
from stepscape.analysis.estimates import Estimate, fit_slope
from stepscape.analysis.learning_rates import Located, basin_centre

Momentum = Literal["fastest", "none"]

FEWEST_LEARNING_RATES = 4
"""That a line needs: with three, its interval is wider than the exponents that it should tell apart."""


@dataclass(frozen=True)
class Settled:
    """When one run settled.

    Attributes:
        run: its index in the dataset.
        lr: learning rate.
        damping: 1 - beta.
        seed: of the run.
        steps: updates until tr G was at the level for good; infinite if it was not at the end.
        test_loss: at the first measurement of tr G from there on; NaN where there is none.
    """

    run: int
    lr: float
    damping: float
    seed: int
    steps: float
    test_loss: float


def settling_step(steps: Sequence[float], values: Sequence[float], level: float) -> float:
    """The step from which on values stay at `level` or below, between two measurements by a straight line.

    Args:
        steps: of the measurements (n,), rising.
        values: at these steps (n,); NaN, as of a run that diverged, is above.
        level: that is reached.

    Returns:
        The step: the first where no value is above, infinite where the last is.
    """
    found = np.asarray(values, dtype=float)
    above = np.flatnonzero(~(found <= level))
    if not len(above):
        return float(steps[0])
    last = int(above[-1])
    if last == len(found) - 1 or not np.isfinite(found[last]):
        return inf
    share = (found[last] - level) / (found[last] - found[last + 1])
    return float(steps[last] + share * (steps[last + 1] - steps[last]))


def settled(ds: xr.Dataset, level: float) -> list[Settled]:
    """When each run settled at `level` times the tr G that it began with.

    Args:
        ds: runs of optimizers with a `beta`, with `gauss_newton_trace` recorded from step 0 on, and `test_loss`.
        level: as a share of the start.

    Returns:
        One entry a learning rate, momentum and seed: of runs alike but in their budgets that which settled first. Runs
        that diverged have not settled.
    """
    steps, losses = clock_of(ds, "gauss_newton_trace"), clock_of(ds, "test_loss")
    traces, tests = ds.gauss_newton_trace.values.astype(float), ds.test_loss.values
    found: dict[tuple[float, float, int], Settled] = {}
    for run, trace in enumerate(traces):
        held = np.isfinite(trace)
        ended = ds.status.values[run] == "diverged" or not held.any()
        at = inf if ended else settling_step(steps[held], trace[held], level * trace[0])
        tested = float("nan")
        if np.isfinite(at):
            first = steps[held][steps[held] >= at][0]
            tested = float(tests[run, np.searchsorted(losses, first)])
        where = float(ds.lr.values[run]), 1.0 - float(ds.optimizer_beta.values[run]), int(ds.seed.values[run])
        each = Settled(run, *where, at, tested)
        found[where] = min(each, found.get(where, each), key=_steps)
    return list(found.values())


@dataclass(frozen=True)
class Fastest:
    """Of one learning rate and seed, the momentum that settles first.

    Attributes:
        damping: where 1 - beta of the fastest lies: the centre of the basin of its settling steps.
        run: the fastest itself.
        plain: that without momentum; None where there is none.
    """

    damping: Located
    run: Settled
    plain: Settled | None


def fastest_momenta(runs: Iterable[Settled]) -> dict[float, list[Fastest]]:
    """The momentum that settles first, for each learning rate and seed.

    Args:
        runs: as of `settled`.

    Returns:
        Learning rate to one entry a seed, both in order. With a single momentum its damping is censored to the left.
    """
    grids: dict[float, dict[int, dict[float, Settled]]] = defaultdict(lambda: defaultdict(dict))
    for run in runs:
        grids[run.lr][run.seed][run.damping] = run
    return {lr: [_fastest(grid) for _, grid in sorted(grids[lr].items())] for lr in sorted(grids)}


def _fastest(grid: Mapping[float, Settled]) -> Fastest:
    place = basin_centre(list(grid), [run.steps for run in grid.values()])
    return Fastest(place, min(grid.values(), key=_steps), grid.get(1.0))


def _steps(run: Settled) -> float:
    return run.steps


def line(points: Mapping[float, Sequence[float]]) -> Estimate | None:
    """The exponent of a power law in the learning rate, of medians over seeds.

    The seeds' spread is in it through the scatter of the points about the line.

    Args:
        points: learning rate to logs, one a seed.

    Returns:
        The slope of the logs in log lr; None of fewer than `FEWEST_LEARNING_RATES`.
    """
    if len(points) < FEWEST_LEARNING_RATES:
        return None
    return fit_slope([log(lr) for lr in points], [float(np.median(logs)) for logs in points.values()])


def fastest_dampings(found: Mapping[float, Sequence[Fastest]]) -> dict[float, list[float]]:
    """Learning rate to log(1 - beta) of the fastest, one a seed, where for all seeds it lies inside the grid."""
    return {
        lr: [each.damping.log for each in seeds]
        for lr, seeds in found.items()
        if not any(each.damping.censored for each in seeds)
    }


def settling_times(found: Mapping[float, Sequence[Fastest]], momentum: Momentum) -> dict[float, list[float]]:
    """Learning rate to the log of settling steps, one a seed, where all seeds settled.

    Args:
        found: as of `fastest_momenta`.
        momentum: `fastest`, where that lies inside the grid, or `none`.

    Returns:
        The logs.
    """
    inside = fastest_dampings(found)
    runs = {
        lr: [each.run if momentum == "fastest" else each.plain for each in seeds]
        for lr, seeds in found.items()
        if momentum == "none" or lr in inside
    }
    times = {lr: [inf if run is None else run.steps for run in seeds] for lr, seeds in runs.items()}
    return {lr: [log(steps) for steps in held] for lr, held in times.items() if min(held) > 0 and max(held) < inf}
