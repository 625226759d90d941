"""Gradient against curvature, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure as Drawing

    from stepscape.study.run import Run

_LABELS = "trace of the class's Hessian block", "norm of its gradient"
_COLORS = "viridis_r"


@member("gradient_curvature", source="arXiv:2402.19449, section 3")
class GradientCurvature(Figure):
    """Gradient norm against the trace of the Hessian block of each class, at the end of training.

    A point a class, coloured by its share of the samples; a panel an optimizer, at the learning rate of least final
    training loss, of the first seed. The correlation is of the logarithms, the mean over seeds.
    """

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",), ("per_class",))

    def draw(self, ds: xr.Dataset) -> Drawing:
        import numpy as np
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import LogNorm

        from stepscape.analysis.class_groups import at_end, best_runs
        from stepscape.figures._panels import panel_grid
        from stepscape.figures._style import blank, finish, head, style

        best = best_runs(ds)
        if not best:
            return blank(ds, "all runs diverged", *_LABELS)
        settings = list(dict.fromkeys(each.settings for each in best))
        names = ("class_gradient_norm", "class_hessian_trace", "class_share")
        norms, traces, shares = (at_end(ds, name) for name in names)
        norms = np.where(shares > 0, norms, np.nan)
        norm = LogNorm(shares[shares > 0].min(), max(shares[shares > 0].max(), 1.001 * shares[shares > 0].min()))
        with style():
            figure, drawn = panel_grid(len(settings), width=3.6, height=3.3, margin=0.6)
            for ax, kind in zip(drawn, settings, strict=True):
                runs = [each.run for each in best if each.settings == kind]
                _draw_panel(ax, [(traces[run], norms[run], shares[run]) for run in runs], norm)
                ax.set_title(_title(ds, runs[0]))
            bar = figure.colorbar(ScalarMappable(norm, _COLORS), ax=drawn)
            bar.set_label("share of samples")
            finish(drawn, *_LABELS)
            head(figure, ds.attrs.get("title", "Gradient and curvature"), "a point a class, after training; r: of logs")
        return figure


def _draw_panel(ax: Axes, runs: list[tuple[np.ndarray, ...]], norm: LogNorm) -> None:
    import numpy as np

    from stepscape.analysis.class_groups import log_correlation

    traces, norms, shares = runs[0]
    ax.scatter(traces, norms, c=shares, norm=norm, cmap=_COLORS, s=14, edgecolor="0.3", linewidth=0.3)
    ax.set(xscale="log", yscale="log")
    found = [r for r in (log_correlation(x, y) for x, y, _ in runs) if np.isfinite(r)]  # none where traces are equal
    if found:
        ax.text(0.05, 0.95, f"r = {np.mean(found):.2f}", transform=ax.transAxes, va="top")


def _title(ds: xr.Dataset, run: int) -> str:
    """The optimizer, and the model where there are several."""
    several = len(set(ds.model.values.tolist())) > 1
    return ", ".join(str(ds[key].values[run]) for key in (("model", "optimizer") if several else ("optimizer",)))
