"""The spectrum of the Hessian at the start and at the end of runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from stepscape.fields import Count, Fraction, PositiveReal, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.study.run import Run

_POINTS = 1000
_REACH = 6  # kernel widths beyond the nodes: e^-18 of a million eigenvalues is below one
_TRACKED = ("hessian_eigenvalue", "hessian_bottom", "subspace_eigenvalue")


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """A spectrum as it was measured: nodes and weights (probes, m), and the number of all eigenvalues."""

    step: int
    nodes: np.ndarray
    weights: np.ndarray
    dim: int
    tracked: np.ndarray

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return float(abs(self.nodes).max())


@member("spectral_density", source="arXiv:1901.10159; arXiv:1611.07476")
class SpectralDensity(Figure):
    """The Hessian's spectrum at the first and last step it was measured at; a row a configuration, its lowest seed.

    Left: the density, P (1/P) sum_j w_j N(x; x_j, width^2) averaged over probes, with ticks at eigenvalues that were
    tracked and a line at the stability threshold of the Hessian where the optimizer has one. The legend holds the
    least and the largest node: the kernel widens the ends. Right: the counting function N(|x| > s), which needs no
    kernel, and the part of it that is negative; not drawn where the quadrature resolves nothing.
    """

    width: Annotated[PositiveReal, describe("standard deviation of the kernel", "eigenvalues")] = 0.15
    resolved: Annotated[Fraction, describe("where counting starts", "largest magnitudes of an eigenvalue")] = 0.03
    rows: Annotated[Count, describe("configurations shown at most, spread evenly over those that measured it")] = 6

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_density",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt

        from stepscape.figures._configurations import run_title
        from stepscape.figures._style import style

        shown, of = self._shown(ds)
        with style():
            lines = max(len(shown), 1)
            figure, axes = plt.subplots(lines, 2, figsize=(10.5, 0.6 + 3.7 * lines), squeeze=False)
            for (left, right), index in zip(axes, shown, strict=False):
                left.set_title(run_title(ds, index))
                self._draw_row(left, right, ds.isel(run=[index]))
            if not shown:
                axes[0, 0].set_title("no spectrum was measured")
            _label(axes)
            figure.suptitle(
                f"{ds.attrs.get('title', 'Spectrum of the Hessian')}\n"
                f"{len(shown)} of {of} configurations, lowest seed; left: kernel {self.width:g}, ticks: tracked "
                f"eigenvalues; right: no kernel, from {self.resolved:g} of the largest",
                x=0.01,
                ha="left",
                fontsize="medium",
            )
        return figure

    def _shown(self, ds: xr.Dataset) -> tuple[list[int], int]:
        """The runs to draw, and the number of all configurations."""
        from stepscape.analysis.grouping import configurations
        from stepscape.figures._configurations import lowest_seeds

        measured = (ds.hessian_frobenius.values > 0).any(axis=1)
        return lowest_seeds(ds, measured, self.rows), len(set(configurations(ds)))

    def _draw_row(self, left: Axes, right: Axes, run: xr.Dataset) -> None:
        import seaborn as sns

        from stepscape.figures._style import legend_below

        spectra = _spectra(run)
        colors = dict(zip(spectra, sns.color_palette("colorblind"), strict=False))
        for place, (spectrum, color) in enumerate(colors.items()):
            self._draw_density(left, spectrum, color, place)
            self._draw_count(right, spectrum, color)
        threshold = _threshold(run)
        if threshold is not None:
            inside = threshold < 2 * max(spectrum.largest for spectrum in spectra)
            for ax in (left, right):
                _draw_threshold(ax, threshold, inside)
        peak = 1 / (self.width * (2 * math.pi) ** 0.5)  # of a single eigenvalue
        left.set(yscale="log", ylim=(peak / 10, None))
        right.set(xscale="log", yscale="log", ylim=(0.5, None))
        legend_below(left, "from the least node to the largest")
        legend_below(right, "all, and dotted the negative ones")

    def _draw_density(self, ax: Axes, spectrum: _Spectrum, color: tuple[float, float, float], place: int) -> None:
        import numpy as np

        from stepscape.curvature import density_curve

        least, largest = spectrum.nodes.min(), spectrum.nodes.max()
        at = np.linspace(least - _REACH * self.width, largest + _REACH * self.width, _POINTS)
        curve = spectrum.dim * density_curve(spectrum.nodes, spectrum.weights, at, self.width)
        ax.plot(at, curve, color=color, linewidth=1.6, label=f"step {spectrum.step}: {least:.3g} to {largest:.3g}")
        ax.fill_between(at, curve, color=color, alpha=0.12, linewidth=0)
        heights = np.full(len(spectrum.tracked), 0.03 + 0.05 * place)
        rug = ax.get_xaxis_transform()
        ax.plot(spectrum.tracked, heights, color=color, linestyle="none", marker="|", markersize=8, transform=rug)

    def _draw_count(self, ax: Axes, spectrum: _Spectrum, color: tuple[float, float, float]) -> None:
        import numpy as np

        from stepscape.curvature import counting_function

        start = self.resolved * spectrum.largest
        sizes = np.unique(abs(spectrum.nodes))
        levels = np.concatenate([[start], sizes[sizes > start]])
        negative = np.where(spectrum.nodes < 0, spectrum.weights, 0)
        for weights, dots in ((spectrum.weights, "-"), (negative, ":")):
            numbers = counting_function(spectrum.nodes, weights, levels, spectrum.dim)
            label = f"step {spectrum.step}" if dots == "-" else None
            ax.plot(levels, numbers, color=color, linestyle=dots, drawstyle="steps-post", linewidth=1.6, label=label)


def _spectra(run: xr.Dataset) -> list[_Spectrum]:
    """The first and the last spectrum of a run, or its only one; where a probe failed there is none."""
    import numpy as np

    measured = np.flatnonzero(run.hessian_frobenius.values[0] > 0)
    return [_spectrum(run, index) for index in dict.fromkeys(measured[[0, -1]].tolist())]


def _spectrum(run: xr.Dataset, index: int) -> _Spectrum:
    import numpy as np

    from stepscape.analysis.clocks import clock_of

    nodes, weights = run.density_node.values[0, index], run.density_weight.values[0, index]
    held = np.isfinite(nodes)  # others of the dataset may have more probes, or more nodes
    probes, columns = held.any(axis=1), held.any(axis=0)
    nodes, weights = nodes[probes][:, columns], weights[probes][:, columns]
    square = (weights * nodes**2).sum(axis=1).mean()  # |H|_F^2 / P
    dim = round(float(run.hessian_frobenius.values[0, index]) ** 2 / square)
    step = int(clock_of(run, "density_node")[index])
    return _Spectrum(step, nodes, weights, dim, _tracked(run, step))


def _tracked(run: xr.Dataset, step: int) -> np.ndarray:
    """All eigenvalues that were solved for at a step."""
    import numpy as np

    from stepscape.analysis.clocks import clock_of

    found = [run[name].values[0, clock_of(run, name) == step].ravel() for name in _TRACKED if name in run]
    values = np.unique(np.concatenate([np.empty(0), *found]))
    return values[np.isfinite(values)]


def _threshold(run: xr.Dataset) -> float | None:
    """The largest stable eigenvalue of the Hessian when it was last measured."""
    import numpy as np

    values = run.hessian_threshold.values[0] if "hessian_threshold" in run else np.empty(0)
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else None


def _draw_threshold(ax: Axes, threshold: float, inside: bool) -> None:
    """A line, or only a word in the legend where it lies so far right that it would squeeze the spectrum."""
    look: dict[str, Any] = {"color": "black", "linewidth": 1, "linestyle": "--"}
    ax.plot([], [], label=f"threshold {threshold:.3g}{'' if inside else ', right of the axis'}", **look)
    if inside:
        ax.axvline(threshold, **look)


def _label(axes: np.ndarray) -> None:
    import seaborn as sns

    for left, right in axes:
        left.set(xlabel="eigenvalue", ylabel="eigenvalues per unit")
        right.set(xlabel="magnitude s", ylabel="eigenvalues beyond s")
        for ax in (left, right):
            sns.despine(ax=ax)
