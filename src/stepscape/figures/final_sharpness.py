"""Where training ends: sharpness against learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepscape.errors import StepscapeError
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.figures._panels import Panel
    from stepscape.study.run import Run

_MARKERS = "osD^v<>P"


@member("final_sharpness", source="arXiv:2103.00065")
class FinalSharpness(Figure):
    """Largest Hessian eigenvalue at the last measurement against the learning rate, a colour a batch size.

    Points and bars are median and range over seeds. The dashed line is the stability threshold of the full batch, where
    the optimizer's preconditioner is the identity. Runs that diverged have no end: a cross at the top of the panel
    marks their learning rate, in the colour of their batch size.
    """

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_top",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import numpy as np

        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, style

        ds = ds.isel(run=np.flatnonzero(np.isfinite(ds.lr.values)))
        if not ds.sizes["run"]:
            raise StepscapeError("final_sharpness: no run has a learning rate; narrow `where`")
        explanation = "points: median and range over seeds; dashed: the stability threshold"
        if (ds.status == "diverged").any():
            explanation += "; crosses: diverged"
        if len(np.unique(ds.batch_size.values)) > 1:
            explanation += ". Small batches may be less trained too: lower need not be flatter at equal loss"
        with style():
            figure, parts = panels(ds, 4.2, 4.6, sharey=False, within=("batch_size",))
            for panel in parts:
                _draw_panel(panel)
            finish([panel.ax for panel in parts], "learning rate", "final sharpness")
            head(figure, ds.attrs.get("title", "Final sharpness"), explanation)
        return figure


def _draw_panel(panel: Panel) -> None:
    import numpy as np

    from stepscape.figures._style import legend_below, ordered_colors
    from stepscape.figures._ticks import grid_ticks, plain_ticks

    ax, ds = panel.ax, panel.ds
    diverged = int((ds.status == "diverged").sum())
    ax.set(xscale="log", yscale="log", title=panel.title + (f" ({diverged} diverged)" if diverged else ""))
    full = set(ds.batch_size.values[ds.full_batch.values].tolist())
    colors = ordered_colors(sorted(set(ds.batch_size.values.tolist())))
    for index, (size, color) in enumerate(colors.items()):
        same = ds.isel(run=np.flatnonzero(ds.batch_size.values == size))
        rates, (middle, least, most) = _ends(same)
        ax.errorbar(
            rates,
            middle,
            yerr=[middle - least, most - middle],
            label=f"{size} (full)" if size in full else f"{size}",
            color=color,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=5,
            capsize=2,
        )
    _cross_diverged(ax, ds, colors)
    _draw_threshold(ax, ds)
    grid_ticks(ax.xaxis, np.unique(ds.lr.values).tolist())
    plain_ticks(ax.yaxis)
    legend_below(ax, "batch size")


def _ends(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Learning rates (n,) of runs that did not diverge; median, least and largest final sharpness over seeds (3, n)."""
    import numpy as np

    ends = ds.final_hessian_eigenvalue.values
    there = (ds.status.values != "diverged") & np.isfinite(ends)
    rates = np.unique(ds.lr.values[there])
    seeds = [ends[there & (ds.lr.values == rate)] for rate in rates]
    return rates, np.array([[np.median(of), of.min(), of.max()] for of in seeds]).reshape(-1, 3).T


def _cross_diverged(ax: Axes, ds: xr.Dataset, colors: Mapping[float, tuple[float, float, float]]) -> None:
    """Crosses at the top of the panel, a row for each batch size that diverged, so that none hides another."""
    import numpy as np

    dead = ds.isel(run=np.flatnonzero(ds.status.values == "diverged"))
    for row, size in enumerate(np.unique(dead.batch_size.values)):
        rates = np.unique(dead.lr.values[dead.batch_size.values == size])
        heights = np.full(len(rates), 0.97 - 0.05 * row)
        ax.plot(rates, heights, "x", color=colors[size], transform=ax.get_xaxis_transform())


def _draw_threshold(ax: Axes, ds: xr.Dataset) -> None:
    """The threshold of each learning rate's last update that had one; a stroke where there is one learning rate."""
    import numpy as np

    last = {
        float(rate): float(row[np.isfinite(row)][-1])
        for rate, row in zip(ds.lr.values, ds.hessian_threshold.values, strict=True)
        if np.isfinite(row).any()
    }
    if len(last) == 1:
        ((rate, threshold),) = last.items()
        last = {rate / 1.2: threshold, rate * 1.2: threshold}
    rates = sorted(last)
    ax.plot(rates, [last[rate] for rate in rates], color="black", linewidth=1, linestyle="--")
