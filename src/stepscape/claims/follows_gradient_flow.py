"""Below the stability threshold gradient descent does what gradient flow does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._crossing import CrossingClaim
from stepscape.fields import PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("follows_gradient_flow", source="arXiv:2103.00065, figure 5 and appendix")
class FollowsGradientFlow(CrossingClaim):
    """The mean of |sharpness / sharpness of the flow - 1| at equal time lr s, up to the last measurement below 1.

    Among the runs must be flows (`stable_flow`) that start where the others do. The reason holds the same number over
    all measurements, as far as the flow goes: above the threshold the two part.
    """

    most: Annotated[PositiveReal, describe("what the mean deviation must be below", "shares of the sharpness")] = 0.05

    def fault(self, run: Run) -> str:
        from stepscape.analysis.flow_time import FLOW

        return "" if run.optimizer.name == FLOW else super().fault(run)

    @property
    def statement(self) -> str:
        return "Below the stability threshold the sharpness is that of gradient flow after the same time, lr x steps."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean deviation from the sharpness of the flow, up to the last "
            f"measurement below the threshold, lies below {self.most:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.flow_time import beside_flows, deviation_from_flow

        flows = dict(beside_flows(ds))
        found = [(each.run, each.below) for each in self.crossings(ds) if each.run in flows]
        rates = ds.lr.values
        values = [deviation_from_flow(ds, run, flows[run], below * float(rates[run])) for run, below in found]
        mean = self.mean(ds, [run for run, _ in found], values)
        if isinstance(mean, Judgement):
            return mean
        verdict = within(mean.low, mean.high, (0, self.most))
        whole = [deviation_from_flow(ds, run, flows[run], np.inf) for run, _ in found]
        reason = f"over all measurements that the flow reaches: {np.nanmean(whole):.3f}"
        judged = int(np.isfinite(values).sum())
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, self.counted(ds, judged))
