"""At the edge of stability the loss still falls over many steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._crossing import LossClaim
from stepscape.fields import Count, Share, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("loss_falls_in_the_long_run", source="arXiv:2103.00065")
class LossFallsInTheLongRun(LossClaim):
    """The mean share of windows with a lower mean loss than the window before, after the threshold was reached."""

    windows: Annotated[Count, describe("equal parts of the rest of training; one more than are compared")] = 4
    least: Annotated[Share, describe("what the mean share must be above")] = 0.9

    @property
    def statement(self) -> str:
        return "Once the sharpness has reached the stability threshold, the loss still falls over many steps."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean share of {self.windows} successive windows whose mean "
            f"training loss is lower than in the one before lies above {self.least:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.crossings import falling_share

        found = [(each.run, each.reached) for each in self.crossings(ds) if each.reached is not None]
        shares = [falling_share(ds, run, step, self.windows) for run, step in found]
        mean = self.mean(ds, [run for run, _ in found], shares)
        if isinstance(mean, Judgement):
            return mean
        verdict = above(mean.low, mean.high, self.least)
        return Judgement(verdict, mean.value, mean.low, mean.high, "", self.counted(ds, len(found)))
