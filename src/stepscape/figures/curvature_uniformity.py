"""How uniform the diagonal of the Hessian is, against the training loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Text, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.matched_loss import Matched
    from stepscape.study.run import Run


@member("curvature_uniformity", source="Jiang, Malik & Li, arXiv:2211.02254")
class CurvatureUniformity(Figure):
    """R_med of the Hessian's diagonal against the training loss, and its ratio between two optimizers in each layer.

    A row a model and dataset, every optimizer at its learning rate of least final training loss. Left: the geometric
    mean over layers, a line a seed; training goes to the right. Right: `than` over `optimizer` at equal losses, median
    over losses; bars are ranges over seeds.
    """

    optimizer: Annotated[Text, describe("label or name of the one that is said to be more uniform")] = "adam"
    than: Annotated[Text, describe("label or name of the other")] = "heavy_ball"

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",), ("layer_diagonals",))

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt

        from stepscape.analysis.class_groups import best_runs
        from stepscape.analysis.matched_loss import matched
        from stepscape.figures._style import blank, head, style

        best = best_runs(ds)
        if not best:
            return blank(ds, "all runs diverged", "training loss", "R_med")
        sweeps = list(dict.fromkeys(each.others for each in best))
        pairs = matched(ds, self.than, self.optimizer)
        colors = _colors(ds)
        with style():
            size = (9, 2.9 * len(sweeps) + 1.2)
            figure, axes = plt.subplots(len(sweeps), 2, figsize=size, squeeze=False, width_ratios=[3, 2])
            for (left, right), sweep in zip(axes, sweeps, strict=True):
                runs = [each.run for each in best if each.others == sweep]
                _draw_paths(left, ds, runs, colors)
                _draw_layers(right, [pair for pair in pairs if pair.first.others == sweep])
                left.set_title(_title(ds, runs[0]))
            self._finish(figure, axes)
            words = "R_med: largest over median |H_ii| of a layer, each optimizer at its best learning rate; "
            head(figure, ds.attrs.get("title", "Curvature"), words + "right: ratio at equal losses, bars: all seeds")
        return figure

    def _finish(self, figure: Drawing, axes: np.ndarray) -> None:
        from stepscape.figures._style import finish

        finish(list(axes[:, 0]), "training loss (training goes to the right)", "R_med, mean over layers")
        finish(list(axes[:, 1]), "layer, from the input on", "")
        for ax in axes[:, 1]:
            ax.set_ylabel(f"R_med, {self.than} / {self.optimizer}")
        entries = {
            str(name): line for ax in axes[:, 0] for line, name in zip(*ax.get_legend_handles_labels(), strict=True)
        }
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=min(len(entries), 5))


def _draw_paths(ax: Axes, ds: xr.Dataset, runs: Sequence[int], colors: Mapping[str, object]) -> None:
    import numpy as np

    from stepscape.analysis.matched_loss import descent

    for name in dict.fromkeys(str(ds.optimizer.values[run]) for run in runs):
        label: str | None = name
        for run in (run for run in runs if ds.optimizer.values[run] == name):
            found = descent(ds, run)
            means = found.over_layers
            if np.isfinite(means).any():
                ax.plot(found.losses, means, "o-", markersize=3, color=colors[name], label=label)
                label = None
    ax.set(xscale="log", yscale="log")
    ax.invert_xaxis()
    _label_plainly(ax.xaxis, ax.yaxis)


def _draw_layers(ax: Axes, pairs: Sequence[Matched]) -> None:
    import numpy as np

    ratios = np.array([pair.of_layers for pair in pairs if np.isfinite(pair.middle)])  # (seeds, layers)
    ax.axhline(1, color="0.5", linewidth=0.8)
    if not len(ratios):
        ax.text(0.5, 0.6, "no equal losses", transform=ax.transAxes, ha="center")
        return
    middle = np.median(ratios, axis=0)
    layers = np.arange(1, ratios.shape[1] + 1)
    known = np.isfinite(middle)
    bars = [middle - ratios.min(axis=0), ratios.max(axis=0) - middle]
    ax.errorbar(layers[known], middle[known], [bar[known] for bar in bars], fmt="o", color="0.2", capsize=3)
    ax.set(yscale="log", xlim=(0.5, len(layers) + 0.5))
    ax.set_xticks(layers)
    _label_plainly(ax.yaxis)


def _label_plainly(*axes: Axis) -> None:
    """Numbers rather than powers of ten, also between these where an axis spans few."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    for axis in axes:
        axis.set_major_formatter(Plain())
        axis.set_minor_formatter(Plain(minor_thresholds=(1.2, 0.5)))


def _colors(ds: xr.Dataset) -> dict[str, object]:
    import seaborn as sns

    labels = list(dict.fromkeys(ds.optimizer.values.tolist()))
    return dict(zip(labels, sns.color_palette("colorblind", len(labels)), strict=True))


def _title(ds: xr.Dataset, run: int) -> str:
    """The model, the kind of data, and how long it trains where others of this model train for another time."""
    words = [str(ds[key].values[run]) for key in ("model", "dataset_name") if key in ds.coords]
    if "budget" in ds.coords and len(set(ds.budget.values[ds.model.values == ds.model.values[run]].tolist())) > 1:
        words.append(str(ds.budget.values[run]))
    return ", ".join(words)
