"""Sharpness against time, beside the flow's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure as Drawing

    from stepscape.figures._panels import Panel
    from stepscape.study.run import Run

_WITHIN = ("optimizer", "batch_size", "budget", "budget_steps")


@member("sharpness_in_flow_time", source="arXiv:2103.00065, figure 5")
class SharpnessInFlowTime(Figure):
    """Largest Hessian eigenvalue against lr x step: a colour a learning rate, black the gradient flow, one line a seed.

    Dotted lines in the same colours are the stability thresholds: up to there all learning rates take the flow's way.
    A threshold far above all sharpness is outside of the panel.
    """

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_top",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, legend_below, style

        with style():
            figure, parts = panels(ds, 3.6, 4.2, sharey=False, within=_WITHIN)
            for panel in parts:
                _draw_panel(panel)
                legend_below(panel.ax, "learning rate")
            finish([panel.ax for panel in parts], "learning rate x step", "sharpness")
            explanation = "a line a seed; black: gradient flow; dotted: the stability threshold of each learning rate"
            head(figure, ds.attrs.get("title", "Sharpness in time"), explanation)
        return figure


def _draw_panel(panel: Panel) -> None:
    import numpy as np

    from stepscape.analysis.flow_time import is_flow, sharpness_in_time
    from stepscape.figures._style import ordered_colors

    ax, ds, flows = panel.ax, panel.ds, is_flow(panel.ds)
    rates = ds.lr.values
    colors = ordered_colors(np.unique(rates[~flows & np.isfinite(rates)]).tolist())
    ends, highest = [], 0.0
    for run in [index for index in range(ds.sizes["run"]) if np.isfinite(rates[index])]:
        times, values = sharpness_in_time(ds, run)
        highest = max(highest, *values.tolist(), 0.0)
        color = (0.0, 0.0, 0.0) if flows[run] else colors[float(rates[run])]
        ax.plot(times, values, color=color, linewidth=1.6 if flows[run] else 1.1, zorder=3 if flows[run] else 2)
        if flows[run] and len(times):
            ends.append(times[-1])
    for rate, color in colors.items():
        threshold = _threshold(ds, rate)
        ax.axhline(threshold, color=color, linewidth=1, linestyle=":")
        ax.plot([], [], color=color, label=f"{rate:g}")
    if flows.any():
        ax.plot([], [], color="black", label="flow")
    ax.set(title=panel.title, ylim=(0, 1.15 * highest or None), xlim=(0, max(ends) if ends else None))


def _threshold(ds: xr.Dataset, rate: float) -> float:
    """The last recorded threshold of the runs at a learning rate; NaN where there is none."""
    import numpy as np

    recorded = ds.hessian_threshold.values[ds.lr.values == rate]
    known = recorded[np.isfinite(recorded)]
    return float(known[-1]) if len(known) else float("nan")
