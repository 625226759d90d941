"""The numbers of config/studies/hessian_inertia.md: what chance shares, and overlaps by network.

Run from the repository's root as `python -m benchmarks.looks.hessian_inertia`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import stepscape
from benchmarks.looks import listed, look, opened
from stepscape.analysis.edge import eigenvalues_near
from stepscape.analysis.inertia import overlap_by_lag
from stepscape.claims.overlap_falls_at_threshold import OverlapFallsAtThreshold
from stepscape.study.paths import Paths
from stepscape.study.restore import restore_run

STUDIES = ("hessian_inertia",)
LAGS = 6
"""How many lags are printed."""


def lines(paths: Paths) -> Iterator[str]:
    """What the page says, in its order."""
    ds = opened(paths, STUDIES[0])
    rule = OverlapFallsAtThreshold()
    middle = ds.stepscape.runs(model="32-32")
    yield "Which null: what a random subspace would share with another"
    spec = stepscape.open_run(paths.run(str(middle.run.values[0]))).attrs["spec"]
    k, dim = ds.sizes["eigenvalue"], restore_run(json.loads(spec)).parameter_count
    yield f"  k / P: {k} / {dim} = {k / dim:.3f}"
    descent = ds.stepscape.runs(optimizer="gd", full_batch=True)
    lrs = descent.lr.values.min(), descent.lr.values.max()
    yield "By network, gradient descent: mean overlaps by lag; eigenvalues at the edge in the end, a number a seed"
    for model in dict.fromkeys(descent.model.values):
        for lr in lrs:
            runs = descent.stepscape.runs(model=model, lr=float(lr))
            overlaps = dict(list(overlap_by_lag(runs, rule.since).items())[:LAGS])
            crowd = eigenvalues_near(runs, rule.near)[0]
            told = ", ".join(f"{value:.2f} over {lag}" for lag, value in overlaps.items())
            yield f"  {model}, lr {lr:g}: {told}; {listed(crowd)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
