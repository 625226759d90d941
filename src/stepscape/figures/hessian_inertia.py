"""How long the Hessian's top subspace lasts: its overlap between all pairs of measurements."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

from stepscape.errors import StepscapeError
from stepscape.fields import Count, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.figures._panels import Panel
    from stepscape.study.run import Run

_LIGHT = "#9bf0ff"  # seen on all of rocket, with a dark rim
_UNMEASURED = "0.82"
_LETTERS = 12  # of a title in an inch


@member("hessian_inertia", source="arXiv:1812.04754")
class HessianInertia(Figure):
    """Overlap |U_s U_t^T|_F^2 / k of the top k eigenvectors' span at steps s and t, mean over seeds.

    One panel for each learning rate, and whatever else varies. Dashed lines stand where the sharpness was first
    measured at its stability threshold or above (median over the seeds that got there). The mark on the colour bar is
    the null: the most that a subspace shares, on average, with itself after its coordinates were permuted inside each
    weight and bias. The diagonal, which is 1, is left out; grey was not measured. From the sketches of
    `hessian_subspace`.
    """

    k: Annotated[
        Count | None, describe("number of leading eigenvectors; default: as many as every run has recorded")
    ] = None

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_subspace",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        from stepscape.analysis.clocks import clock_of
        from stepscape.figures._panels import panels
        from stepscape.figures._style import style

        if "subspace_sketch" not in ds:
            raise StepscapeError("no run holds sketches of its subspaces; give hessian_subspace a `sketch` above 0")
        k = min(_recorded_vectors(ds), self.k or ds.sizes["vector"])
        with style():
            figure, parts = panels(_rates_named(ds), 4.7, 4.2)  # nearly square maps
            ends = _edges(clock_of(ds, "subspace_sketch"))[[0, -1]]
            for panel in parts:
                _draw_panel(panel, k)
                panel.ax.set(xlim=ends, ylim=ends)
            _add_bar(figure, parts, ds, k)
            text = "a cell: two steps of a run, mean over seeds; dashed: sharpness first at its threshold"
            title = [ds.attrs.get("title", "Overlap of top Hessian subspaces"), text]
            lines = [line for part in title for line in wrap(part, int(_LETTERS * figure.get_figwidth()))]
            figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize="medium")
        return figure


def _rates_named(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with learning rates as a setting that tells panels apart."""
    names = ["none" if lr != lr else f"{lr:.12g}" for lr in ds.lr.values.tolist()]
    return ds.assign_coords(learning_rate=("run", names))


def _recorded_vectors(ds: xr.Dataset) -> int:
    """The least number of vectors, over the runs that measured any: others are padded with NaN."""
    import numpy as np

    counts = np.isfinite(ds.subspace_sketch.values).any(axis=(1, 3)).sum(axis=1)
    return int(counts[counts > 0].min(initial=ds.sizes["vector"]))


def _mean_overlap(ds: xr.Dataset, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n,) at which any of the runs was measured, and the mean over runs of their overlap maps, (n, n)."""
    import numpy as np

    from stepscape.analysis.clocks import clock_of
    from stepscape.analysis.subspaces import overlap_map

    sketches = ds.subspace_sketch.values[:, :, :k]
    finite = np.isfinite(sketches)
    measured, entries = finite.any(axis=(0, 2, 3)), finite.any(axis=(0, 1, 2))
    held = sketches[:, measured][..., entries]
    maps = np.ma.masked_invalid([overlap_map(run) for run in held])
    return clock_of(ds, "subspace_sketch")[measured], np.ma.filled(maps.mean(axis=0), np.nan)


def _edges(steps: np.ndarray) -> np.ndarray:
    """Borders (n + 1,) of cells around n >= 1 steps: half way to the neighbours."""
    import numpy as np

    between = (steps[1:] + steps[:-1]) / 2
    first, last = (between[0] - steps[0], steps[-1] - between[-1]) if len(steps) > 1 else (0.5, 0.5)
    return np.concatenate([[steps[0] - first], between, [steps[-1] + last]])


def _draw_panel(panel: Panel, k: int) -> None:
    import numpy as np

    ax, crossings = panel.ax, _crossings(panel.ds)
    steps, overlaps = _mean_overlap(panel.ds, k)
    np.fill_diagonal(overlaps, np.nan)
    if len(steps):
        edges = _edges(steps)
        ax.pcolormesh(edges, edges, overlaps, cmap="rocket", vmin=0, vmax=1, rasterized=True)
    if crossings:
        _draw_crossing(ax, float(np.median(crossings)))
    ax.set(facecolor=_UNMEASURED, xlabel="step")
    if ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
        ax.set_ylabel("step")
    ax.set_title(f"{panel.title}\n{_fate(panel.ds, crossings)}")


def _crossings(ds: xr.Dataset) -> list[int] | None:
    """First measured step at the threshold, of each run that came to it; None where no sharpness was measured."""
    from stepscape.analysis.edge import EdgeRule, sharpness_ratio

    if not {"hessian_eigenvalue", "preconditioned_eigenvalue"} & set(ds.data_vars):
        return None
    ratio = sharpness_ratio(ds)
    if not ratio.notnull().any():
        return None
    at_edge = (ratio >= 1) & (ratio.measured_step >= EdgeRule().settled)
    return [int(ratio.measured_step.values[row.argmax()]) for row in at_edge.values if row.any()]


def _fate(ds: xr.Dataset, crossings: list[int] | None) -> str:
    """What became of the runs of a panel, in words."""
    import numpy as np

    runs = ds.sizes["run"]
    diverged = ds.n_steps.values[ds.status.values == "diverged"]
    words = []
    if crossings:
        which = "" if len(crossings) == runs else f" ({len(crossings)} of {runs} seeds)"
        words.append(f"at the edge from step {np.median(crossings):g}{which}")
    elif len(diverged) < runs:
        words.append("sharpness not measured" if crossings is None else "never at the edge")
    if len(diverged):
        words.append(f"{len(diverged)} of {runs} diverged, the first at step {diverged.min()}")
    return "\n".join(words)


def _draw_crossing(ax: Axes, step: float) -> None:
    from matplotlib.patheffects import Normal, Stroke

    rim = [Stroke(linewidth=2.4, foreground="0.25"), Normal()]
    for line in (ax.axvline(step), ax.axhline(step)):
        line.set(color=_LIGHT, linewidth=1.3, linestyle="--", path_effects=rim)


def _add_bar(figure: Drawing, panels: list[Panel], ds: xr.Dataset, k: int) -> None:
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    axes = [panel.ax for panel in panels]
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), "rocket"), ax=axes, aspect=18 * _lines(axes), pad=0.02)
    bar.set_label(f"overlap of the top-{k} subspaces")
    nulls = ds.subspace_null.values if "subspace_null" in ds else np.empty(0)
    if np.isfinite(nulls).any():
        null = float(np.nanmax(nulls))
        bar.ax.axhline(null, color=_LIGHT, linewidth=2.5)
        bar.ax.text(-0.2, null, f"null\n{null:.2f}", transform=bar.ax.get_yaxis_transform(), ha="right", va="center")


def _lines(axes: list[Axes]) -> int:
    return int(axes[0].get_gridspec().nrows)  # type: ignore[union-attr]
