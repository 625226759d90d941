"""The oscillation at the edge of stability has the size that holds the sharpness there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Claim, Judgement, within
from stepscape.fields import Count, Fraction, NonNegativeReal, PositiveReal, Several, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run

_STATEMENTS = {
    "size": "At the edge of stability x^2, the squared oscillation, is 2 alpha / beta on average.",
    "loss": "At the edge of stability the loss is above the stable path's by 2 alpha / (beta lr) on average.",
    "identity": "At the edge of stability the loss is above the stable path's by x^2 / lr in every step.",
}
_WORDS = {
    "size": "mean x^2 over mean 2 alpha / beta",
    "loss": "mean loss above the path's over mean 2 alpha / (beta lr)",
    "identity": "mean |loss - path's loss - x^2 / lr| over mean loss above the path's",
}


@member("self_stabilises", source="arXiv:2209.15594")
class SelfStabilises(Claim):
    """The mean over runs of a ratio that the theory says is 1, or of an error that it says is 0.

    Averages go from the step at which the bound on the sharpness is first met to the end. A run counts where there are
    bursts enough and the second eigenvalue stays below the threshold: the theory is of one mode. There is no criterion
    on the phase of the oscillation: it is lost within two cycles, whatever the theory.
    """

    quantity: Annotated[Literal["size", "loss", "identity"], describe("what is judged")] = "size"
    low: Annotated[NonNegativeReal, describe("lower end of the band")] = 0.85
    high: Annotated[PositiveReal, describe("upper end of the band")] = 1.15
    bursts: Annotated[Count, describe("cycles that a run must have gone through", "cycles")] = 3
    second: Annotated[PositiveReal, describe("largest second eigenvalue of a run that counts", "thresholds")] = 0.98
    fewest: Annotated[Several, describe("runs that must count", "runs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("self_stabilisation",),)

    @property
    def statement(self) -> str:
        return _STATEMENTS[self.quantity]

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of {_WORDS[self.quantity]}, over {self.bursts} cycles or more, lies "
            f"inside [{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.grouping import configurations
        from stepscape.analysis.self_stabilisation import oscillation

        groups = configurations(ds, but=("start_run",))
        found = [(oscillation(ds, run), groups[run]) for run in range(ds.sizes["run"])]
        held = [(of, group) for of, group in found if of is not None]
        single = [entry for entry in held if entry[0].second.max() < self.second * 2 / entry[0].lr]
        judged = [entry for entry in single if entry[0].bursts >= self.bursts]
        counts = {"at the bound": len(held), "of one mode": len(single), "judged": len(judged)}
        if len(judged) < self.fewest:
            reason = f"{len(judged)} runs of one mode went through {self.bursts} cycles; at least {self.fewest} must"
            return Judgement("not_testable", reason=reason, runs=counts)
        numbers = {"size": "size_ratio", "loss": "loss_ratio", "identity": "loss_error"}
        values = [float(getattr(of, numbers[self.quantity])) for of, _ in judged]
        mean = mean_over_runs(values, [group for _, group in judged], self.confidence)
        verdict = within(max(mean.low, 0) if self.low == 0 else mean.low, mean.high, (self.low, self.high))
        reason = f"from {min(values):.3g} to {max(values):.3g}"
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, counts)
