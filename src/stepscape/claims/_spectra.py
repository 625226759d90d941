"""What claims about the spectra of weights and kernels share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Judgement, Verdict
from stepscape.claims._control import ControlClaim
from stepscape.fields import Fraction, Several, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run

WHAT = {
    "first_layer": "the first layer's weights",
    "feature_kernel": "the conjugate kernel",
    "tangent_kernel": "the tangent kernel",
}
"""Observables that record a spectrum, and of what."""


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SpectrumClaim(ControlClaim):
    """A claim about a whole spectrum at the two ends of training."""

    fewest: Annotated[Several, describe("runs that must be judged", "runs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    @property
    def recorded(self) -> str:
        """The observable that records the spectrum."""
        return "first_layer"

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """The spectrum."""
        return ((self.recorded,),)

    def fault(self, run: Run) -> str:
        """A spectrum that is not whole, or not measured at both ends."""
        observable = run.observable(self.recorded)
        if observable is None:
            return ""
        steps = observable.steps(run.updates)
        if steps[:1] != [0] or steps[-1] != run.updates:
            return f"a run whose {self.recorded} is not measured at steps 0 and {run.updates}, its first and last"
        rows, kept = (getattr(observable, name, None) for name in ("rows", "k"))
        if rows is not None and kept is not None and kept < rows(run):
            return f"a run whose {self.recorded} keeps {kept} of {rows(run)} eigenvalues: a larger `k`"
        return ""

    def mean(
        self, ds: xr.Dataset, values: Sequence[float | None], verdict: Callable[[float, float], Verdict], reason: str
    ) -> Judgement:
        """The judgement by the mean over runs.

        Args:
            ds: the runs.
            values: one a run, None where it is not judged.
            verdict: of the lower and the upper end of the interval.
            reason: why some runs are not judged.

        Returns:
            The mean with its interval; not testable where fewer than `fewest` runs are judged.
        """
        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.grouping import configurations

        pairs = [(value, group) for value, group in zip(values, configurations(ds), strict=True) if value is not None]
        diverged = int((ds.status.values == "diverged").sum())
        parts = {"diverged": diverged, reason: len(values) - len(pairs) - diverged}
        counts = {**{part: count for part, count in parts.items() if count}, "judged": len(pairs)}
        if len(pairs) < self.fewest:
            told = f"{len(pairs)} of {len(values)} runs are judged; at least {self.fewest} must"
            return Judgement("not_testable", reason=told, runs=counts)
        found = mean_over_runs([value for value, _ in pairs], [group for _, group in pairs], self.confidence)
        return Judgement(verdict(found.low, found.high), found.value, found.low, found.high, "", counts)
