"""The angles that the Hessian's top subspace turns by from one measurement to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure as Drawing

    from stepscape.figures._panels import Panel
    from stepscape.study.run import Run


@member("principal_angles", source="Bjorck & Golub 1973; arXiv:1812.04754")
class PrincipalAngles(Figure):
    """All k principal angles between the top subspaces of successive measurements, in degrees, median over seeds.

    One panel for each learning rate, and whatever else varies; dark the smallest angle, light the largest. A subspace
    that keeps all of its directions but one has one large angle; one that turns as a whole has many.
    """

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_subspace",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, style

        names = ["none" if lr != lr else f"{lr:.12g}" for lr in ds.lr.values.tolist()]
        with style():
            figure, parts = panels(ds.assign_coords(learning_rate=("run", names)), 3.0, 4.0)
            for panel in parts:
                _draw_panel(panel)
            finish([panel.ax for panel in parts], "step", "angle to the last (degrees)")
            explanation = "principal angles between successive measurements, dark: the smallest; median over seeds"
            head(figure, ds.attrs.get("title", "Principal angles"), explanation)
        return figure


def _draw_panel(panel: Panel) -> None:
    import numpy as np
    import seaborn as sns

    from stepscape.analysis.clocks import clock_of

    ax, ds = panel.ax, panel.ds
    steps = clock_of(ds, "subspace_cosine")
    cosines = np.ma.masked_invalid(ds.subspace_cosine.values.astype(float))
    angles = np.ma.median(np.degrees(np.arccos(np.clip(cosines, 0, 1))), axis=0).filled(np.nan)
    angles = np.sort(angles, axis=1)  # NaN last: fewer vectors than other runs of the study
    kept = np.isfinite(angles).any(axis=1)
    colors = sns.color_palette("mako", angles.shape[1] + 2)
    for index, column in enumerate(angles[kept].T):
        ax.plot(steps[kept], column, color=colors[index], linewidth=1.2)
    ax.set(title=panel.title, ylim=(0, 92), yticks=[0, 30, 60, 90], xlim=(0, None))
