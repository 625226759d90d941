"""The numbers of config/studies/adaptive_geometry.md: R_med by draw, by loss, by layer and by learning rate.

Run from the repository's root as `python -m benchmarks.looks.adaptive_geometry`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import xarray as xr

from benchmarks.looks import listed, look, opened, span
from stepscape.analysis.class_groups import best_runs
from stepscape.analysis.grouping import configurations
from stepscape.analysis.matched_loss import Matched, descent, matched, meet
from stepscape.study.paths import Paths

STUDIES = ("adaptive_geometry",)
THAN = "heavy_ball"
OTHERS = ("adam", "rmsprop")


def lines(paths: Paths) -> Iterator[str]:
    """What the page says: for each problem, each optimizer compared with momentum, and all pairs of learning rates."""
    ds = opened(paths, STUDIES[0])
    problems = list(dict.fromkeys(each.others for each in best_runs(ds)))
    for problem in problems:
        for name in OTHERS:
            pairs = [pair for pair in matched(ds, THAN, name) if pair.first.others == problem]
            if pairs:
                yield f"{title(ds, pairs[0].first.run)}: R_med of {THAN} over that of {name}"
                yield from (f"  {by_draw(ds, pair)}" for pair in pairs)
                yield f"  by loss, the largest first: {listed(over_seeds(pair.ratios.T for pair in pairs))}"
                yield f"  by layer, from the input on: {listed(over_seeds(pair.ratios for pair in pairs))}"
                yield f"  R_med by layer at the smallest of these losses, {THAN}: {at_end(ds, pairs, 0)}"
                yield f"  {name}: {at_end(ds, pairs, 1)}"
                yield from (f"  {line}" for line in peaks(ds, pairs, name))
                yield from (f"  {line}" for line in by_rates(ds, pairs, name))


def title(ds: xr.Dataset, run: int) -> str:
    """The problem of a run."""
    return ", ".join(str(ds[key].values[run]) for key in ("model", "dataset_name", "budget"))


def by_draw(ds: xr.Dataset, pair: Matched) -> str:
    """What is judged, for one seed."""
    rates = " and ".join(f"{ds.lr.values[each.run]:g}" for each in (pair.first, pair.second))
    return (
        f"seed {ds.seed.values[pair.first.run]}, learning rates {rates}, "
        f"losses {pair.levels[0]:.2g} to {pair.levels[-1]:.2g}: {pair.middle:.2f}"
    )


def over_seeds(ratios: Iterator[np.ndarray]) -> np.ndarray:
    """Medians over the first dimension of each, then the geometric mean over seeds; NaN where a seed has none."""
    return np.asarray(np.exp(np.mean([np.log(np.median(each, axis=0)) for each in ratios], axis=0)))


def at_end(ds: xr.Dataset, pairs: Sequence[Matched], which: int) -> str:
    """R_med of each layer at the smallest loss that both reach: the geometric mean over seeds."""
    runs = [((pair.first, pair.second)[which].run, pair.levels[-1:]) for pair in pairs]
    return listed(np.exp(np.mean([np.log(descent(ds, run).at(level)[0]) for run, level in runs], axis=0)))


def peaks(ds: xr.Dataset, pairs: Sequence[Matched], name: str) -> Iterator[str]:
    """Where on its way down the geometric mean of R_med over layers is largest, seed by seed."""
    for label, runs in ((THAN, [pair.first.run for pair in pairs]), (name, [pair.second.run for pair in pairs])):
        found = [descent(ds, run) for run in runs]
        places = [int(np.nanargmax(each.over_layers)) for each in found]
        values = listed(each.over_layers[place] for each, place in zip(found, places, strict=True))
        losses = listed(each.losses[place] for each, place in zip(found, places, strict=True))
        yield f"largest R_med on the way, mean over layers, {label}: {values}, at losses {losses}"


def by_rates(ds: xr.Dataset, pairs: Sequence[Matched], name: str) -> Iterator[str]:
    """What would be judged at each pair of learning rates: the geometric mean over seeds, and the range."""
    ours, theirs = (sweep(ds, pairs, which) for which in (0, 1))
    for lr in sorted({lr for lr, _ in ours}):
        for other in sorted({lr for lr, _ in theirs}):
            met = [
                meet(descent(ds, run), descent(ds, theirs[other, draw]))
                for (rate, draw), run in ours.items()
                if rate == lr and (other, draw) in theirs
            ]
            found = [np.nanmedian(ratios) for _, ratios in filter(None, met)]
            told = f"{np.exp(np.mean(np.log(found))):.2f}, {span(found)}" if found else "no equal losses"
            yield f"{THAN} {lr:g}, {name} {other:g}: {told}"


def sweep(ds: xr.Dataset, pairs: Sequence[Matched], which: int) -> dict[tuple[float, Hashable], int]:
    """Runs of one of the two optimizers on the problem of these pairs that ended, by learning rate and draw."""
    best = (pairs[0].first, pairs[0].second)[which]
    settings = configurations(ds, but=("lr", "dataset", "dataset_subset_seed"))
    same = [run for run, found in enumerate(settings) if found == best.settings and ds.status.values[run] != "diverged"]
    return {(float(ds.lr.values[run]), int(ds.seed.values[run])): run for run in same}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
