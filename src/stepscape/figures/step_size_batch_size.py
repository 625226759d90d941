"""The map of step size against batch size."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import PositiveReal, describe
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

_LARGEST = 4096  # of a fraction's terms on an axis
_FITS = (("largest stable", "black", "o"), ("best", "#d9a400", "s"))


@member("step_size_batch_size", source="arXiv:2006.09092; arXiv:1811.03600")
class StepSizeBatchSize(Figure):
    """Final over initial training loss for every learning rate and batch size, median over seeds.

    White is the stability boundary: blue trained, red did not; crosses mark where runs diverged. Points are the
    largest stable and the best learning rate, median and range over seeds, as `stable_lr_exponent` finds them; lines
    are their fits, with exponent and 95 % interval. A batch size whose boundary lies beyond the grid is left out of a
    fit and named.
    """

    least: Annotated[PositiveReal, describe("where the colours end below", "initial losses")] = 1 / 160
    most: Annotated[PositiveReal, describe("where the colours end above", "initial losses")] = 30.0

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, style

        with style():
            figure, parts = panels(ds, 4.8, 4.4, sharey=False, within=("batch_size",))
            colors = [self._draw_panel(panel) for panel in parts]
            finish([panel.ax for panel in parts], "batch size", "learning rate")
            bar = figure.colorbar(colors[0], ax=[panel.ax for panel in parts], extend="both", shrink=0.6)
            _label_colors(bar.ax, self.least, self.most)
            bar.set_label("final / initial training loss")
            explanation = "white: the stability boundary; crosses: diverged; points: median and range over seeds"
            head(figure, ds.attrs.get("title", "Step size against batch size"), explanation)
        return figure

    def _draw_panel(self, panel: Panel) -> ScalarMappable:
        import numpy as np
        import seaborn as sns
        from matplotlib.colors import TwoSlopeNorm

        from stepscape.analysis.batch_scaling import best_scaling, log_loss_ratio, stable_scaling
        from stepscape.figures._style import legend_below

        ax, ds = panel.ax, panel.ds
        sizes, rates = np.unique(ds.batch_size.values), np.unique(ds.lr.values)
        medians, diverged = _cells(ds, log_loss_ratio(ds), sizes, rates)
        colors = sns.color_palette("vlag", as_cmap=True).with_extremes(bad="0.75")
        norm = TwoSlopeNorm(0, np.log(self.least), np.log(self.most))
        mesh = ax.pcolormesh(_borders(sizes), _borders(rates), medians, cmap=colors, norm=norm)
        rows, columns = np.nonzero(diverged)
        ax.plot(sizes[columns], rates[rows], "x", color="0.3", markersize=4)
        for (name, color, marker), scaling in zip(_FITS, (stable_scaling(ds), best_scaling(ds)), strict=True):
            _draw_scaling(ax, scaling, name, color, marker)
        ax.set(xscale="log", yscale="log", title=panel.title)
        _power_ticks(ax, sizes, rates)
        if ax.get_legend_handles_labels()[1]:
            legend_below(ax, "", columns=1)
        return mesh


def _cells(
    ds: xr.Dataset, log_ratio: np.ndarray, sizes: np.ndarray, rates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Median log ratio over seeds, (lr, batch size), NaN where no run is left; and whether any diverged."""
    import numpy as np

    medians = np.full((len(rates), len(sizes)), np.nan)
    diverged = np.zeros(medians.shape, dtype=bool)
    for row, rate in enumerate(rates):
        for column, size in enumerate(sizes):
            here = (ds.lr.values == rate) & (ds.batch_size.values == size)
            kept = log_ratio[here][np.isfinite(log_ratio[here])]
            medians[row, column] = np.median(kept) if len(kept) else np.nan
            diverged[row, column] = bool((ds.status.values[here] == "diverged").any())
    return medians, diverged


def _borders(centres: np.ndarray) -> np.ndarray:
    """Borders of cells around values on a logarithmic axis, (n + 1,)."""
    import numpy as np

    logs = np.log2(centres.astype(float))
    halves = np.diff(logs) / 2 if len(logs) > 1 else np.array([0.5])
    return np.asarray(
        2 ** np.concatenate(([logs[0] - halves[0]], logs[:-1] + halves[: len(logs) - 1], [logs[-1] + halves[-1]]))
    )


def _draw_scaling(ax: Axes, scaling: BatchScaling, name: str, color: str, marker: str) -> None:
    import numpy as np

    sizes = np.asarray(list(scaling.log_lr), dtype=float)
    if not len(sizes):
        return
    logs = [np.asarray(found) for found in scaling.log_lr.values()]
    middle = np.array([np.median(found) for found in logs])
    spread = np.exp([[np.median(f) for f in logs], [f.min() for f in logs], [f.max() for f in logs]])
    bars = [spread[0] - spread[1], spread[2] - spread[0]]
    label = f"{name} lr"
    exponent = scaling.exponent
    if exponent is not None:
        interval = exponent.interval()
        label += f" ~ B^{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
        line = middle.mean() + interval.value * (np.log(sizes) - np.log(sizes).mean())
        ax.plot(sizes, np.exp(line), color=color, linewidth=1.6)
    if scaling.censored:
        label += f"; beyond the grid: B = {', '.join(str(size) for size in scaling.censored)}"
    ax.errorbar(
        sizes,
        spread[0],
        yerr=bars,
        marker=marker,
        label=label,
        color=color,
        markeredgecolor="black",
        markersize=5,
        linestyle="none",
        capsize=2,
    )


def _power_ticks(ax: Axes, sizes: np.ndarray, rates: np.ndarray) -> None:
    """Ticks at the values of the grid, written as 1/16 rather than 0.0625."""
    for axis, values in ((ax.xaxis, sizes), (ax.yaxis, rates)):
        shown = values[:: 2 if len(values) > 8 else 1]
        axis.set_ticks(shown, [_written(float(value)) for value in shown])
        axis.set_ticks([], minor=True)


def _written(value: float) -> str:
    simple = Fraction(value).limit_denominator(_LARGEST)
    is_short = value <= _LARGEST and float(simple) == value and 1 in (simple.numerator, simple.denominator)
    return str(simple) if is_short else f"{value:g}"


def _label_colors(ax: Axes, least: float, most: float) -> None:
    import numpy as np

    values = [value for value in (0.01, 0.1, 1.0, 10.0) if least <= value <= most]
    ax.set_yticks(np.log(values), [f"{value:g}" for value in values])
