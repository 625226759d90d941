"""The central flow predicts an optimizer better than the flow that knows of no oscillation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._flows import WORDS, PredictionClaim
from stepscape.fields import PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("central_flow_closer", source="arXiv:2410.24206")
class CentralFlowCloser(PredictionClaim):
    """The mean, over runs, of the stable flow's relative error over the central flow's."""

    factor: Annotated[PositiveReal, describe("how many times larger the stable flow's error is to be")] = 4.0

    @property
    def statement(self) -> str:
        return f"The {self.near} predicts the time-averaged {WORDS[self.quantity]} far better than the {self.far} does."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio of relative errors, {self.far} over {self.near}, "
            f"all smoothed over {self.smoothing:g} steps, lies above {self.factor:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.flows import prediction_error

        error = partial(prediction_error, ds, quantity=self.quantity, sigma=self.smoothing, after=self.after)
        return self.mean(
            ds,
            lambda trio: error(trio, of_far=True) / error(trio),
            lambda low, high: above(low, high, self.factor),
        )
