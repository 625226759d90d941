"""Where training ends: sharpness against learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure as Drawing

    from stepscape.figures._panels import Panel
    from stepscape.study.run import Run


@member("final_sharpness", source="arXiv:2103.00065")
class FinalSharpness(Figure):
    """Largest Hessian eigenvalue at the end against the learning rate, a colour a batch size.

    Points and bars are median and range over seeds. The dashed line is the stability threshold of plain gradient
    descent on the full batch. Runs that diverged have no end; their number stands in the panel's title.
    """

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_top",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, style

        with style():
            figure, parts = panels(ds, 4.2, 4.6, sharey=False, within=("batch_size",))
            for panel in parts:
                _draw_panel(panel)
            finish([panel.ax for panel in parts], "learning rate", "final sharpness")
            explanation = (
                "points: median and range over seeds; dashed: the stability threshold. Smaller batches are flatter "
                "after as many steps, and also less trained: not flatter at equal loss"
            )
            head(figure, ds.attrs.get("title", "Final sharpness"), explanation)
        return figure


def _draw_panel(panel: Panel) -> None:
    import numpy as np

    from stepscape.figures._style import legend_below, ordered_colors

    ax, ds = panel.ax, panel.ds
    ended = ds.isel(
        run=np.flatnonzero((ds.status.values != "diverged") & np.isfinite(ds.final_hessian_eigenvalue.values))
    )
    colors = ordered_colors(sorted(set(ds.batch_size.values.tolist())))
    for size, color in colors.items():
        same = ended.isel(run=np.flatnonzero(ended.batch_size.values == size))
        rates = np.unique(same.lr.values)
        ends = [same.final_hessian_eigenvalue.values[same.lr.values == rate] for rate in rates]
        middle = np.array([np.median(values) for values in ends])
        bars = [middle - [values.min() for values in ends], [values.max() for values in ends] - middle]
        ax.errorbar(rates, middle, yerr=bars, marker="o", color=color, capsize=2, label=f"{size:g}")
    _draw_threshold(panel)
    diverged = int((ds.status.values == "diverged").sum())
    ax.set(xscale="log", yscale="log", title=panel.title + (f" ({diverged} diverged)" if diverged else ""))
    _plain_ticks(panel)
    if ax.get_legend_handles_labels()[1]:
        legend_below(ax, "batch size")


def _draw_threshold(panel: Panel) -> None:
    import numpy as np

    thresholds = panel.ds.hessian_threshold.values
    known = np.isfinite(thresholds).any(axis=1)
    if known.any():
        rates = panel.ds.lr.values[known]
        last = np.array([row[np.isfinite(row)][-1] for row in thresholds[known]])
        order = np.argsort(rates)
        panel.ax.plot(rates[order], last[order], color="black", linewidth=1, linestyle="--")


def _plain_ticks(panel: Panel) -> None:
    import numpy as np
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    rates = np.unique(panel.ds.lr.values)
    panel.ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    panel.ax.xaxis.set_minor_formatter(NullFormatter())
    panel.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.ax.yaxis.set_minor_formatter(NullFormatter())
