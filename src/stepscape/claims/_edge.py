"""What claims about runs at the edge of stability share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Claim, Judgement
from stepscape.fields import Fraction, Index, Several, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.edge import Reached
    from stepscape.study.run import Run


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class EdgeClaim(Claim):
    """A claim about runs that reached the stability threshold.

    A run has reached it if some measurement after the first steps and before the judged part is at 1 or above; those
    that never do, do so late, or diverge are counted apart.
    """

    settled: Annotated[Index, describe("crossings before this step do not count", "steps")] = 20
    judged_from: Annotated[Fraction, describe("share of the updates after which runs are judged")] = 2 / 3
    fewest: Annotated[Several, describe("runs that must have reached it", "runs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """The sharpness that the threshold is about."""
        return (("preconditioned_top",) if run.optimizer.preconditions else ("hessian_top", "preconditioned_top"),)

    def fault(self, run: Run) -> str:
        """An optimizer without a threshold."""
        if run.lr is None or run.optimizer.threshold(run.lr) is None:
            return f"a run of {run.optimizer.name}, which states no stability threshold"
        return ""

    def reached(self, ds: xr.Dataset) -> Reached:
        """The runs that are judged."""
        from stepscape.analysis.edge import EdgeRule

        return EdgeRule(self.settled, self.judged_from).reached(ds)

    def too_few(self, reached: Reached) -> Judgement:
        """The judgement where fewer than `fewest` runs are judged."""
        runs = sum(reached.counts.values()) - len(reached.runs)
        reason = f"{len(reached.runs)} of {runs} runs reached the threshold in time; at least {self.fewest} must"
        return Judgement("not_testable", reason=reason, runs=reached.counts)
