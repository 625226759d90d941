"""Spectra of weights and kernels before and after training."""

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

    from stepscape.analysis.spectra import Spectra
    from stepscape.study.run import Run

_SPECTRA = {
    "first_layer": "W^T W / h",
    "feature_kernel": "conjugate kernel",
    "tangent_kernel": "tangent kernel",
}

_BUDGET = ("budget", "budget_steps", "budget_epochs", "budget_samples")


@member("spectra_at_both_ends", source="arXiv:2211.06506")
class SpectraAtBothEnds(Figure):
    """Histograms of eigenvalues when first and when last measured: a column a configuration, a row a spectrum.

    The eigenvalues are on a logarithmic axis, where those that are 0 have no place; those of the last measurement also
    as ticks below, where single ones are seen. Drawn is the lowest seed that did not diverge. The line is the
    Marchenko-Pastur law of the weights at the start.
    """

    bins: Annotated[Count, describe("bins of a histogram")] = 50
    columns: Annotated[Count, describe("configurations at most; of more, some evenly spread")] = 5

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("first_layer",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt
        import numpy as np

        from stepscape.analysis.spectra import both_ends
        from stepscape.figures._configurations import lowest_seeds, run_title
        from stepscape.figures._style import finish, head, style

        measured = np.array([ends is not None for ends in both_ends(ds, "first_layer")])
        shown = lowest_seeds(ds, measured, self.columns)
        rows = [name for name in _SPECTRA if f"{name}_eigenvalue" in ds]
        with style():
            size = (0.6 + 3.0 * max(len(shown), 1), 1.4 + 2.3 * len(rows))
            figure, axes = plt.subplots(
                len(rows), max(len(shown), 1), figsize=size, squeeze=False, sharex="row", sharey="row"
            )
            for line, name in zip(axes, rows, strict=True):
                for ax, index in zip(line, shown, strict=False):
                    self._draw_panel(ax, ds, name, index)
                finish(list(line), "eigenvalue" if name == rows[-1] else "", f"{_SPECTRA[name]}\nshare per decade")
            for ax, index in zip(axes[0], shown, strict=False):
                ax.set_title(run_title(ds, index, but=_BUDGET).replace(", ", "\n"))
            handles, labels = axes[0, 0].get_legend_handles_labels()
            if handles:
                figure.legend(handles, labels, loc="outside lower center", ncols=3)
            else:
                axes[0, 0].set_title("no spectrum was measured twice")
            told = "of each configuration the lowest seed; ticks: eigenvalues after training"
            head(figure, ds.attrs.get("title", "Spectra before and after training"), told)
        return figure

    def _draw_panel(self, ax: Axes, ds: xr.Dataset, name: str, index: int) -> None:
        import numpy as np

        from stepscape.analysis.spectra import both_ends, start_law

        ends = both_ends(ds.isel(run=[index]), name)[0]
        ax.set(xscale="log")
        if ends is None:
            ax.text(0.5, 0.5, "not measured", ha="center", va="center", transform=ax.transAxes)
            return
        edges = _bins(ends, self.bins)
        for values, color, label in ((ends.first, "0.6", "before training"), (ends.last, "C0", "after training")):
            counts, _ = np.histogram(values, edges)
            height = counts / len(values) / np.diff(np.log10(edges))
            filled = label.startswith("before")
            ax.stairs(height, edges, fill=filled, color=color, linewidth=0 if filled else 1.4, label=label)
        above = ends.last[ends.last > 0]
        ax.plot(above, np.full(len(above), 0.03), "|", color="C1", markersize=6, transform=ax.get_xaxis_transform())
        if name == "first_layer":
            law = start_law(ds, index)
            at = np.geomspace(max(law.edges[0], edges[0]), law.edges[1], 400)
            ax.plot(at, at * np.log(10) * law.density(at), color="black", linewidth=1, label="Marchenko-Pastur")


def _bins(ends: Spectra, count: int) -> np.ndarray:
    """Edges of bins, evenly in the logarithm, from the least eigenvalue above 0 of the two spectra to the largest."""
    import numpy as np

    both = np.concatenate([ends.first, ends.last])
    above = both[both > 0]
    largest, least = (float(above.max()), float(above.min())) if len(above) else (1.0, 0.1)
    return np.geomspace(0.99 * least, 1.01 * largest, count + 1)
