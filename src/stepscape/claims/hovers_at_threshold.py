"""Sharpness rises to the stability threshold and hovers there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Claim, Judgement, within
from stepscape.fields import Count, Fraction, Index, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("hovers_at_threshold", source="arXiv:2103.00065; arXiv:2207.14484")
class HoversAtThreshold(Claim):
    """The mean, over runs that reached the threshold, of the median of sharpness / threshold late in training.

    A run has reached it if some measurement after the first steps and before the judged part is at 1 or above; those
    that never do, do so late, or diverge are counted apart. The interval is a nested bootstrap over configurations and
    seeds.
    """

    low: Annotated[PositiveReal, describe("lower end of the band", "thresholds")] = 0.95
    high: Annotated[PositiveReal, describe("upper end of the band", "thresholds")] = 1.10
    settled: Annotated[Index, describe("crossings before this step do not count", "steps")] = 20
    judged_from: Annotated[Fraction, describe("share of the updates after which runs are judged")] = 2 / 3
    fewest: Annotated[Count, describe("runs that must have reached it", "runs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("preconditioned_top",) if run.optimizer.preconditions else ("hessian_top", "preconditioned_top"),)

    def fault(self, run: Run) -> str:
        if run.lr is None or run.optimizer.threshold(run.lr) is None:
            return f"a run of {run.optimizer.name}, which states no stability threshold"
        return ""

    @property
    def statement(self) -> str:
        return "Once the sharpness has reached the stability threshold, it hovers there."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio, sharpness / threshold, in the last "
            f"{1 - self.judged_from:.2f} of training lies inside [{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.bootstrap import nested_bootstrap
        from stepscape.analysis.edge import EdgeRule, sharpness_ratio
        from stepscape.analysis.grouping import configurations

        rule = EdgeRule(self.settled, self.judged_from)
        ratio = sharpness_ratio(ds)
        outcomes = rule.outcomes(ratio, ds.n_steps, ds.status)
        medians = rule.medians(ratio, ds.n_steps)
        judged = [i for i, outcome in enumerate(outcomes) if outcome == "reached" and np.isfinite(medians[i])]
        counts: dict[str, int] = {**Counter(map(str, outcomes)), "judged": len(judged)}
        if len(judged) < self.fewest:
            reason = f"{len(judged)} of {len(outcomes)} runs reached the threshold in time; at least {self.fewest} must"
            return Judgement("not_testable", reason=reason, runs=counts)
        groups = configurations(ds)
        values = [float(medians[i]) for i in judged]
        mean = nested_bootstrap(values, [groups[i] for i in judged], confidence=self.confidence)
        verdict = within(mean.low, mean.high, (self.low, self.high))
        alone = len({groups[i] for i in judged}) == 1
        reason = "one configuration: the interval is over its seeds alone" if alone else ""
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, counts)
