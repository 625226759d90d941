"""The map of step size against batch size."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.errors import StepscapeError
from stepscape.fields import Flag, PositiveReal, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.batch_scaling import BatchScaling
    from stepscape.figures._panels import Panel
    from stepscape.study.run import Run

_FITS = (("largest stable lr", "black", "o", 0.85), ("best lr", "#d9a400", "s", 1.18))
"""What is fitted, its colour, its marker, and where in a column its arrow stands, so that neither hides the other."""

_DIVERGED = 1e3
"""log(final / initial loss) that stands for a run that diverged: past the end of all colours."""

_LETTERS = 42
"""In a line of the legend: a legend wider than its panel would push the panels together."""


@member("step_size_batch_size", source="arXiv:2006.09092; arXiv:1811.03600")
class StepSizeBatchSize(Figure):
    """Final over initial training loss for every learning rate and batch size, median over seeds.

    White is the stability boundary: blue trained, red did not; a cross marks where a seed diverged, which counts as
    above all colours. Points are the largest stable and the best learning rate, median and range over seeds, as
    `stable_lr_exponent` finds them; lines are their fits, with exponent and 95 % interval. A batch size where one lies
    beyond the grid is left out of its fit, named, and has an arrow at that end. With `saturates` the lines may go flat
    at a knee that is fitted too; a dotted stroke marks it, with its interval, where a straight line is refuted.
    """

    least: Annotated[PositiveReal, describe("where the colours end below, under 1", "initial losses")] = 1 / 160
    most: Annotated[PositiveReal, describe("where the colours end above, over 1", "initial losses")] = 30.0
    saturates: Annotated[Flag, describe("whether the lines may go flat at a knee")] = False

    @model_validator(mode="after")
    def _is_around_one(self) -> Self:
        if not self.least < 1 < self.most:
            raise PydanticCustomError("limits", "`least` below 1 and `most` above it, where white is")
        return self

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import numpy as np

        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, style

        ds = ds.isel(run=np.flatnonzero(np.isfinite(ds.lr.values)))
        if not ds.sizes["run"]:
            raise StepscapeError("step_size_batch_size: no run has a learning rate; narrow `where`")
        with style():
            figure, parts = panels(ds, 4.8, 4.4, sharey=False, within=("batch_size",))
            colors = [self._draw_panel(panel) for panel in parts]
            finish([panel.ax for panel in parts], "batch size", "learning rate")
            bar = figure.colorbar(colors[0], ax=[panel.ax for panel in parts], extend="both", shrink=0.6)
            _label_colors(bar.ax, self.least, self.most)
            bar.set_label("final / initial training loss")
            explanation = "white: the stability boundary; points: median and range over seeds"
            if (ds.status == "diverged").any():
                explanation += "; crosses: a seed diverged"
            if any(np.ma.is_masked(mesh.get_array()) for mesh in colors):
                explanation += "; grey: not run"
            head(figure, ds.attrs.get("title", "Step size against batch size"), explanation)
        return figure

    def _draw_panel(self, panel: Panel) -> ScalarMappable:
        import numpy as np
        import seaborn as sns
        from matplotlib.colors import TwoSlopeNorm

        from stepscape.analysis.batch_scaling import best_scaling, stable_scaling
        from stepscape.figures._style import legend_below
        from stepscape.figures._ticks import cell_borders, grid_ticks

        ax, ds = panel.ax, panel.ds
        sizes, rates = np.unique(ds.batch_size.values), np.unique(ds.lr.values)
        medians, diverged = _cells(ds, sizes, rates)
        colors = sns.color_palette("vlag", as_cmap=True).with_extremes(bad="0.75")
        norm = TwoSlopeNorm(0, np.log(self.least), np.log(self.most))
        borders = cell_borders(rates)
        mesh = ax.pcolormesh(cell_borders(sizes), borders, np.ma.masked_invalid(medians), cmap=colors, norm=norm)
        rows, columns = np.nonzero(diverged)
        ax.plot(sizes[columns], rates[rows], "x", color="black", markersize=5)
        ax.set(xscale="log", yscale="log", title=panel.title)
        for (name, color, marker, aside), scaling in zip(_FITS, (stable_scaling(ds), best_scaling(ds)), strict=True):
            _draw_fit(ax, scaling, color, self.saturates)
            _draw_seeds(ax, scaling, _said(name, scaling, self.saturates), color, marker)
            _draw_arrows(ax, scaling, (borders[0], borders[-1]), color, aside)
        grid_ticks(ax.xaxis, sizes.tolist())
        grid_ticks(ax.yaxis, rates.tolist())
        legend_below(ax, "", columns=1)
        return mesh


def _cells(ds: xr.Dataset, sizes: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median over seeds of log(final / initial loss), (lr, batch size), NaN where none ran; where any diverged."""
    import numpy as np

    from stepscape.analysis.batch_scaling import log_loss_ratio

    try:
        ratios = log_loss_ratio(ds)
    except ValueError as error:
        raise StepscapeError(f"step_size_batch_size: {error}") from None
    ratios = np.nan_to_num(ratios, nan=_DIVERGED, posinf=_DIVERGED, neginf=-_DIVERGED)
    medians = np.full((len(rates), len(sizes)), np.nan)
    diverged = np.zeros(medians.shape, dtype=bool)
    for row, rate in enumerate(rates):
        for column, size in enumerate(sizes):
            here = (ds.lr.values == rate) & (ds.batch_size.values == size)
            if here.any():
                medians[row, column] = np.median(ratios[here])
                diverged[row, column] = (ds.status.values[here] == "diverged").any()
    return medians, diverged


