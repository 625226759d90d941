"""The time in which label noise settles at a flat minimum, over learning rate and momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Fraction, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.settling import Fastest, Settled
    from stepscape.study.run import Run

_TIMES = (("fastest", "fastest momentum", "#d9a400", "o", -2 / 3), ("none", "no momentum", "black", "s", -2.0))
"""Momentum, what it is called, its colour and marker, and the power that theory has for its settling time."""


@member("settling_time", source="Cowsik, Can & Glorioso, arXiv:2210.16400")
class SettlingTime(Figure):
    """Updates until the Gauss-Newton trace settles, for every learning rate and 1 - beta; and their least, against lr.

    Colours on the left are medians over seeds, of learning rates with several momenta. Grey: half of the seeds or more
    did not settle within the budget; a cross: a seed diverged; white: not run. Points are the fastest momentum, median
    and range over seeds, as `fastest_momentum_exponent` finds them; the line is their fit with exponent and 95 %
    interval, the dashed one has the power 2/3. On the right are the times themselves; dashed lines have the powers -2/3
    and -2.
    """

    level: Annotated[Fraction, describe("to which tr G settles", "tr G at the start")] = 0.3

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("gauss_newton_trace",), ("losses",))

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt
        import numpy as np

        from stepscape.analysis.settling import fastest_momenta, settled
        from stepscape.figures._style import blank, finish, head, style

        betas = ds.optimizer_beta.values if "optimizer_beta" in ds.coords else np.full(ds.sizes["run"], np.nan)
        ds = ds.isel(run=np.flatnonzero(np.isfinite(ds.lr.values) & np.isfinite(betas)))
        if not ds.sizes["run"]:
            return blank(ds, "no run has a learning rate and a momentum beta", "learning rate", "1 - beta")
        runs = settled(ds, self.level)
        found = fastest_momenta(runs)
        with style():
            figure, axes = plt.subplots(1, 2, figsize=(11, 4.8))
            colors = _draw_map(axes[0], ds, runs, found)
            _draw_times(axes[1], found)
            finish(axes, "learning rate", "1 - beta")
            axes[1].set_ylabel("updates")
            if colors is not None:
                figure.colorbar(colors, ax=axes[0]).set_label("updates until tr G settled")
            explanation = (
                f"settled: tr G at {self.level:g} of the first for good; grey: not within the budget; "
                "crosses: a seed diverged; dashed: theory's powers"
            )
            head(figure, ds.attrs.get("title", "Settling time"), explanation)
        return figure


def _draw_map(
    ax: Axes, ds: xr.Dataset, runs: Sequence[Settled], found: Mapping[float, Sequence[Fastest]]
) -> ScalarMappable | None:
    """The cells and the fastest among them; what the colours mean, None where nothing settled."""
    import numpy as np
    import seaborn as sns
    from matplotlib.colors import ListedColormap, LogNorm

    from stepscape.analysis.settling import fastest_dampings
    from stepscape.figures._style import legend_below
    from stepscape.figures._ticks import cell_borders, grid_ticks, plain_ticks

    several = {lr: len({run.damping for run in runs if run.lr == lr}) > 1 for lr in found}
    mapped = [run for run in runs if several[run.lr]] or runs
    rates, dampings = np.unique([run.lr for run in mapped]), np.unique([run.damping for run in mapped])
    medians, diverged = _cells(ds, runs, rates, dampings)
    borders = cell_borders(rates), cell_borders(dampings)
    ax.pcolormesh(*borders, np.where(np.isnan(medians), np.nan, 1.0), cmap=ListedColormap(["0.8"]))
    times = medians[np.isfinite(medians) & (medians > 0)]
    mesh = None
    if len(times):
        norm = LogNorm(times.min(), max(times.max(), 1.001 * times.min()))
        shown = np.where(np.isfinite(medians), np.maximum(medians, times.min()), np.nan)
        mesh = ax.pcolormesh(*borders, shown, cmap=sns.color_palette("mako", as_cmap=True), norm=norm)
    rows, columns = np.nonzero(diverged)
    ax.plot(rates[columns], dampings[rows], "x", color="black", markersize=4)
    ax.set(xscale="log", yscale="log")
    _draw_points(ax, fastest_dampings(found), "1 - beta of the fastest", "#d9a400", "o", 2 / 3, fitted=True)
    ax.set(xlim=(borders[0][0], borders[0][-1]), ylim=(borders[1][0], borders[1][-1]))
    grid_ticks(ax.xaxis, rates.tolist(), 6)
    plain_ticks(ax.yaxis)
    if ax.get_legend_handles_labels()[1]:
        legend_below(ax, "", columns=1)
    return mesh


def _cells(
    ds: xr.Dataset, runs: Sequence[Settled], rates: np.ndarray, dampings: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Median over seeds of settling steps, (1 - beta, lr), NaN where none ran; and where any diverged."""
    import numpy as np

    medians = np.full((len(dampings), len(rates)), np.nan)
    diverged = np.zeros(medians.shape, dtype=bool)
    for row, damping in enumerate(dampings):
        for column, rate in enumerate(rates):
            here = [run for run in runs if run.lr == rate and run.damping == damping]
            if here:
                medians[row, column] = sorted(run.steps for run in here)[len(here) // 2]
                diverged[row, column] = (ds.status.values[[run.run for run in here]] == "diverged").any()
    return medians, diverged


def _draw_times(ax: Axes, found: Mapping[float, Sequence[Fastest]]) -> None:
    from stepscape.analysis.settling import settling_times
    from stepscape.figures._style import legend_below
    from stepscape.figures._ticks import plain_ticks

    ax.set(xscale="log", yscale="log")
    for momentum, name, color, marker, power in _TIMES:
        points = settling_times(found, "fastest" if momentum == "fastest" else "none")
        _draw_points(ax, points, name, color, marker, power, fitted=False)
    if ax.get_legend_handles_labels()[1]:
        plain_ticks(ax.xaxis)
        plain_ticks(ax.yaxis)
        legend_below(ax, "", columns=1)


def _draw_points(
    ax: Axes,
    points: Mapping[float, Sequence[float]],
    name: str,
    color: str,
    marker: str,
    power: float,
    *,
    fitted: bool,
) -> None:
    """Medians over seeds with their range, the fit where asked for, and through their middle a line of a power."""
    import numpy as np

    from stepscape.analysis.settling import line

    if not points:
        return
    rates = np.array(list(points))
    logs = np.array([np.median(seeds) for seeds in points.values()])
    ends = np.array([[min(seeds), max(seeds)] for seeds in points.values()])
    fit, label = line(points), name
    if fit is not None:
        interval = fit.interval()
        label = f"{name} ~ lr^{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    away = np.log(rates) - np.log(rates).mean()
    middle = np.exp(logs)
    error = [middle - np.exp(ends[:, 0]), np.exp(ends[:, 1]) - middle]
    ax.errorbar(rates, middle, yerr=error, label=label, color=color, marker=marker, linestyle="none", capsize=2)
    ax.lines[-1].set_markeredgecolor("black")
    if fitted and fit is not None:
        ax.plot(rates, np.exp(logs.mean() + fit.value * away), color=color, linewidth=1.6)
    ax.plot(rates, np.exp(logs.mean() + power * away), color=color, linestyle="--", linewidth=1.2)
