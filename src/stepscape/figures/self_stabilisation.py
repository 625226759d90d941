"""The cycle of self-stabilisation, and what it predicts of loss and sharpness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Index, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.self_stabilisation import Oscillation
    from stepscape.study.run import Run

_MEASURED, _PREDICTED, _PATH = "0.35", "#d55e00", "#0072b2"


@member("self_stabilisation", source="arXiv:2209.15594, figures 3 and 5")
class SelfStabilisation(Figure):
    """One run: the cycle of oscillation x and sharpness y, |x| against steps, loss and sharpness, and their theory.

    The orange cycle is that of x' = y x, y' = alpha - beta x^2 / 2 at the rates at the first burst: a curve of constant
    y^2 / 2 + beta x^2 / 4 - alpha log |x|. Rates fall in training, so the measured cycle goes inwards.
    """

    nth: Annotated[Index, describe("which of the runs at the bound is drawn, from 0")] = 0

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("self_stabilisation",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt
        import seaborn as sns

        from stepscape.analysis.self_stabilisation import oscillation
        from stepscape.figures._style import head, style

        found = (oscillation(ds, run) for run in range(ds.sizes["run"]))
        held = [(of, seed) for of, seed in zip(found, ds.seed.values.tolist(), strict=True) if of is not None]
        with style():
            shape = (2, 2) if held else (1, 1)
            figure, axes = plt.subplots(*shape, figsize=(4.6 * shape[1], 3.6 * shape[0]), squeeze=False)
            title = ds.attrs.get("title", "Self-stabilisation")
            if held:
                of, seed = held[min(self.nth, len(held) - 1)]
                for draw, ax in zip((_cycle, _size, _loss, _sharpness), axes.flat, strict=True):
                    draw(ax, of)
                head(figure, title, f"seed {seed}, from the step at which the bound on the sharpness is met")
            else:
                axes[0, 0].text(0.5, 0.5, "no run has gradient descent beside it\nand met the bound", ha="center")
                axes[0, 0].set_xlabel("step")
                head(figure, title, "self-stabilisation")
            sns.despine(figure)
        return figure


def _cycle(ax: Axes, of: Oscillation) -> None:
    import numpy as np

    size = np.sqrt(of.settled.mean())
    points = ax.scatter(np.abs(of.x) / size, of.y, c=of.steps, s=10, cmap="viridis_r", zorder=3)
    ax.figure.colorbar(points, ax=ax, label="step")
    first = _first_burst(of)
    alpha, beta = float(of.alpha[first]), float(of.beta[first])
    x = np.geomspace(1e-3, 1, 4000) * 4 * np.sqrt(2 * alpha / beta)
    level = of.y[first] ** 2 / 2 + beta * of.x[first] ** 2 / 4 - alpha * np.log(abs(of.x[first]))
    height = 2 * (level - beta * x**2 / 4 + alpha * np.log(x))
    inside = height >= 0
    for sign in (-1, 1):
        ax.plot(x[inside] / size, sign * np.sqrt(height[inside]), color=_PREDICTED, linewidth=1.4)
    ax.set(
        xlabel=r"$|x| \,/\, \sqrt{2\alpha/\beta}$", ylabel="y: sharpness above 2 / lr", title="cycle", xlim=(0, None)
    )


def _first_burst(of: Oscillation) -> int:
    """Where |x| has its first maximum above the size at which it settles; the largest where it has none."""
    import numpy as np

    size = np.abs(of.x)
    tops = 1 + np.flatnonzero((size[1:-1] >= size[:-2]) & (size[1:-1] > size[2:]))
    tops = tops[size[tops] ** 2 > of.settled[tops]]
    return int(tops[0]) if len(tops) else int(size.argmax())


def _size(ax: Axes, of: Oscillation) -> None:
    import numpy as np

    ax.plot(of.steps, np.abs(of.x), color=_MEASURED, linewidth=1.2, label="|x|")
    ax.plot(of.steps, np.sqrt(of.settled), color=_PREDICTED, linewidth=1.6, label=r"$\sqrt{2\alpha/\beta}$")
    ax.set(xlabel="step", ylabel="oscillation", title="size", ylim=(0, None))
    ax.legend()


def _loss(ax: Axes, of: Oscillation) -> None:
    _compared(ax, of, of.loss, of.path_loss + of.x**2 / of.lr, r"path + $x^2$ / lr")
    ax.plot(of.steps, of.path_loss, color=_PATH, linewidth=1.4, label="constrained path")
    average = of.path_loss + of.settled / of.lr
    ax.plot(of.steps, average, color=_PATH, linewidth=1.4, linestyle=":", label=r"path + $2\alpha/(\beta$ lr)")
    ax.set(xlabel="step", ylabel="training loss", title="loss")
    ax.legend()


def _sharpness(ax: Axes, of: Oscillation) -> None:
    _compared(ax, of, of.sharpness, of.predicted_sharpness, "2 / lr + y + slope x")
    ax.axhline(2 / of.lr, color="black", linewidth=1, linestyle="--")
    ax.set(xlabel="step", ylabel="sharpness", title="sharpness")
    ax.legend()


def _compared(ax: Axes, of: Oscillation, measured: np.ndarray, predicted: np.ndarray, label: str) -> None:
    ax.plot(of.steps, measured, color=_MEASURED, linewidth=2.4, alpha=0.5, label="gradient descent")
    ax.plot(of.steps, predicted, color=_PREDICTED, linewidth=1.0, label=label)
