"""Larger learning rates end in flatter places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._edge import EdgeClaim
from stepscape.fields import Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

_FEWEST_RATES = 3


@member("sharpness_follows_lr", source="arXiv:2103.00065")
class SharpnessFollowsLearningRate(EdgeClaim):
    """The slope of log sharpness against log lr, over runs that reached the threshold: -1 where sharpness ~ 1 / lr.

    The sharpness of a run is the largest eigenvalue of P^-1 H, as the median over the judged part. The interval
    resamples configurations and seeds. Below the threshold the sign may turn: a small lr has not trained long enough.
    """

    low: Annotated[Real, describe("lower end of the band of slopes")] = -1.1
    high: Annotated[Real, describe("upper end of the band of slopes")] = -0.9

    @property
    def statement(self) -> str:
        return "The larger the learning rate, the flatter the place where training ends: sharpness goes as 1 / lr."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the slope of log sharpness, in the last {1 - self.judged_from:.2f} "
            f"of training, against log lr lies inside [{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.bootstrap import nested_slope
        from stepscape.analysis.edge import thresholds
        from stepscape.analysis.grouping import configurations

        reached = self.reached(ds)
        if len(reached.runs) < self.fewest:
            return self.too_few(reached)
        rates = ds.lr.values[reached.runs]
        optimizers = set(ds.optimizer.values[reached.runs].tolist())
        if len(optimizers) > 1 or len(set(rates.tolist())) < _FEWEST_RATES:
            reason = (
                f"{len(optimizers)} optimizers at {len(set(rates.tolist()))} learning rates reached the threshold; "
                f"it takes one, at {_FEWEST_RATES} or more"
            )
            return Judgement("not_testable", reason=reason, runs=reached.counts)
        sharpness = np.asarray(reached.medians) * thresholds(ds)[reached.runs]
        everyone = configurations(ds)
        groups = [everyone[i] for i in reached.runs]
        logs = np.log(rates).tolist(), np.log(sharpness).tolist()
        slope = nested_slope(*logs, groups, confidence=self.confidence)
        verdict = within(slope.low, slope.high, (self.low, self.high))
        return Judgement(verdict, slope.value, slope.low, slope.high, "", reached.counts)
