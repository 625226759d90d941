"""How an eigenvalue of the weights leaves the bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import PositiveReal, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.study.run import Run

_BUDGET = ("budget", "budget_steps", "budget_epochs", "budget_samples")


@member("outlier_path", source="arXiv:2211.06506")
class OutlierPath(Figure):
    """Along training, on the left the largest eigenvalue of the first layer's W^T W / h over the Marchenko-Pastur edge.

    On the right |cos| of the angle between its eigenvector and X^T Y. A line a run, a colour a configuration, seeds
    alike, against the share of the updates that are done. Dashed: the edge of the weights at the start, and `beyond`
    times it.
    """

    beyond: Annotated[PositiveReal, describe("from where an eigenvalue is called an outlier", "upper edges")] = 1.05

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("first_layer",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt

        from stepscape.figures._style import finish, head, style

        with style():
            figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.8))
            self._draw_paths(left, right, ds)
            finish([left, right], "share of training", "largest eigenvalue / edge")
            right.set_ylabel("alignment with X^T Y")
            told = f"a line a run; dashed: the Marchenko-Pastur edge, dotted: {self.beyond:g} of it"
            head(figure, ds.attrs.get("title", "How an eigenvalue leaves the bulk"), told)
        return figure

    def _draw_paths(self, left: Axes, right: Axes, ds: xr.Dataset) -> None:
        import seaborn as sns

        from stepscape.analysis.grouping import configurations
        from stepscape.analysis.spectra import outlier_path
        from stepscape.figures._configurations import run_title
        from stepscape.figures._ticks import plain_ticks

        groups = configurations(ds)
        palette = sns.color_palette("husl", len(set(groups)))
        colors = dict(zip(dict.fromkeys(groups), palette, strict=True))
        named: set[tuple[object, ...]] = set()
        for index, group in enumerate(groups):
            steps, ratio, aligned = outlier_path(ds, index)
            look = {"color": colors[group], "linewidth": 1.2, "alpha": 0.9}
            share = steps / max(int(steps[-1]), 1) if len(steps) else steps
            label = None if group in named else run_title(ds, index, but=_BUDGET)
            named.add(group)
            left.plot(share, ratio, label=label, **look)
            right.plot(share, aligned, **look)
        left.axhline(1, color="black", linewidth=1, linestyle="--")
        left.axhline(self.beyond, color="black", linewidth=1, linestyle=":")
        left.set(yscale="log", title="largest eigenvalue")
        right.set(ylim=(0, 1.02), title="where its eigenvector points")
        plain_ticks(left.yaxis)
        left.figure.legend(loc="outside lower center", ncols=2)
