"""Optimizers at the edge of stability beside the flows that follow them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.fields import Count, Text, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.flows import Trio
    from stepscape.study.run import Run

Series = Literal["loss", "squared_gradient", "step_size", "mean_squares", "sharpness", "distance"]
_WORDS = {
    "loss": "training loss",
    "squared_gradient": "squared gradient norm",
    "step_size": "mean step size",
    "mean_squares": "mean of squared gradients",
    "sharpness": "lr times sharpness",
    "distance": "distance to the optimizer",
}
_COLUMNS = 2


@member("flows", source="arXiv:2410.24206, figures 1, 4 and 7")
class Flows(Figure):
    """One series of an optimizer, of its central flow and of its stable flow: a panel for each optimizer and rate.

    Of time averages the flow's are what it predicts; the optimizer's are shown as they are, thin, and smoothed. The
    lowest seed is drawn; distances and sharpness of all seeds. Learning rate times sharpness has its edge at 2.
    """

    show: Annotated[Series, describe("what is drawn")] = "loss"
    near: Annotated[Text, describe("name of the optimizer that is to stay close")] = "central_flow"
    far: Annotated[Text, describe("name of the optimizer that is not")] = "stable_flow"
    smoothing: Annotated[Count, describe("standard deviation of the Gaussian of the thick line", "steps")] = 20

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        recorded = {"sharpness": "preconditioned_top", "distance": "parameters"}
        return ((recorded.get(self.show, "time_average"),),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt

        from stepscape.analysis.flows import trios
        from stepscape.figures._style import finish, head, style

        groups: dict[object, list[Trio]] = {}
        for trio in trios(ds, self.near, self.far):
            groups.setdefault((trio.of, float(ds.lr.values[trio.followed])), []).append(trio)
        columns = min(max(len(groups), 1), _COLUMNS)
        lines = -(-max(len(groups), 1) // columns)
        with style():
            figure, axes = plt.subplots(lines, columns, figsize=(4.6 * columns, 3.4 * lines), squeeze=False)
            shown = list(axes.flat[: max(len(groups), 1)])
            for unused in axes.flat[len(shown) :]:
                unused.remove()
            for ax, group in zip(shown, groups.values(), strict=False):
                self._draw_panel(ax, ds, group)
            if groups:
                self._name_lines(shown[0])
            else:
                shown[0].text(0.5, 0.5, f"no run has a {self.near}\nand a {self.far} beside it", ha="center")
            finish(shown, "step", _WORDS[self.show])
            head(figure, ds.attrs.get("title", "Flows"), self._explanation)
        return figure

    @property
    def _explanation(self) -> str:
        if self.show == "distance":
            return "Euclidean, in parameter space; every seed"
        if self.show == "sharpness":
            return "dashed: the edge of stability, 2; every seed"
        return f"thin: every step; thick: smoothed over {self.smoothing} steps; a flow: what it predicts of the average"

    def _draw_panel(self, ax: Axes, ds: xr.Dataset, group: list[Trio]) -> None:
        lr = float(ds.lr.values[group[0].followed])
        ax.set_title(f"{group[0].of}, lr {lr:g}")
        colors = self._colors()
        if self.show == "distance":
            from stepscape.analysis.flows import distances

            for trio in group:
                for name, flow in ((self.near, trio.near), (self.far, trio.far)):
                    ax.plot(*distances(ds, trio.followed, flow), color=colors[name], linewidth=1.4)
            ax.set_ylim(0, None)
            return
        for trio in group if self.show == "sharpness" else group[:1]:
            for name, run in ((self.far, trio.far), ("", trio.followed), (self.near, trio.near)):
                self._draw_series(ax, ds, run, colors[name], is_flow=bool(name))
        if self.show == "sharpness":
            ax.axhline(2, color="black", linewidth=1, linestyle="--")
        elif self.show != "step_size":
            ax.set_yscale("log")

    def _draw_series(self, ax: Axes, ds: xr.Dataset, run: int, color: str, *, is_flow: bool) -> None:
        import numpy as np

        from stepscape.analysis.flows import smoothed

        steps, values = self._series(ds, run)
        measured = np.isfinite(values)
        steps, values = steps[measured], values[measured]
        if self.show == "sharpness":
            ax.plot(steps, values, color=color, linewidth=1.2)
            return
        if is_flow:
            ax.plot(steps, values, color=color, linewidth=1.8)
            return
        ax.plot(steps, values, color=color, linewidth=0.5, alpha=0.5)
        if len(values):
            ax.plot(steps, smoothed(values, self.smoothing), color=color, linewidth=3.0, alpha=0.6)

    def _series(self, ds: xr.Dataset, run: int) -> tuple[np.ndarray, np.ndarray]:
        from stepscape.analysis.flows import VARIABLES

        if self.show == "sharpness":
            found = ds.preconditioned_eigenvalue[run].isel(eigenvalue=0) * float(ds.lr.values[run])
            observable = "preconditioned_top"
        else:
            found, observable = ds[VARIABLES[self.show]][run], "time_average"
        clock = "step" if found.dims == ("step",) else f"{observable}_step"
        return ds[clock].values, found.values.astype(float)

    def _colors(self) -> dict[str, str]:
        return {"": "0.35", self.near: "#d55e00", self.far: "#0072b2"}

    def _name_lines(self, ax: Axes) -> None:
        words = {"": "optimizer", self.near: self.near.replace("_", " "), self.far: self.far.replace("_", " ")}
        for name, color in self._colors().items():
            if name or self.show != "distance":
                ax.plot([], [], color=color, linewidth=1.8, label=words[name])
        ax.legend()
