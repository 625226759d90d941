"""The sharpness of batches exceeds that of the training set in proportion to 1/B - 1/N."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._batch_sharpness import BatchSharpnessClaim
from stepscape.fields import Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("batch_sharpness_exponent", source="arXiv:2006.09092")
class BatchSharpnessExponent(BatchSharpnessClaim):
    """The slope of log(lambda_1(B) / lambda_1(N) - 1) against log(1/B - 1/N).

    lambda_1(B) is the mean over batches of one point. The interval is that of the line through the medians over seeds.
    """

    low: Annotated[Real, describe("lower end of the band of slopes")] = 0.8
    high: Annotated[Real, describe("upper end of the band of slopes")] = 1.2

    @property
    def statement(self) -> str:
        return "The sharpness of a batch of B exceeds that of all N samples in proportion to 1/B - 1/N."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the slope of the log of the relative excess against that of "
            f"1/B - 1/N lies inside [{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.batch_hessian import FEWEST_BATCH_SIZES, excess_exponent

        points = self.points(ds)
        if isinstance(points, Judgement):
            return points
        slope, runs = excess_exponent(points), {"judged": len(points)}
        if slope is None:
            reason = f"fewer than {FEWEST_BATCH_SIZES} batch sizes common to all seeds, or an excess not above 0"
            return Judgement("not_testable", reason=reason, runs=runs)
        found = slope.interval(self.confidence)
        verdict = within(found.low, found.high, (self.low, self.high))
        return Judgement(verdict, found.value, found.low, found.high, "", runs)
