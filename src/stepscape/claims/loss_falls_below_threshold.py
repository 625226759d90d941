"""Below the stability threshold the loss falls in every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._crossing import LossClaim
from stepscape.fields import Share, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("loss_falls_below_threshold", source="arXiv:2103.00065")
class LossFallsBelowThreshold(LossClaim):
    """The mean share of updates that lower the training loss, or leave it, while the sharpness is below its threshold.

    Up to the last measurement below it; runs that never reach it count with all of their updates.
    """

    least: Annotated[Share, describe("what the mean share must be above")] = 0.99

    @property
    def statement(self) -> str:
        return "As long as the sharpness is below the stability threshold, the loss falls in every step."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean share of earlier updates that do not raise the training "
            f"loss by more than {self.tolerance:g} of it lies above {self.least:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.crossings import rising_share

        found = self.crossings(ds)
        shares = [1 - rising_share(ds, each.run, 0, each.below, self.tolerance) for each in found]
        mean = self.mean(ds, [each.run for each in found], shares)
        if isinstance(mean, Judgement):
            return mean
        verdict = above(mean.low, mean.high, self.least)
        never = sum(each.reached is None for each in found)
        reason = f"{never} runs never reached it" if never else ""
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, self.counted(ds, len(found)))
