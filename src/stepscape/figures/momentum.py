"""Losses with and without momentum, and where they part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.momentum import Twins
    from stepscape.study.run import Run

_FACTOR = 1e3
"""A ratio of losses beyond which it does not matter by how much."""


@member("momentum", source="arXiv:2307.15196")
class Momentum(Figure):
    """Training loss with and without momentum at the best effective learning rate without it, a column a batch size.

    Lines are medians over seeds, the band is the range of those without momentum. Below: final loss with momentum over
    that without, against the effective learning rate, median over seeds; in units of 2 / S, with S the median sharpness
    at the start, where that was measured. The ratio is 0.001 where only runs without momentum diverge, 1 where both do.
    """

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt
        import numpy as np

        from stepscape.analysis.momentum import sharpness_at_start, tuned, twins
        from stepscape.figures._style import finish, head, ordered_colors, style

        found = twins(ds)
        best = tuned(found)
        colors = ordered_colors(sorted({pair.beta for pair in found}))
        sharpness = list(sharpness_at_start(ds).values())
        scale = float(np.median(sharpness)) / 2 if sharpness else 1.0
        with style():
            columns = max(len(best), 1)
            figure, axes = plt.subplots(2, columns, figsize=(3.4 * columns + 1, 6), sharey="row", squeeze=False)
            for column, size in enumerate(sorted(best)):
                here = [pair for pair in found if pair.batch_size == size]
                _draw_losses(axes[0, column], [pair for pair in here if pair.lr == best[size]], colors)
                axes[0, column].set_title(f"batch {size}, effective lr {best[size]:g}")
                _draw_ratios(axes[1, column], here, colors, scale)
            finish(axes[0], "step", "training loss")
            finish(
                axes[1], "effective lr x S / 2" if sharpness else "effective lr", "final loss, with / without momentum"
            )
            if not found:
                axes[0, 0].text(0.5, 0.5, "no runs with and without momentum", ha="center")
            else:
                figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
            told = (
                "equal effective learning rates lr / (1 - beta); ratios: 0.001 where only runs without momentum diverge"
            )
            head(figure, ds.attrs.get("title", "Momentum"), f"{told}, 1 where both do")
        return figure


def _draw_losses(ax: Axes, held: Sequence[Twins], colors: Mapping[float, tuple[float, float, float]]) -> None:
    import numpy as np

    plain = held[0].plain
    ax.fill_between(held[0].steps, plain.min(axis=0), plain.max(axis=0), color="black", alpha=0.15, linewidth=0)
    ax.plot(held[0].steps, np.median(plain, axis=0), color="black", label="without momentum")
    for pair in held:
        middle = np.median(pair.heavy, axis=0)
        ax.plot(
            pair.steps, middle, "--", marker="o", markersize=3, color=colors[pair.beta], label=f"beta {pair.beta:g}"
        )
    ax.set(yscale="log")


def _draw_ratios(
    ax: Axes, held: Sequence[Twins], colors: Mapping[float, tuple[float, float, float]], scale: float
) -> None:
    import numpy as np

    for beta, color in colors.items():
        pairs = [pair for pair in held if pair.beta == beta]
        ratios = [np.median(_ratio(pair)) for pair in pairs]
        ax.plot([pair.lr * scale for pair in pairs], ratios, "o-", color=color, markersize=4)
    ax.axhline(1, color="black", linewidth=0.8)
    if scale != 1:
        ax.axvline(1, color="black", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", yscale="log")


def _ratio(pair: Twins) -> np.ndarray:
    """Of last losses, (seed,), cut at `_FACTOR` either way; 1 where both diverged."""
    import numpy as np

    return np.clip(pair.heavy[:, -1] / pair.plain[:, -1], 1 / _FACTOR, _FACTOR)
