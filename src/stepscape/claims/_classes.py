"""What claims about frequent and rare classes share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Claim, Judgement
from stepscape.fields import Fraction, Several, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.class_groups import Best
    from stepscape.study.run import Run


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ClassClaim(Claim):
    """A claim about classes at the end of training, at the learning rate of least final training loss."""

    groups: Annotated[Several, describe("parts of nearly as many samples, by class frequency", "groups")] = 7
    fewest: Annotated[Several, describe("sweeps over learning rates that can be judged", "sweeps")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """Losses of all, and what is of each class."""
        return (("losses",), ("per_class",))

    def fault(self, run: Run) -> str:
        """No learning rate, or classes that are not looked at in the end."""
        if run.lr is None:
            return f"a run of {run.optimizer.name}, which has no learning rate"
        observable = run.observable("per_class")
        if observable and not observable.is_due(run.updates):
            return f"a run whose classes are not measured at step {run.updates}, its last"
        return ""

    def counted(self, ds: xr.Dataset, judged: Sequence[Best]) -> dict[str, int]:
        """How many runs are judged, and how many were not the best of their sweep."""
        return {"judged": len(judged), "at other learning rates": ds.sizes["run"] - len(judged)}

    def too_few(self, ds: xr.Dataset, judged: Sequence[Best], of_what: str = "sweeps") -> Judgement:
        """The judgement where fewer than `fewest` sweeps can be judged."""
        reason = f"{len(judged)} {of_what} over learning rates can be judged; at least {self.fewest} must"
        return Judgement("not_testable", reason=reason, runs=self.counted(ds, judged))


def noted(judged: Sequence[Best]) -> str:
    """In how many sweeps the best learning rate is an end of the grid; empty if in none."""
    ends = sum(best.at_end for best in judged)
    return f"in {ends} of {len(judged)} sweeps the best learning rate is an end of the grid" if ends else ""
