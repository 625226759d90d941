"""An optimizer stays closer to one path than to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._flows import FlowClaim
from stepscape.fields import Count, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("stays_closer", source="arXiv:2410.24206; arXiv:2209.15594")
class StaysCloser(FlowClaim):
    """The mean, over runs, of the distance to the near path over that to the far one, at the end of training."""

    at_most: Annotated[PositiveReal, describe("largest ratio of the two distances")] = 0.2
    last: Annotated[Count, describe("averaged before the end", "steps")] = 50

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("parameters",),)

    def fault(self, run: Run) -> str:
        observable = run.observable("parameters")
        if observable is not None and not any(variable.collected for variable in observable.variables(run)):
            return "a run whose parameters are in its file alone: `parameters: {..., collected: true}`"
        return ""

    @property
    def statement(self) -> str:
        return f"In parameter space an optimizer stays far closer to the {self.near} than to the {self.far}."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio of Euclidean distances, to the {self.near} over to "
            f"the {self.far}, in the last {self.last} steps lies below {self.at_most:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.flows import distance_ratio

        return self.mean(
            ds,
            lambda trio: distance_ratio(ds, trio, self.last),
            lambda low, high: within(max(low, 0), high, (0, self.at_most)),
        )
