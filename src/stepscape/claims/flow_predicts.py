"""The central flow predicts what an optimizer at the edge of stability does on average."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._flows import WORDS, PredictionClaim
from stepscape.fields import PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("flow_predicts", source="arXiv:2410.24206")
class FlowPredicts(PredictionClaim):
    """The mean, over runs, of |run - flow| / run, both smoothed, from the flow's first oscillation on."""

    at_most: Annotated[PositiveReal, describe("largest relative error")] = 0.02

    @property
    def statement(self) -> str:
        return f"The {self.near} predicts the time-averaged {WORDS[self.quantity]} at the edge of stability."

    @property
    def criterion(self) -> str:
        late = f" {self.after} steps after" if self.after else ""
        return (
            f"the {self.confidence:.0%} interval of the mean relative error, both sides smoothed over "
            f"{self.smoothing:g} steps, from{late} the flow's first oscillation on, lies below {self.at_most:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.flows import prediction_error

        error = partial(prediction_error, ds, quantity=self.quantity, sigma=self.smoothing, after=self.after)
        return self.mean(ds, lambda trio: error(trio), lambda low, high: within(max(low, 0), high, (0, self.at_most)))
