"""The numbers of config/studies/self_stabilisation.md: modes and cycles, distances run by run and with fewer seeds.

Run from the repository's root as `python -m benchmarks.looks.self_stabilisation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import xarray as xr

from benchmarks.looks import look, opened, with_interval
from stepscape.analysis.estimates import mean_over_seeds
from stepscape.analysis.flows import distance_ratio, trios
from stepscape.analysis.self_stabilisation import oscillation
from stepscape.claims.self_stabilises import SelfStabilises
from stepscape.claims.stays_closer import StaysCloser
from stepscape.study.paths import Paths

STUDIES = ("self_stabilisation",)
FIRST = 6
"""Seeds that are looked at by themselves: 0 to 5."""


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds = opened(paths, STUDIES[0])
    yield "Cycles, and the second eigenvalue over the threshold at most"
    yield from cycles(ds.stepscape.runs(optimizer="constrained_gd"))
    yield "Distance to the constrained path over that to gradient flow, at the end; gradient descent's last sharpness"
    ratios, last = closeness(ds), sharpness(ds)
    for seed, ratio in ratios.items():
        yield f"  seed {seed}: {ratio:.2g}; {last[seed]:.2f} of 2 / lr"
    few = [ratio for seed, ratio in ratios.items() if seed < FIRST]
    if len(few) > 1:
        yield f"  mean of seeds 0 to {FIRST - 1}: {with_interval(mean_over_seeds(few).interval(), 3)}"


def cycles(ds: xr.Dataset) -> Iterator[str]:
    """A line a seed; then how many have a second mode, or too few cycles to be judged."""
    rule = SelfStabilises()
    held = [oscillation(ds, run) for run in range(ds.sizes["run"])]
    found = {int(seed): each for seed, each in zip(ds.seed.values, held, strict=True) if each is not None}
    second = {seed: float(each.second.max()) * each.lr / 2 for seed, each in found.items()}
    for seed, each in found.items():
        yield f"  seed {seed}: {each.bursts} cycles, the second at {second[seed]:.3f}"
    single = [seed for seed in found if second[seed] < rule.second]
    few = [seed for seed in single if found[seed].bursts < rule.bursts]
    yield f"  a second eigenvalue at the threshold: {len(found) - len(single)} of {len(found)}"
    yield f"  of the others, fewer than {rule.bursts} cycles: {len(few)}"


def longest(ds: xr.Dataset) -> xr.Dataset:
    """The runs but those that the others start from."""
    return ds.isel(run=ds.n_steps.values == ds.n_steps.values.max())


def closeness(ds: xr.Dataset) -> Mapping[int, float]:
    """Seed to the ratio of distances that `stays_closer` judges."""
    runs = longest(ds)
    found = trios(runs, "constrained_gd", "stable_flow")
    return {int(runs.seed.values[each.followed]): distance_ratio(runs, each, StaysCloser().last) for each in found}


def sharpness(ds: xr.Dataset) -> Mapping[int, float]:
    """Seed to the last sharpness of gradient descent beside the path, over 2 / lr."""
    runs = longest(ds).stepscape.runs(optimizer="gd")
    ratios = runs.stepscape.last("hessian_eigenvalue").values * runs.lr.values / 2
    return dict(zip(runs.seed.values.tolist(), ratios.tolist(), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
