"""How long the Hessian's top subspace lasts, in steps or in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.errors import StepscapeError
from stepscape.fields import Flag, Index, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure as Drawing

    from stepscape.figures._panels import Panel
    from stepscape.study.run import Run


@member("subspace_lag", source="arXiv:1812.04754")
class SubspaceLag(Figure):
    """Mean overlap of top subspaces against how far apart they were measured, a colour a learning rate, over seeds.

    Dashed: the most that a subspace shares with itself after its coordinates were permuted inside each weight and bias.
    Dotted: what runs of other seeds share at equal steps, their mean.
    """

    in_time: Annotated[Flag, describe("whether the axis is lr x steps instead of steps")] = False
    since: Annotated[Index, describe("the earlier measurement is not before this", "steps")] = 100

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_subspace",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, legend_below, style

        if "subspace_sketch" not in ds:
            raise StepscapeError("no run holds sketches of its subspaces; give hessian_subspace a `sketch` above 0")
        with style():
            figure, parts = panels(ds, 3.3, 4.0)
            for panel in parts:
                self._draw_panel(panel)
                legend_below(panel.ax, "learning rate")
            finish([panel.ax for panel in parts], "lr x steps between" if self.in_time else "steps between", "overlap")
            explanation = (
                f"mean over pairs of measurements from step {self.since} on, and over seeds; dashed: with its own "
                "coordinates permuted inside each tensor, largest; dotted: with another seed's, mean"
            )
            head(figure, ds.attrs.get("title", "Overlap of top Hessian subspaces"), explanation)
        return figure

    def _draw_panel(self, panel: Panel) -> None:
        import numpy as np

        from stepscape.analysis.clocks import clock_of
        from stepscape.analysis.inertia import overlap_by_lag, overlaps_of_seeds
        from stepscape.figures._style import ordered_colors

        ax = panel.ax
        colors = ordered_colors([lr for lr, _ in panel.by_lr()])
        for lr, runs in panel.by_lr():
            means = overlap_by_lag(runs, self.since)
            factor = lr if self.in_time else 1.0
            ax.plot(
                [lag * factor for lag in means], list(means.values()), color=colors[lr], label=f"{lr:g}", marker="."
            )
        if "subspace_null_largest" in panel.ds:
            nulls = panel.ds.subspace_null_largest
            steps = clock_of(panel.ds, "subspace_null_largest")
            late = nulls.values[:, steps >= self.since]
            late = late[np.isfinite(late)]
            if len(late):
                ax.axhline(late.max(), color="black", linewidth=1, linestyle="--")
        seeds = overlaps_of_seeds(panel.ds, self.since)
        if seeds:
            ax.axhline(float(np.mean(seeds)), color="black", linewidth=1, linestyle=":")
        ax.set(title=panel.title, ylim=(0, 1.02), xlim=(0, None))
