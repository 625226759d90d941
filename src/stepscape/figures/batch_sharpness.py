"""How much sharper batches are than the training set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from stepscape.analysis.batch_hessian import BatchSharpness
    from stepscape.study.run import Run

_PREDICTIONS = (("isotropic", "noise alike in all directions", "--"), ("top", "noise across the top eigenvector", "-"))


@member("batch_sharpness", source="arXiv:2006.09092")
class BatchSharpnessFigure(Figure):
    """lambda_1(B) / lambda_1(N) - 1 against 1/B - 1/N, at points where runs stand still.

    Points and bars are median and range over seeds, each the mean over batches. Lines are what random-matrix theory
    predicts from the measured noise of the Hessian, median over seeds; bends are where the noise's own spectrum takes
    over. The exponent is the one that `batch_sharpness_exponent` judges.
    """

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_top",), ("hessian_noise",)) if run.is_full_batch else (("batch_top",),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        import matplotlib.pyplot as plt

        from stepscape.analysis.batch_hessian import batch_sharpness
        from stepscape.figures._style import finish, head, legend_below, style

        points = batch_sharpness(ds) if "batch_hessian_eigenvalue" in ds else []
        with style():
            figure, ax = plt.subplots(figsize=(6, 5))
            finish([ax], "1/B - 1/N", "excess sharpness")
            if points:
                _draw_points(ax, points)
                _draw_predictions(ax, points)
                ax.set(xscale="log", yscale="log")
                _label_sizes(ax, points[0])
                legend_below(ax, "", columns=1)
            else:
                ax.text(0.5, 0.5, "no seed has eigenvalues of batches beside\nthose of all samples", ha="center")
            explanation = (
                "sharpness of a batch of B over that of all N samples, less 1; points: median and range over "
                f"{len(points)} seeds, each a mean over batches; above: B"
            )
            head(figure, ds.attrs.get("title", "Sharpness of batches"), explanation)
        return figure


def _draw_points(ax: Axes, points: list[BatchSharpness]) -> None:
    import numpy as np

    from stepscape.analysis.batch_hessian import excess_exponent

    sizes = sorted({size for point in points for size in point.batches})
    seeds = [[point.excess(size) for point in points if size in point.batches] for size in sizes]
    middle, least, most = np.array([[np.median(of), min(of), max(of)] for of in seeds]).T
    slope = excess_exponent(points)
    label = "measured"
    if slope is not None:
        interval = slope.interval()
        label += f" ~ (1/B - 1/N)^{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    ax.errorbar(
        [points[0].inverse_size(size) for size in sizes],
        middle,
        yerr=[middle - least, most - middle],
        label=label,
        color="black",
        marker="o",
        linestyle="none",
        capsize=2,
    )


def _draw_predictions(ax: Axes, points: list[BatchSharpness]) -> None:
    import numpy as np
    import seaborn as sns

    inverses = [point.inverse_size(size) for point in points for size in point.batches]
    x = np.geomspace(min(inverses) / 1.3, max(inverses) * 1.3, 200)
    colors = sns.color_palette("colorblind")
    for (noise, words, line), color in zip(_PREDICTIONS, colors, strict=False):
        y = np.median([[point.predicted(inverse, noise) for inverse in x] for point in points], axis=0)  # type: ignore[arg-type]
        ax.plot(x, y, line, color=color, label=f"predicted, {words}")


def _label_sizes(ax: Axes, point: BatchSharpness) -> None:
    """The batch sizes along the upper edge."""
    above = ax.secondary_xaxis("top")
    above.set_xticks([point.inverse_size(size) for size in point.batches], [str(size) for size in point.batches])
    above.set_xticks([], minor=True)
    above.tick_params(length=2)
