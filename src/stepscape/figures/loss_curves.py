"""The training loss along runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Count, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.study.run import Run


@member("loss_curves")
class LossCurves(Figure):
    """Training loss against steps: thin every measurement, thick a running median; one seed, a colour a learning rate.

    A circle marks where the sharpness was first measured at its stability threshold or above; a cross, where a run
    diverged, at the upper end of the axis, which ends a little above the runs that did not.
    """

    window: Annotated[Count, describe("length of the running median", "measurements")] = 31

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import numpy as np

        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, legend_below, ordered_colors, style

        with style():
            figure, parts = panels(ds, 3.6, 4.0, sharey=False)
            for panel in parts:
                colors = ordered_colors([lr for lr, _ in panel.by_lr()])
                floor, ceiling = _limits(panel.ds)
                for lr, runs in panel.by_lr():
                    run = runs.isel(run=[int(runs.seed.values.argmin())])
                    self._draw_run(panel.ax, run, lr, colors[lr], ceiling)
                panel.ax.set(title=panel.title, yscale="log")
                if (panel.ds.status == "diverged").any() and np.isfinite(ceiling):
                    panel.ax.set_ylim(floor, ceiling)
                legend_below(panel.ax, "learning rate")
                _plain_ticks(panel.ax)
            finish([panel.ax for panel in parts], "step", "training loss")
            marks = "circle: sharpness first measured at its threshold or above; cross: diverged"
            explanation = f"thin: every step, thick: median of {self.window}; {marks}"
            head(figure, ds.attrs.get("title", "Training loss"), explanation)
        return figure

    def _draw_run(
        self, ax: Axes, run: xr.Dataset, lr: float, color: tuple[float, float, float], ceiling: float
    ) -> None:
        import numpy as np

        losses = run.train_loss.isel(run=0)
        steps = run["step" if losses.dims == ("step",) else "losses_step"].values
        measured = np.isfinite(losses.values)
        steps, values = steps[measured], losses.values[measured].astype(float)
        ax.plot(steps, values, color=color, linewidth=0.6, alpha=0.6)
        smooth = _running_median(values, self.window)
        ax.plot(steps, smooth, color=color, linewidth=1.8, label=f"{lr:g}")
        if len(steps):
            _mark(ax, run, steps, np.fmin(smooth, ceiling), color)


def _limits(ds: xr.Dataset) -> tuple[float, float]:
    """Where an axis ends that shows all losses of runs that did not diverge; NaN where all did."""
    import numpy as np

    kept = ds.train_loss.values[ds.status.values != "diverged"]
    kept = kept[np.isfinite(kept) & (kept > 0)]
    return (float(kept.min()) / 1.3, 1.5 * float(kept.max())) if len(kept) else (float("nan"), float("nan"))


def _running_median(values: np.ndarray, window: int) -> np.ndarray:
    """Median over `window` neighbours, over fewer, as many on each side, near the ends."""
    import numpy as np

    count = len(values)
    half = [min(window // 2, i, count - 1 - i) for i in range(count)]
    return np.asarray([np.median(values[i - h : i + h + 1]) for i, h in enumerate(half)])


def _mark(ax: Axes, run: xr.Dataset, steps: np.ndarray, values: np.ndarray, color: tuple[float, float, float]) -> None:
    import numpy as np

    from stepscape.analysis.edge import EdgeRule, sharpness_ratio

    if str(run.status.values[0]) == "diverged":
        ax.plot(steps[-1], values[-1], marker="x", color=color, markersize=8, markeredgewidth=2, clip_on=False)
    if not {"hessian_eigenvalue", "preconditioned_eigenvalue"} & set(run.data_vars):
        return
    ratio = sharpness_ratio(run)
    crossed = ratio.measured_step.values[np.nan_to_num(ratio.values[0], nan=-1.0) >= 1]
    crossed = crossed[crossed >= EdgeRule().settled]
    if len(crossed):
        height = np.interp(crossed[0], steps, values)
        ax.plot(crossed[0], height, marker="o", markersize=7, markerfacecolor="white", color=color, markeredgewidth=1.6)


def _plain_ticks(ax: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
