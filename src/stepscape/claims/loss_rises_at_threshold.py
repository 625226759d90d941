"""At the edge of stability the loss goes up as well as down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._crossing import LossClaim
from stepscape.fields import Share, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("loss_rises_at_threshold", source="arXiv:2103.00065")
class LossRisesAtThreshold(LossClaim):
    """The mean share of updates that raise the training loss, from where the sharpness reached its threshold on."""

    least: Annotated[Share, describe("what the mean share must be above")] = 0.05

    @property
    def statement(self) -> str:
        return "Once the sharpness has reached the stability threshold, the loss no longer falls in every step."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean share of later updates that raise the training loss, by "
            f"more than {self.tolerance:g} of it, lies above {self.least:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.crossings import rising_share

        found = [(each.run, each.reached) for each in self.crossings(ds) if each.reached is not None]
        shares = [rising_share(ds, run, step, float("inf"), self.tolerance) for run, step in found]
        mean = self.mean(ds, [run for run, _ in found], shares)
        if isinstance(mean, Judgement):
            return mean
        verdict = above(mean.low, mean.high, self.least)
        return Judgement(verdict, mean.value, mean.low, mean.high, "", self.counted(ds, len(found)))
