"""The span of the Hessian's top eigenvectors turns slowly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Claim, Judgement, above
from stepscape.fields import Count, Fraction, Index, Several, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("overlap_above_null", source="arXiv:1812.04754")
class OverlapAboveNull(Claim):
    """The mean overlap |U_s U_t^T|_F^2 / k of the top subspaces of one run, `lag` steps apart, against its null.

    The null is the largest overlap, in any of the runs and measurements that are compared, of a subspace with itself
    after its coordinates were permuted inside each weight and bias; k / P would be many times lower, because top
    eigenvectors live in few coordinates. Overlaps come from sketches, which are off by at most 0.02.
    """

    lag: Annotated[Count, describe("between the two measurements; an even one", "steps")] = 40
    since: Annotated[Index, describe("the first of the two is not before this", "steps")] = 100
    fewest: Annotated[Several, describe("runs that must have such a pair", "runs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_subspace",),)

    def fault(self, run: Run) -> str:
        observable = run.observable("hessian_subspace")
        recorded = [] if observable is None else [variable.name for variable in observable.variables(run)]
        missing = [name for name in ("subspace_sketch", "subspace_null_largest") if name not in recorded]
        return f"a run that records no {missing[0]}" if observable is not None and missing else ""

    @property
    def statement(self) -> str:
        return f"The top Hessian subspace keeps its direction over {self.lag} steps."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean overlap of subspaces {self.lag} steps apart, from step "
            f"{self.since} on, lies above the largest overlap of a subspace with its own permutations"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.grouping import configurations
        from stepscape.analysis.subspaces import overlaps_at_lag

        overlaps = overlaps_at_lag(ds, self.lag, self.since)
        judged = np.flatnonzero(np.isfinite(overlaps))
        counts = {"compared": len(judged), "without a pair": len(overlaps) - len(judged), "judged": len(judged)}
        if len(judged) < self.fewest:
            reason = f"{len(judged)} runs have measurements {self.lag} steps apart; at least {self.fewest} must"
            return Judgement("not_testable", reason=reason, runs=counts)
        late = ds.hessian_subspace_step.values >= self.since
        null = float(np.nanmax(ds.subspace_null_largest.values[judged][:, late]))
        groups = configurations(ds)
        mean = mean_over_runs([float(overlaps[i]) for i in judged], [groups[i] for i in judged], self.confidence)
        verdict = above(mean.low, mean.high, null)
        return Judgement(verdict, mean.value, mean.low, mean.high, f"the null is {null:.3f}", counts)
