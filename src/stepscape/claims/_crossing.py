"""What claims about the time before and after a crossing share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Judgement
from stepscape.claims._edge import EdgeClaim
from stepscape.fields import NonNegativeReal, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.bootstrap import Interval
    from stepscape.analysis.crossings import Crossing
    from stepscape.study.run import Run


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class CrossingClaim(EdgeClaim):
    """A claim about a number of each run, taken before or after its sharpness first reached the threshold."""

    def crossings(self, ds: xr.Dataset) -> list[Crossing]:
        """The runs that reached their threshold in time, or never."""
        from stepscape.analysis.crossings import crossings
        from stepscape.analysis.edge import EdgeRule

        return crossings(ds, EdgeRule(self.settled, self.judged_from))

    def mean(self, ds: xr.Dataset, runs: Sequence[int], values: Sequence[float]) -> Interval | Judgement:
        """The mean of what was found in each run, NaN where nothing was; or why there are too few."""
        import numpy as np

        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.grouping import configurations

        found = [(run, value) for run, value in zip(runs, values, strict=True) if np.isfinite(value)]
        counts = self.counted(ds, len(found))
        if len(found) < self.fewest:
            reason = f"{len(found)} of {ds.sizes['run']} runs can be judged; at least {self.fewest} must"
            return Judgement("not_testable", reason=reason, runs=counts)
        everyone = configurations(ds)
        return mean_over_runs([value for _, value in found], [everyone[run] for run, _ in found], self.confidence)

    def counted(self, ds: xr.Dataset, judged: int) -> dict[str, int]:
        """How many runs are judged, and how many are not."""
        left = ds.sizes["run"] - judged
        return {**({"not judged": left} if left else {}), "judged": judged}


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LossClaim(CrossingClaim):
    """A crossing claim about the training loss at every step."""

    tolerance: Annotated[
        NonNegativeReal, describe("a loss rises if it does so by more than this", "shares of the loss")
    ] = 1e-3

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """The sharpness, and the training loss."""
        return (*super().needs(run), ("losses",))

    def fault(self, run: Run) -> str:
        """Losses that are not recorded at every step, or no threshold."""
        losses = run.observable("losses")
        if losses is not None and losses.every != 1:
            return "a run that does not record its losses at every step"
        return super().fault(run)
