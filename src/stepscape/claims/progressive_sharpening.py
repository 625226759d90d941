"""Sharpness rises until it reaches the stability threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._crossing import CrossingClaim
from stepscape.fields import Count, Share, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("progressive_sharpening", source="arXiv:2103.00065")
class ProgressiveSharpening(CrossingClaim):
    """The mean rank correlation of sharpness and step, from the start to the first measurement at the threshold.

    Runs that reached it later than `fewest_measurements` measurements count.
    """

    least: Annotated[Share, describe("what the mean rank correlation must be above")] = 0.9
    fewest_measurements: Annotated[Count, describe("that a run must have until then", "measurements")] = 5

    @property
    def statement(self) -> str:
        return "The sharpness rises until it reaches the stability threshold."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean rank correlation (Spearman) of sharpness and step, up to "
            f"the first measurement at the threshold, lies above {self.least:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.crossings import rank_correlation
        from stepscape.analysis.edge import sharpness_ratio

        ratio = sharpness_ratio(ds)
        steps, rows = ratio.measured_step.values, ratio.values
        found = []
        for each in self.crossings(ds):
            before = np.isfinite(rows[each.run]) & (steps <= (each.reached or -1))
            if before.sum() >= self.fewest_measurements:
                found.append((each.run, rank_correlation(steps[before], rows[each.run][before])))
        mean = self.mean(ds, [run for run, _ in found], [value for _, value in found])
        if isinstance(mean, Judgement):
            return mean
        verdict = above(mean.low, mean.high, self.least)
        return Judgement(verdict, mean.value, mean.low, mean.high, "", self.counted(ds, len(found)))
