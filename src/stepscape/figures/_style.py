"""One look for all figures."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_SETTINGS: dict[Any, Any] = {
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "legend.frameon": False,
    "legend.fontsize": "small",
    "legend.title_fontsize": "small",
    "savefig.dpi": 160,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "stepscape",  # the same figure, the same bytes
}


@contextmanager
def style() -> Iterator[None]:
    """The settings under which a figure is drawn; what was set before comes back behind it."""
    import matplotlib as mpl
    import seaborn as sns

    with mpl.rc_context({**sns.axes_style("ticks"), **sns.plotting_context("notebook", font_scale=0.9), **_SETTINGS}):
        yield


def ordered_colors(values: Sequence[float]) -> dict[float, tuple[float, float, float]]:
    """A colour for each of some ordered values: dark for the large, none so light that it is lost on white."""
    import seaborn as sns

    shades = sns.color_palette("viridis_r", as_cmap=True)
    step = 0.7 / max(len(values) - 1, 1)
    return {value: tuple(shades(0.25 + step * i)[:3]) for i, value in enumerate(sorted(values))}


def head(figure: Drawing, title: str, explanation: str) -> None:
    """A title over all panels, and below it how to read them, broken into lines that fit the figure."""
    letters = int(12.5 * figure.get_figwidth())
    lines = [line for text in (title, explanation) for line in textwrap.wrap(text, letters)]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize="medium")


def legend_below(ax: Axes, title: str, columns: int = 5) -> None:
    """A legend under an axes, where it covers no data.

    Args:
        ax: the axes.
        title: stands over the entries.
        columns: entries side by side, at most.
    """
    _, entries = ax.get_legend_handles_labels()
    ax.legend(
        title=title,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=min(len(entries), columns),
        columnspacing=1.0,
        handlelength=1.0,
    )


def finish(axes: Sequence[Axes], xlabel: str, ylabel: str) -> None:
    """Labels the outer axes and takes away the spines that carry nothing."""
    import seaborn as sns

    for ax in axes:
        ax.set_xlabel(xlabel)
        ax.tick_params(labelbottom=True)  # panels that share an axis would have none above the last row
        ax.set_ylabel(ylabel)
        if not ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            ax.set_ylabel("")
        sns.despine(ax=ax)


def blank(ds: xr.Dataset, reason: str, xlabel: str, ylabel: str) -> Drawing:
    """An empty figure that says why it is empty: a study whose runs all diverge still gets all its figures."""
    import matplotlib.pyplot as plt

    with style():
        figure, ax = plt.subplots(figsize=(6, 4))
        ax.text(0.5, 0.5, reason, ha="center", va="center", transform=ax.transAxes)
        ax.set(xticks=[], yticks=[])
        finish([ax], xlabel, ylabel)
        head(figure, ds.attrs.get("title", ""), "nothing to draw")
    return figure
