"""The numbers of config/studies/momentum.md: gains at all batch sizes, and twins at smaller rates than the best.

Run from the repository's root as `python -m benchmarks.looks.momentum`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from benchmarks.looks import listed, look, opened
from stepscape.analysis.momentum import Twins, sharpness_at_start, stability_gains, tuned, twins
from stepscape.study.paths import Paths

STUDIES = ("momentum",)
SIZES = (8, 32)
"""Batch sizes at which losses are compared."""

LONG = 0.99
"""The memory that is a control, which page and look leave out."""


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds = opened(paths, STUDIES[0])
    yield "Largest stable effective rate over that without momentum, geometric means over seeds"
    for (size, beta), gains in stability_gains(ds).items():
        told = "beyond the grid" if gains is None else f"{np.exp(np.mean(gains)):.2g}"
        yield f"  beta {beta:g}, B = {size}: {told}"
    found = [pair for pair in twins(ds) if pair.beta < LONG and pair.batch_size in SIZES]
    best, curvature = tuned(found), list(sharpness_at_start(ds).values())
    yield "The best rates of plain SGD"
    for size, lr in sorted(best.items()):
        yield f"  B = {size}: {lr:g}, over the first 2 / S, mean over seeds: {lr * np.mean(curvature) / 2:.2g}"
    yield "The same loss? Standard deviations at each step, and the last loss over the plain one"
    for pair in sorted(found, key=lambda pair: (pair.batch_size, pair.beta, -pair.lr)):
        if pair.lr <= best[pair.batch_size]:
            yield f"  {compared(pair, best[pair.batch_size])}"
    yield f"Runs that diverged: {np.mean(ds.status.values == 'diverged'):.0%}"


def compared(pair: Twins, best: float) -> str:
    """The differences of twins along training."""
    ends = pair.heavy[:, -1].mean() / pair.plain[:, -1].mean()
    gaps = listed(gap.value for gap in pair.differences())
    return f"B = {pair.batch_size}, beta {pair.beta:g}, {pair.lr / best:.3g} of the best rate: {gaps}; {ends:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
