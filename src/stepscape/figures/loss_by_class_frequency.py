"""The loss of frequent and of rare classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Several, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.class_groups import Best
    from stepscape.study.run import Run

_LABELS = "group of classes, frequent to rare", "final training loss"


@member("loss_by_class_frequency", source="arXiv:2402.19449")
class LossByClassFrequency(Figure):
    """Final training loss of groups of classes of nearly as many samples, from the most frequent to the rarest.

    A line an optimizer, at the learning rate of least final training loss: mean and range over seeds and draws of the
    data. A panel for whatever else varies.
    """

    groups: Annotated[Several, describe("groups of classes", "groups")] = 7

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",), ("per_class",))

    def draw(self, ds: xr.Dataset) -> Drawing:
        from stepscape.analysis.class_groups import best_runs
        from stepscape.figures._panels import panel_grid
        from stepscape.figures._style import blank, finish, head, style

        best = best_runs(ds)
        if not best:
            return blank(ds, "all runs diverged", *_LABELS)
        kinds = list(dict.fromkeys(each.others for each in best))
        colors = _colors(ds)
        width = 4.2 if len(kinds) > 1 else 6.0  # room for the words above
        with style():
            figure, drawn = panel_grid(len(kinds), width=width, height=3.4, margin=1.0, sharey=True)
            for ax, kind in zip(drawn, kinds, strict=True):
                here = [each for each in best if each.others == kind]
                _draw_panel(ax, ds, here, self.groups, colors)
                ax.set(yscale="log", title=_title(ds, here[0]))
            _add_legend(figure, drawn)
            finish(drawn, *_LABELS)
            explanation = (
                f"{self.groups} groups of nearly as many samples; best learning rate; mean and range over seeds"
            )
            head(figure, ds.attrs.get("title", "Loss by class frequency"), explanation)
        return figure


def _draw_panel(ax: Axes, ds: xr.Dataset, here: list[Best], groups: int, colors: dict[str, object]) -> None:
    import numpy as np

    from stepscape.analysis.class_groups import group_losses

    places = np.arange(1, groups + 1)
    for label in dict.fromkeys(str(ds.optimizer.values[each.run]) for each in here):
        runs = [each.run for each in here if ds.optimizer.values[each.run] == label]
        losses = group_losses(ds, runs, groups)
        kept = np.isfinite(losses).all(axis=0)
        ax.fill_between(
            places[kept], losses[:, kept].min(axis=0), losses[:, kept].max(axis=0), color=colors[label], alpha=0.2
        )
        ax.plot(places[kept], losses[:, kept].mean(axis=0), "o-", color=colors[label], label=label, markersize=4)
    ax.set_xticks(places)


def _add_legend(figure: Drawing, axes: list[Axes]) -> None:
    """One for all panels, each optimizer once."""
    entries = {str(label): handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=min(len(entries), 5))


def _colors(ds: xr.Dataset) -> dict[str, object]:
    import seaborn as sns

    labels = list(dict.fromkeys(ds.optimizer.values.tolist()))
    return dict(zip(labels, sns.color_palette("colorblind", len(labels)), strict=True))


def _title(ds: xr.Dataset, best: Best) -> str:
    """The model, and the settings in which datasets of this kind differ, or else their kind."""
    import numpy as np

    from stepscape.analysis.grouping import differing

    kind = str(ds.dataset_name.values[best.run]) if "dataset_name" in ds.coords else ""
    alike = ds.isel(run=np.flatnonzero(ds.dataset_name.values == kind)) if kind else ds
    of_data = [key for key in differing(alike, ()) if key.startswith("dataset_") and key != "dataset_subset_seed"]
    told = [
        f"{key.removeprefix('dataset_')} {ds[key].values[best.run]:g}" for key in of_data if ds[key].dtype.kind in "if"
    ]
    several = kind and len(set(ds.dataset_name.values.tolist())) > 1
    return "\n".join([str(ds.model.values[best.run]), ", ".join([kind] * bool(several) + told)]).strip()
