"""One optimizer leads to where curvature is more uniform than another does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Claim, Judgement, within
from stepscape.fields import Fraction, PositiveReal, Several, Text, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.claims import Verdict
    from stepscape.study.run import Run


@member("more_uniform_curvature", source="Jiang, Malik & Li, arXiv:2211.02254")
class MoreUniformCurvature(Claim):
    """R_med, the largest over the median absolute diagonal entry of the Hessian in a layer, of two optimizers.

    Each at its learning rate of least final training loss. They are compared where their training losses are equal, at
    eight losses over the lower half, in the logarithm, of what both pass; a seed's number is the median over losses
    and layers. Their geometric mean is judged. `alike`, the negative control, asks for a mean near 1.
    """

    expected: Annotated[Literal["more uniform", "alike"], describe("what is said of the two")] = "more uniform"

    optimizer: Annotated[Text, describe("label or name of the one that is said to be more uniform")] = "adam"
    than: Annotated[Text, describe("label or name of the other")] = "heavy_ball"
    at_least: Annotated[PositiveReal, describe("smallest ratio of the other's R_med to its own; of `more uniform`")] = (
        1.5
    )
    factor: Annotated[PositiveReal, describe("largest of the two over the other; of `alike`")] = 1.25
    fewest: Annotated[Several, describe("pairs of runs", "pairs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",), ("layer_diagonals",))

    def fault(self, run: Run) -> str:
        return "" if run.lr is not None else f"a run of {run.optimizer.name}, which has no learning rate"

    @property
    def statement(self) -> str:
        if self.expected == "alike":
            return (
                f"At equal loss the diagonal of the Hessian is as uniform under {self.optimizer} as under {self.than}."
            )
        return (
            f"At equal loss the diagonal of the Hessian is more uniform under {self.optimizer} than under {self.than}."
        )

    @property
    def criterion(self) -> str:
        ratio = (
            f"geometric mean over seeds of the median, over equal losses and layers, of R_med of {self.than} over that "
            f"of {self.optimizer}, each at its learning rate of least final training loss,"
        )
        if self.expected == "alike":
            return f"the {self.confidence:.0%} interval of the {ratio} lies within a factor {self.factor:g} of 1"
        return f"the {ratio} is above {self.at_least:g}, and its {self.confidence:.0%} interval lies above 1"

    def judge(self, ds: xr.Dataset) -> Judgement:
        from math import exp, log

        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.matched_loss import matched

        found = [pair for pair in matched(ds, self.than, self.optimizer) if pair.middle > 0]
        counts = {
            "pairs": len(found),
            "best at an end of their learning rates": sum(
                each.at_end for pair in found for each in (pair.first, pair.second)
            ),
        }
        if len(found) < self.fewest:
            reason = f"{len(found)} pairs of {self.than} and {self.optimizer} meet; at least {self.fewest} must"
            return Judgement("not_testable", reason=reason, runs=counts)
        logs = [log(pair.middle) for pair in found]
        mean = mean_over_runs(logs, [pair.first.others for pair in found], self.confidence)
        value, low, high = exp(mean.value), exp(mean.low), exp(mean.high)
        return Judgement(self._verdict(value, low, high), value, low, high, "", counts)

    def _verdict(self, value: float, low: float, high: float) -> Verdict:
        if self.expected == "alike":
            return within(low, high, (1 / self.factor, self.factor))
        if value > self.at_least and low > 1:
            return "supported"
        return "not_supported" if high < self.at_least else "undecided"
