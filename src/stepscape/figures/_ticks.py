"""Ticks at the values of a grid, and cells around them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import frexp, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axis import Axis


def grid_ticks(axis: Axis, values: Sequence[float], most: int = 8) -> None:
    """Puts a tick at every value of a logarithmic grid, and labels those that are far enough apart.

    Args:
        axis: a logarithmic axis.
        values: the grid, positive and ascending.
        most: how many labels fit beside each other.
    """
    labelled = _spread(values, most)
    axis.set_ticks(labelled, _written(labelled))
    axis.set_ticks([value for value in values if value not in labelled], minor=True)
    axis.set_ticklabels([""] * (len(values) - len(labelled)), minor=True)


def plain_ticks(axis: Axis) -> None:
    """Labels a logarithmic axis with plain numbers, at 1, 2 and 5 in each decade where there are few decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def cell_borders(centres: np.ndarray) -> np.ndarray:
    """Borders of cells around values on a logarithmic axis, (n + 1,)."""
    import numpy as np

    logs = np.log2(centres.astype(float))
    halves = np.diff(logs) / 2 if len(logs) > 1 else np.array([0.5])
    return np.asarray(
        2 ** np.concatenate(([logs[0] - halves[0]], logs[:-1] + halves[: len(logs) - 1], [logs[-1] + halves[-1]]))
    )


def _spread(values: Sequence[float], most: int) -> list[float]:
    """The smallest, and each that is a 1 / `most` of the whole range above the one before."""
    apart = log(values[-1] / values[0]) / most
    kept = list(values[:1])
    for value in values[1:]:
        if log(value / kept[-1]) > apart * (1 - 1e-9):
            kept.append(value)
    return kept


def _written(values: Sequence[float]) -> list[str]:
    """Powers of two as 1/16 rather than 0.0625, if all are."""
    if all(frexp(value)[0] == 0.5 for value in values):
        return [str(Fraction(value)) for value in values]
    return [f"{value:.3g}" for value in values]
