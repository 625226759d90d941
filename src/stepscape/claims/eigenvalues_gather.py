"""Not one eigenvalue but several come to the stability threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._edge import EdgeClaim
from stepscape.fields import Count, NonNegativeReal, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("eigenvalues_gather", source="arXiv:2103.00065")
class EigenvaluesGather(EdgeClaim):
    """The mean, over runs that reached the threshold, of how many tracked eigenvalues are near it at the end.

    It counts no more than were tracked: of `tracked` eigenvalues at most that many can gather.
    """

    near: Annotated[PositiveReal, describe("from here on an eigenvalue counts", "thresholds")] = 0.9
    more_than: Annotated[NonNegativeReal, describe("what the mean number must be above", "eigenvalues")] = 2.0
    tracked: Annotated[Count, describe("eigenvalues that runs must track", "eigenvalues")] = 10

    def fault(self, run: Run) -> str:
        names = [name for group in self.needs(run) for name in group]
        observed = [entry for name in names if (entry := run.observable(name)) is not None]
        most = max((int(getattr(entry, "k", 0)) for entry in observed), default=self.tracked)
        if most < self.tracked:
            return f"a run that tracks {most} eigenvalues, of {self.tracked} that it is to track"
        return super().fault(run)

    @property
    def statement(self) -> str:
        return "Several eigenvalues gather at the stability threshold, not the largest alone."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean number of eigenvalues at {self.near:g} thresholds or "
            f"more, in the last measurement, lies above {self.more_than:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.edge import eigenvalues_near
        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.grouping import configurations

        reached = self.reached(ds)
        if len(reached.runs) < self.fewest:
            return self.too_few(reached)
        near, tracked = eigenvalues_near(ds.isel(run=reached.runs), self.near)
        if min(tracked) < self.tracked:
            reason = f"a run tracks {min(tracked)} eigenvalues; at least {self.tracked} must be tracked"
            return Judgement("not_testable", reason=reason, runs=reached.counts)
        everyone = configurations(ds)
        mean = mean_over_runs(near, [everyone[i] for i in reached.runs], self.confidence)
        verdict = above(mean.low, mean.high, self.more_than)
        full = sum(count == total for count, total in zip(near, tracked, strict=True))
        reason = f"all that are tracked are near in {full} of {len(near)} runs: a lower bound" if full else ""
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, reached.counts)
