"""Sharpness rises to the stability threshold and hovers there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._edge import EdgeClaim
from stepscape.fields import PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("hovers_at_threshold", source="arXiv:2103.00065; arXiv:2207.14484")
class HoversAtThreshold(EdgeClaim):
    """The mean, over runs that reached the threshold, of the median of sharpness / threshold late in training.

    A run has reached it if some measurement after the first steps and before the judged part is at 1 or above; those
    that never do, do so late, or diverge are counted apart. The interval is a nested bootstrap over configurations and
    seeds.
    """

    low: Annotated[PositiveReal, describe("lower end of the band", "thresholds")] = 0.95
    high: Annotated[PositiveReal, describe("upper end of the band", "thresholds")] = 1.10

    @property
    def statement(self) -> str:
        return "Once the sharpness has reached the stability threshold, it hovers there."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio, sharpness / threshold, in the last "
            f"{1 - self.judged_from:.2f} of training lies inside [{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.bootstrap import nested_bootstrap
        from stepscape.analysis.grouping import configurations

        reached = self.reached(ds)
        if len(reached.runs) < self.fewest:
            return self.too_few(reached)
        everyone = configurations(ds)
        groups = [everyone[i] for i in reached.runs]
        mean = nested_bootstrap(reached.medians, groups, confidence=self.confidence)
        verdict = within(mean.low, mean.high, (self.low, self.high))
        reason = "one configuration: the interval is over its seeds alone" if len(set(groups)) == 1 else ""
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, reached.counts)
