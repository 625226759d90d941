"""What claims about flows share: trios of runs, and a mean over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Claim, Judgement, Verdict
from stepscape.fields import Fraction, Index, NonNegativeReal, Several, Text, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.flows import Trio
    from stepscape.study.run import Run

Quantity = Literal["loss", "squared_gradient", "step_size", "mean_squares"]
WORDS = {
    "loss": "training loss",
    "squared_gradient": "squared gradient norm",
    "step_size": "mean step size",
    "mean_squares": "mean of squared gradients that RMSProp keeps",
}


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FlowClaim(Claim):
    """A claim about runs and the flows that follow them, from one start."""

    near: Annotated[Text, describe("name of the optimizer that is to stay close")] = "central_flow"
    far: Annotated[Text, describe("name of the optimizer that is not")] = "stable_flow"
    fewest: Annotated[Several, describe("runs that must have both beside them", "runs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def mean(
        self, ds: xr.Dataset, measure: Callable[[Trio], float], verdict: Callable[[float, float], Verdict]
    ) -> Judgement:
        """The mean of a number over trios, with its interval over configurations and seeds.

        Args:
            ds: the dataset.
            measure: a trio's number; NaN where it has none.
            verdict: of the interval's ends.

        Returns:
            The judgement; `not_testable` where fewer than `fewest` trios have a number.
        """
        from math import isfinite

        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.flows import trios

        held = trios(ds, self.near, self.far)
        numbers = [(measure(trio), trio.group) for trio in held]
        judged = [entry for entry in numbers if isfinite(entry[0])]
        counts = {"with both flows": len(held), "judged": len(judged)}
        if len(judged) < self.fewest:
            reason = (
                f"{len(judged)} runs have a {self.near} that came to the edge and a {self.far} beside them; at least "
                f"{self.fewest} must"
            )
            return Judgement("not_testable", reason=reason, runs=counts)
        values, groups = zip(*judged, strict=True)
        mean = mean_over_runs(values, groups, self.confidence)
        reason = f"from {min(values):.3g} to {max(values):.3g}"
        return Judgement(verdict(mean.low, mean.high), mean.value, mean.low, mean.high, reason, counts)


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PredictionClaim(FlowClaim):
    """A claim about what a flow predicts of time averages."""

    quantity: Annotated[Quantity, describe("what is predicted")] = "loss"
    smoothing: Annotated[
        NonNegativeReal, describe("standard deviation of the Gaussian that both sides are smoothed with", "steps")
    ] = 30.0
    after: Annotated[Index, describe("left out after the flow's first oscillation", "steps")] = 0

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("time_average",),)

    def fault(self, run: Run) -> str:
        observable = run.observable("time_average")
        sparse = observable is not None and observable.every != 1
        return "a run that does not record time_average in every step" if sparse else ""
