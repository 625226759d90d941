"""With several eigenvalues at the edge of stability the top subspace turns faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Claim, Judgement, above
from stepscape.fields import Count, Flag, Fraction, Index, PositiveReal, Several, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("overlap_falls_at_threshold", source="arXiv:1812.04754; arXiv:2103.00065")
class OverlapFallsAtThreshold(Claim):
    """The mean overlap of top subspaces with several eigenvalues at the stability threshold, minus that with none.

    Pairs of measurements count that are `lag` apart, in steps or in time, lr x steps. In steps the comparison is of
    learning rates too: a larger one moves further in a step, at the edge or not. In time it is not.
    """

    lag: Annotated[PositiveReal, describe("between the two measurements", "steps, or lr x steps")] = 40.0
    in_time: Annotated[Flag, describe("whether `lag` is lr x steps")] = False
    since: Annotated[Index, describe("the first of the two is not before this", "steps")] = 100
    near: Annotated[PositiveReal, describe("from here on an eigenvalue is at the edge", "thresholds")] = 0.9
    several: Annotated[Count, describe("how many are several, at both measurements", "eigenvalues")] = 3
    fewest: Annotated[Several, describe("networks and seeds that must have pairs of both kinds")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_subspace",), ("hessian_top", "preconditioned_top"))

    def fault(self, run: Run) -> str:
        observable = run.observable("hessian_subspace")
        sketched = observable is None or any(each.name == "subspace_sketch" for each in observable.variables(run))
        return "" if sketched else "a run that records no subspace_sketch"

    @property
    def _apart(self) -> str:
        return f"{self.lag:g} of lr x steps" if self.in_time else f"{self.lag:g} steps"

    @property
    def statement(self) -> str:
        return f"Over {self._apart} the top Hessian subspace turns further once several eigenvalues are at the edge."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean gap, overlap with {self.several} or more eigenvalues at "
            f"{self.near:g} thresholds minus overlap with none, over {self._apart} from step {self.since} on, lies "
            "below 0"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.inertia import Lag, crowd_gaps

        gaps = crowd_gaps(ds, Lag(self.lag, self.in_time), self.since, self.near, self.several)
        counts = {"runs": ds.sizes["run"], "judged": len(gaps.values)}
        if len(gaps.values) < self.fewest:
            reason = (
                f"{len(gaps.values)} networks and seeds have pairs {self._apart} apart with several eigenvalues at the "
                f"edge and with none; at least {self.fewest} must"
            )
            return Judgement("not_testable", reason=reason, runs=counts)
        mean = mean_over_runs(gaps.values, gaps.groups, self.confidence)
        positive = sum(gap > 0 for gap in gaps.values)
        reason = f"{positive} of {len(gaps.values)} gaps are above 0" if positive else ""
        return Judgement(above(-mean.high, -mean.low, 0), mean.value, mean.low, mean.high, reason, counts)
