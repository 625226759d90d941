"""The numbers of config/studies/edge_of_stability.md: larger steps under cross-entropy, and medians run by run.

Run from the repository's root as `python -m benchmarks.looks.edge_of_stability`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.looks import listed, look, opened
from stepscape.analysis.edge import EdgeRule, sharpness_ratio
from stepscape.study.paths import Paths

STUDIES = ("edge_of_stability", "edge_of_stability_looks")
AT_THE_EDGE: Mapping[str, Mapping[str, Any]] = {
    "relu, gradient descent": {"optimizer": "gd", "model": "relu", "loss": "mse"},
    "heavy ball": {"optimizer": "heavy_ball"},
    "EMA momentum": {"optimizer": "ema_momentum"},
    "RMSProp": {"optimizer": "rmsprop"},
    "CNN, gradient descent": {"optimizer": "gd", "model": "cnn", "loss": "mse"},
}
"""The runs of which the page says where they come to rest."""


def lines(paths: Paths) -> Iterator[str]:
    """What the page says: of cross-entropy, then of where runs come to rest."""
    ds, larger = (opened(paths, study) for study in STUDIES)
    yield "Larger steps under cross-entropy: sharpness over 2 / lr"
    ratios = sharpness_ratio(larger)
    for lr, row in zip(larger.lr.values, ratios.values, strict=True):
        yield f"  lr {lr:g}, every {int(ratios.measured_step.values[1])} steps: {listed(row[np.isfinite(row)])}"
    yield "At the edge: median of sharpness over threshold in the last third, a number a seed that reached it"
    for words, wanted in AT_THE_EDGE.items():
        yield from medians(ds.stepscape.runs(**wanted), words)


def medians(ds: xr.Dataset, words: str) -> Iterator[str]:
    """A line a learning rate."""
    reached = EdgeRule().reached(ds)
    for lr in sorted(set(ds.lr.values)):
        own = [median for run, median in zip(reached.runs, reached.medians, strict=True) if ds.lr.values[run] == lr]
        yield f"  {words}, lr {lr:g}: {listed(own, 3) or 'none reached it in time'}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the lines."""
    look(STUDIES[0], lines, arguments)


if __name__ == "__main__":
    main()