def _draw_fit(ax: Axes, scaling: BatchScaling, color: str, saturates: bool) -> None:
    """The least-squares line, which passes through the mean of the points; or the one with a knee."""
    import numpy as np

    bent = scaling.saturating()
    if scaling.exponent is None or bent is None:
        return
    logs = np.log(list(scaling.log_lr))
    if saturates:
        logs = np.sort([*logs, bent.knee.value]) if np.isfinite(bent.knee.value) else logs
        top = min(bent.knee.value, logs[-1])
        heights = bent.height + bent.slope.value * (np.minimum(logs, top) - top)
        if bent.saturates:
            ax.plot(np.exp([bent.knee.low, bent.knee.high]), np.exp([bent.height] * 2), ":", color=color, marker="|")
    else:
        middle = np.mean([np.median(seeds) for seeds in scaling.log_lr.values()])
        heights = middle + scaling.exponent.value * (logs - logs.mean())
    ax.plot(np.exp(logs), np.exp(heights), color=color, linewidth=1.6)


def _draw_seeds(ax: Axes, scaling: BatchScaling, label: str, color: str, marker: str) -> None:
    import numpy as np

    seeds = [np.exp(logs) for logs in scaling.log_lr.values()]
    middle = np.array([np.median(lrs) for lrs in seeds])
    least, most = np.array([lrs.min() for lrs in seeds]), np.array([lrs.max() for lrs in seeds])
    ax.errorbar(
        list(scaling.log_lr),
        middle,
        yerr=[middle - least, most - middle],
        label=label,
        color=color,
        marker=marker,
        markeredgecolor="black",
        markersize=5,
        linestyle="none",
        capsize=2,
    )


def _draw_arrows(ax: Axes, scaling: BatchScaling, ends: tuple[float, float], color: str, aside: float) -> None:
    for side, end, marker in (("left", ends[0], "v"), ("right", ends[1], "^")):
        places = [size * aside for size, beyond in scaling.censored.items() if beyond == side]
        if not places:  # what is empty and not clipped upsets the layout
            continue
        ax.plot(
            places,
            [end] * len(places),
            marker,
            color=color,
            markeredgecolor="black",
            markersize=7,
            clip_on=False,
            zorder=3,
        )


def _said(name: str, scaling: BatchScaling, saturates: bool) -> str:
    """The legend's entry: exponent and interval, or why there is none; the knee; the batch sizes left out."""
    from math import exp

    from stepscape.analysis.batch_scaling import FEWEST_BATCH_SIZES

    bent = scaling.saturating()
    if scaling.exponent is None or bent is None:
        said = f"{name}: no fit ({len(scaling.log_lr)} of {FEWEST_BATCH_SIZES} batch sizes)"
    else:
        interval = bent.slope if saturates else scaling.exponent.interval()
        said = f"{name} ~ B^{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
        if saturates and bent.saturates:
            knee, low, high = (f"{exp(log):.3g}" for log in (bent.knee.value, bent.knee.low, bent.knee.high))
            said += f"\nflat from B = {knee} [{low}, {high}] on"
    for side, where in (("left", "below"), ("right", "above")):
        sizes = [str(size) for size, beyond in scaling.censored.items() if beyond == side]
        if sizes:
            said += "\n" + textwrap.fill(f"{where} the grid at B = {', '.join(sizes)}", _LETTERS)
    return said


def _label_colors(ax: Axes, least: float, most: float) -> None:
    import numpy as np

    labels = {1 / 100: "1/100", 1 / 10: "1/10", 1.0: "1", 10.0: "10"}
    shown = [value for value in labels if least <= value <= most]
    ax.set_yticks(np.log(shown), [labels[value] for value in shown])
    ax.set_yticks([], minor=True)
