"""A control: sharpness judged with the threshold of another learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._edge import EdgeClaim
from stepscape.fields import PositiveReal, Share, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("hovers_at_other_threshold", source="a control of hovers_at_threshold")
class HoversAtOtherThreshold(EdgeClaim):
    """The share of runs that would pass as hovering at the threshold of another learning rate than their own.

    Each run that reached its own threshold is judged with those of all other learning rates at which a run like it
    did. If `hovers_at_threshold` told nothing about the learning rate, this would be supported too: it must not be.
    """

    low: Annotated[PositiveReal, describe("lower end of the band", "thresholds")] = 0.95
    high: Annotated[PositiveReal, describe("upper end of the band", "thresholds")] = 1.10
    least: Annotated[Share, describe("share of them that must be in the band for it to be supported")] = 0.5

    @property
    def statement(self) -> str:
        return "Control, which must fail: the sharpness hovers at the threshold of another learning rate as well."

    @property
    def criterion(self) -> str:
        return (
            f"of the ratios, sharpness / threshold of another learning rate, in the last {1 - self.judged_from:.2f} of "
            f"training more than {self.least:.0%} lie inside [{self.low:g}, {self.high:g}], with the whole "
            f"{self.confidence:.0%} interval"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.edge import other_ratios
        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.grouping import configurations

        reached = self.reached(ds)
        if len(reached.runs) < self.fewest:
            return self.too_few(reached)
        others = other_ratios(ds, reached)
        if not all(map(len, others)):
            reason = "a run that reached its threshold has no other learning rate to be judged with"
            return Judgement("not_testable", reason=reason, runs=reached.counts)
        shares = [float(((self.low <= ratios) & (ratios <= self.high)).mean()) for ratios in others]
        everyone = configurations(ds)
        mean = mean_over_runs(shares, [everyone[i] for i in reached.runs], self.confidence)
        verdict = above(mean.low, mean.high, self.least)
        counts = {**reached.counts, "judgements": sum(map(len, others))}
        return Judgement(verdict, mean.value, mean.low, mean.high, "", counts)
