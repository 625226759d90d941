"""Panels: one for each combination of what varies besides learning rate and seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_COLUMNS = 3
_LABELS = ("optimizer", "model", "dataset", "loss", "schedule")
_WITHIN = {"run", "lr", "seed", "full_batch", "platform", "budget_steps", "budget_epochs", "budget_samples"}


@dataclass(frozen=True)
class Panel:
    """The runs of one panel.

    Attributes:
        title: what its runs have in common and others do not.
        ds: its runs.
        ax: where they are drawn.
    """

    title: str
    ds: xr.Dataset
    ax: Axes

    def by_lr(self) -> Iterator[tuple[float, xr.Dataset]]:
        """Its runs at each learning rate, the smallest first; NaN, last, for optimizers without one."""
        import numpy as np

        for lr in np.unique(self.ds.lr.values):
            same = np.isnan(self.ds.lr.values) if np.isnan(lr) else self.ds.lr.values == lr
            yield float(lr), self.ds.isel(run=np.flatnonzero(same))


def panels(
    ds: xr.Dataset, height: float, width: float, *, sharey: bool = True, within: tuple[str, ...] = ()
) -> tuple[Drawing, list[Panel]]:
    """Splits a dataset into panels of a new figure.

    Args:
        ds: the runs to draw.
        height: of one panel, in inches.
        width: of one panel, in inches.
        sharey: whether all panels have one vertical axis.
        within: what else, besides learning rate and seed, varies inside a panel; each panel then has axes of its own.

    Returns:
        The figure and its panels, in the order of the dataset.
    """
    from stepscape.analysis.grouping import column

    varying = [key for key in _keys(ds) if key not in within and len(set(column(ds, key))) > 1]
    keys = varying or ["optimizer"]
    rows = list(zip(*(column(ds, key) for key in keys), strict=True))
    groups = list(dict.fromkeys(rows))
    sharex = not within and "budget" not in keys  # else the shortest panel would cut the others off
    figure, axes = panel_grid(len(groups), width=width, height=height, sharex=sharex, sharey=sharey)
    made = [
        Panel(_title(keys, group), ds.isel(run=[i for i, row in enumerate(rows) if row == group]), ax)
        for group, ax in zip(groups, axes, strict=True)
    ]
    return figure, made


def panel_grid(
    count: int, *, width: float, height: float, margin: float = 0, sharex: bool = False, sharey: bool = False
) -> tuple[Drawing, list[Axes]]:
    """So many panels in lines of at most three, four of them in two lines.

    Args:
        count: how many.
        width: of one, in inches.
        height: of one, in inches.
        margin: of the figure, below its lines, in inches.
        sharex: whether all have one horizontal axis.
        sharey: whether all have one vertical axis.

    Returns:
        The figure and its panels.
    """
    import matplotlib.pyplot as plt

    columns = 2 if count == 4 else min(count, _COLUMNS)
    lines = -(-count // columns)
    size = (columns * width, lines * height + margin)
    figure, axes = plt.subplots(lines, columns, figsize=size, sharex=sharex, sharey=sharey, squeeze=False)
    for unused in axes.flat[count:]:
        unused.remove()
    return figure, list(axes.flat[:count])


def _keys(ds: xr.Dataset) -> list[str]:
    """What may tell panels apart: labels of members, and what no label says."""
    on_run = (str(name) for name, value in ds.coords.items() if value.dims == ("run",))
    said = tuple(f"{label}_" for label in _LABELS)
    return [*_LABELS, *(name for name in on_run if not name.startswith(said) and name not in (*_WITHIN, *_LABELS))]


def _title(keys: list[str], values: tuple[object, ...]) -> str:
    words = {"batch_size": "batch"}
    texts = (
        str(value) if key in _LABELS else f"{words.get(key, key.replace('_', ' '))} {value}"
        for key, value in zip(keys, values, strict=True)
    )
    return ", ".join(texts)
