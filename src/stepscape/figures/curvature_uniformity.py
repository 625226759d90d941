"""How uniform the diagonal of the Hessian is, against the training loss."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Annotated

from stepscape.errors import StepscapeError
from stepscape.fields import Text, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
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
        from stepscape.figures._style import finish, head, style

        best = best_runs(ds)
        if not best:
            raise StepscapeError("curvature_uniformity: all runs diverged; lower the learning rates")
        sweeps: dict[Hashable, list[int]] = defaultdict(list)
        for each in best:
            sweeps[each.others].append(each.run)
        pairs: dict[Hashable, list[Matched]] = defaultdict(list)
        for pair in matched(ds, self.than, self.optimizer):
            pairs[pair.first.others].append(pair)
        with style():
            figure, axes = plt.subplots(len(sweeps), 2, figsize=(9, 3 * len(sweeps) + 0.8), squeeze=False)
            for (left, right), (kind, runs) in zip(axes, sweeps.items(), strict=True):
                _draw_paths(left, ds, runs)
                _draw_layers(right, pairs[kind])
                left.set_title(_title(ds, runs[0]))
                right.set_title("by layer")
            finish(list(axes[:, 0]), "training loss", "R_med")
            finish(list(axes[:, 1]), "layer", "")
            for ax in axes[:, 1]:
                ax.set_ylabel(f"R_med, {self.than} / {self.optimizer}")
            handles = {
                name: line for ax in axes[:, 0] for line, name in zip(*ax.get_legend_handles_labels(), strict=True)
            }
            figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
            head(figure, ds.attrs.get("title", "Curvature"), "R_med: largest over median |H_ii| of a layer")
        return figure


def _draw_paths(ax: Axes, ds: xr.Dataset, runs: Sequence[int]) -> None:
    import numpy as np
    import seaborn as sns

    from stepscape.analysis.matched_loss import descent

    names = sorted(set(ds.optimizer.values.tolist()))
    colors = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    for name in names:
        label: str | None = name
        for run in (run for run in runs if ds.optimizer.values[run] == name):
            found = descent(ds, run)
            means = np.exp(np.log(found.ratios).mean(axis=1))
            ax.plot(found.losses, means, marker="o", markersize=3, color=colors[name], label=label)
            label = None
    ax.set(xscale="log", yscale="log")
    ax.invert_xaxis()


def _draw_layers(ax: Axes, pairs: Sequence[Matched]) -> None:
    import numpy as np

    ax.axhline(1, color="0.5", linewidth=0.8)
    if not pairs:
        ax.text(0.5, 0.5, "their losses never meet", transform=ax.transAxes, ha="center")
        return
    ratios = np.stack([np.nanmedian(pair.ratios, axis=0) for pair in pairs])  # (seed, layer)
    middle = np.median(ratios, axis=0)
    layers = np.arange(1, ratios.shape[1] + 1)
    ax.errorbar(layers, middle, [middle - ratios.min(axis=0), ratios.max(axis=0) - middle], fmt="o", capsize=3)
    ax.set(yscale="log")
    ax.set_xticks(layers)


def _title(ds: xr.Dataset, run: int) -> str:
    return f"{ds.model.values[run]}, {ds.dataset.values[run]}"
