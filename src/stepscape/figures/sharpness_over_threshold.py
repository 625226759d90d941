"""Sharpness over its stability threshold along runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Fraction, PositiveReal, describe
from stepscape.figures import Figure
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure as Drawing

    from stepscape.figures._panels import Panel
    from stepscape.study.run import Run


@member("sharpness_over_threshold", source="arXiv:2103.00065, figure 1; arXiv:2207.14484, figure 1")
class SharpnessOverThreshold(Figure):
    """Largest eigenvalue of P^-1 H over the optimizer's threshold: median over seeds, band from least to largest.

    Step 0 of preconditioned optimizers is left out: P comes from a single gradient there. Judging starts at the dotted
    line; the grey band is what claims ask for.
    """

    low: Annotated[PositiveReal, describe("lower end of the grey band", "thresholds")] = 0.95
    high: Annotated[PositiveReal, describe("upper end of the grey band", "thresholds")] = 1.10
    judged_from: Annotated[Fraction, describe("share of the updates at which the dotted line stands")] = 2 / 3
    top: Annotated[PositiveReal, describe("upper end of the vertical axis", "thresholds")] = 1.75

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("preconditioned_top",) if run.optimizer.preconditions else ("hessian_top", "preconditioned_top"),)

    def draw(self, ds: xr.Dataset) -> Drawing:
        from stepscape.figures._panels import panels
        from stepscape.figures._style import finish, head, style

        with style():
            figure, parts = panels(ds, 3.8, 4.0)
            for panel in parts:
                self._draw_panel(panel)
            finish([panel.ax for panel in parts], "step", "sharpness / threshold")
            explanation = (
                f"line: median over seeds, band: least to largest; grey: {self.low:g} to {self.high:g} of the "
                "stability threshold; judged right of the dotted line"
            )
            head(figure, ds.attrs.get("title", "Sharpness over its threshold"), explanation)
        return figure

    def _draw_panel(self, panel: Panel) -> None:
        import seaborn as sns

        from stepscape.analysis.edge import sharpness_ratio
        from stepscape.figures._style import legend_below, ordered_colors

        ax = panel.ax
        table = sharpness_ratio(panel.ds).to_dataframe().reset_index().dropna(subset="sharpness_ratio")
        colors = ordered_colors([lr for lr, _ in panel.by_lr()])
        ax.axhspan(self.low, self.high, color="0.88", zorder=0)
        ax.axhline(1, color="black", linewidth=1, linestyle="--")
        ax.axvline(self.judged_from * float(panel.ds.n_steps.max()), color="0.5", linewidth=1, linestyle=":")
        for lr, color in colors.items():  # the legend names every rate, also one that diverged before it was measured
            ax.plot([], [], color=color, linewidth=1.8, label=f"{lr:g}")
        if len(table):  # seaborn warns of an empty one: every run may have diverged at once
            sns.lineplot(
                table,
                x="measured_step",
                y="sharpness_ratio",
                hue="lr",
                hue_order=list(colors),
                palette=colors,
                ax=ax,
                estimator="median",
                errorbar=("pi", 100),
                err_kws={"linewidth": 0, "alpha": 0.2},
                linewidth=1.8,
                legend=False,
            )
        ax.set(title=panel.title, ylim=(0, self.top), xlim=(0, None))
        diverged = int((panel.ds.status == "diverged").sum())
        note = f"learning rate{f' ({diverged} diverged)' if diverged else ''}"
        legend_below(ax, note)
