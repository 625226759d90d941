"""Momentum changes nothing where noise and not curvature limits the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Claim, Judgement
from stepscape.claims._scaling import mixed
from stepscape.fields import Fraction, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("momentum_equivalent", source="arXiv:2307.15196")
class MomentumEquivalent(Claim):
    """Losses with momentum and without, at each batch size's best effective learning rate lr / (1 - beta) of plain SGD.

    The difference at each recorded step is a mean over seeds, in standard deviations of plain SGD's loss over seeds,
    with Student's interval; seeds share initialisation and order of batches. The largest is the value.
    """

    at_most: Annotated[PositiveReal, describe("largest difference of equals", "standard deviations")] = 1.0
    confidence: Annotated[Fraction, describe("level of the intervals")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",),)

    @property
    def statement(self) -> str:
        return "At equal effective learning rates the loss is the same with and without momentum all along training."

    @property
    def criterion(self) -> str:
        return (
            f"at every recorded step the {self.confidence:.0%} interval of the mean difference of losses lies within "
            f"{self.at_most:g} standard deviations over seeds"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from math import isfinite

        from stepscape.analysis.momentum import tuned, twins

        if reason := mixed(ds, [str(name) for name in ds.coords if str(name).startswith("optimizer")]):
            return Judgement("not_testable", reason=reason)
        found = twins(ds)
        best = tuned(found)
        judged = [pair for pair in found if pair.lr == best[pair.batch_size]]
        runs = {"twins": len(judged), "seeds": min((len(pair.plain) for pair in judged), default=0)}
        gaps = [(gap, pair) for pair in judged for gap in pair.differences() if isfinite(gap.value)]
        if not gaps:
            return Judgement("not_testable", reason="no batch size has runs with and without momentum", runs=runs)
        intervals = [gap.interval(self.confidence) for gap, _ in gaps]
        if all(max(-each.low, each.high) <= self.at_most for each in intervals):
            verdict = "supported"
        elif any(each.low > self.at_most or each.high < -self.at_most for each in intervals):
            verdict = "not_supported"
        else:
            verdict = "undecided"
        worst = max(range(len(gaps)), key=lambda index: abs(gaps[index][0].value))
        pair, interval = gaps[worst][1], intervals[worst]
        reason = f"largest at beta {pair.beta:g}, batch size {pair.batch_size}, effective lr {pair.lr:.3g}"
        return Judgement(verdict, interval.value, interval.low, interval.high, reason, runs)  # type: ignore[arg-type]
