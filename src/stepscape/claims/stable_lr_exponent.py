"""The largest stable learning rate is a power of the batch size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._scaling import ScalingClaim, counts, knee, left_out, mixed, too_few
from stepscape.fields import Flag, Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("stable_lr_exponent", source="arXiv:2006.09092")
class StableLearningRateExponent(ScalingClaim):
    """The exponent a in: largest stable lr ~ B^a, of one optimizer.

    Stable is a learning rate up to which all end with a lower training loss than they began with; the largest is read
    between the points of the grid, for each batch size and seed. The interval is that of the line through the medians
    over seeds; it needs five batch sizes. The band is that of plain SGD, whose exponent is 1 for batches far smaller
    than the training set. With `saturates` the line may go flat at a batch size that is fitted with it: the exponent is
    that below, its interval allows for the knee's, and both stand in the reason.
    """

    low: Annotated[Real, describe("lower end of the band of exponents")] = 0.8
    high: Annotated[Real, describe("upper end of the band of exponents")] = 1.2
    saturates: Annotated[Flag, describe("whether the line may go flat at a knee")] = False

    @property
    def statement(self) -> str:
        until = ", until it saturates" if self.saturates else ""
        band = f"a power of {self.low:g} to {self.high:g}"
        return f"The largest stable learning rate grows as the batch size to {band}{until}."

    @property
    def criterion(self) -> str:
        where = " below the knee" if self.saturates else ""
        return f"the {self.confidence:.0%} interval of the exponent{where} lies inside [{self.low:g}, {self.high:g}]"

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.batch_scaling import stable_scaling

        if reason := mixed(ds):
            return Judgement("not_testable", reason=reason)
        scaling = stable_scaling(ds)
        exponent, bent, runs = scaling.exponent, scaling.saturating(self.confidence), counts(ds, scaling)
        if exponent is None or bent is None:
            return Judgement("not_testable", reason=too_few(scaling), runs=runs)
        interval = bent.slope if self.saturates else exponent.interval(self.confidence)
        verdict = within(interval.low, interval.high, (self.low, self.high))
        notes = [knee(bent, self.confidence) if self.saturates else "", left_out(scaling)]
        return Judgement(verdict, interval.value, interval.low, interval.high, "; ".join(filter(None, notes)), runs)
