"""How fast the training loss falls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Count, Real, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.study.run import Run


@member("loss_decay", source="Xu & Du, arXiv:2302.10034")
class LossDecay(Figure):
    """Training loss against steps: on the left with both axes logarithmic, where a power of the step is straight.

    On the right the first steps with a linear axis, where an exponential is straight. A line a run, a colour a model or
    whatever else varies, seeds alike. The dashed line has the slope `exponent` and ends above the run that came
    furthest: a guide for the eye, no fit.
    """

    exponent: Annotated[Real, describe("slope of the dashed line")] = -3.0
    first: Annotated[Count, describe("steps in the right panel", "steps")] = 200

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt

        from stepscape.figures._style import finish, head, style

        with style():
            figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.4), sharey=True)
            self._draw_curves(left, right, ds)
            figure.legend(loc="outside lower center", ncols=2)
            finish([left, right], "step", "training loss")
            explanation = f"dashed: slope {self.exponent:g} (a guide, not a fit); right: a straight line is exponential"
            head(figure, ds.attrs.get("title", "Training loss"), explanation)
        return figure

    def _draw_curves(self, left: Axes, right: Axes, ds: xr.Dataset) -> None:
        import numpy as np
        import seaborn as sns

        from stepscape.analysis.clocks import clock_of

        steps = clock_of(ds, "train_loss")
        groups = _groups(ds)
        colors = dict(zip(dict.fromkeys(groups), sns.color_palette("colorblind", len(set(groups))), strict=True))
        for losses, group in zip(ds.train_loss.values.astype(float), groups, strict=True):
            kept = np.isfinite(losses) & (losses > 0)
            late = kept & (steps > 0)
            left.plot(steps[late], losses[late], color=colors[group], linewidth=1.2, alpha=0.8)
            early = kept & (steps <= self.first)
            right.plot(steps[early], losses[early], color=colors[group], linewidth=1.2, alpha=0.8)
        for group, color in colors.items():
            left.plot([], [], color=color, label=group)
        _draw_guide(left, ds, steps, self.exponent)
        left.set(xscale="log", yscale="log", title="all steps")
        right.set(yscale="log", xlim=(0, None), title=f"the first {self.first} steps")


def _groups(ds: xr.Dataset) -> list[str]:
    """What tells each run from those that are not its seeds."""
    from stepscape.analysis.grouping import differing

    keys = [key for key in differing(ds, ("full_batch",)) if key in _SAID or not key.startswith(_PREFIXES)]
    columns = [[f"{value}" if key in _SAID else f"{key} {value}" for value in ds[key].values.tolist()] for key in keys]
    return [", ".join(row) for row in zip(*columns, strict=True)] if columns else ["all runs"] * ds.sizes["run"]


_SAID = ("optimizer", "model", "dataset", "loss", "schedule")
_PREFIXES = ("budget", *(f"{key}_" for key in _SAID))


def _draw_guide(ax: Axes, ds: xr.Dataset, steps: np.ndarray, exponent: float) -> None:
    """Through the last loss of the run that came furthest, a factor 3 above it."""
    import numpy as np

    curves = [(steps[kept], row[kept]) for row in ds.train_loss.values for kept in [np.isfinite(row) & (steps > 0)]]
    ends = [(x[-1], y[-1]) for x, y in curves if len(x) > 1 and y[-1] > 0]
    if not ends:
        return
    end, height = max(ends)
    x = np.array([end / 30, end])
    ax.plot(x, 3 * height * (x / end) ** exponent, color="black", linewidth=1, linestyle="--")
