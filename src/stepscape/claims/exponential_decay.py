"""The training loss falls exponentially."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._decay import DecayClaim
from stepscape.fields import Share, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("exponential_decay", source="Yehudai & Shamir, arXiv:2001.05205 (one neuron)")
class ExponentialDecay(DecayClaim):
    """The mean over runs of R^2 of the line of log loss on the step: 1 where the loss falls exponentially.

    A power law over one decade has an R^2 of 0.92, so a criterion near 1 tells the two apart.
    """

    least: Annotated[Share, describe("what the mean R^2 must be above")] = 0.99

    @property
    def statement(self) -> str:
        return self.named("The training loss falls exponentially.")

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean R^2 of log loss on the step, over the last "
            f"{self.decades:g} decades of steps, lies above {self.least:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.grouping import configurations

        runs, curves, counts = self.curves(ds)
        judged = [
            (index, curve.linearity) for index, curve in zip(runs, curves, strict=True) if np.isfinite(curve.linearity)
        ]
        counts |= {"judged": len(judged)}
        if len(judged) < self.fewest:
            return self.too_few(counts)
        everyone = configurations(ds)
        mean = mean_over_runs([value for _, value in judged], [everyone[i] for i, _ in judged], self.confidence)
        verdict = above(mean.low, mean.high, self.least)
        return Judgement(verdict, mean.value, mean.low, mean.high, "", counts)
