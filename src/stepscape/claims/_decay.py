"""What claims about how fast the training loss falls share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Judgement
from stepscape.claims._control import ControlClaim
from stepscape.fields import Fraction, PositiveReal, Several, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.decay import Decay
    from stepscape.study.run import Run


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DecayClaim(ControlClaim):
    """A claim about the last part of loss curves."""

    decades: Annotated[PositiveReal, describe("of steps, up to the last, that are fitted", "powers of ten")] = 1.0
    fewest: Annotated[Several, describe("runs that must have enough losses to fit", "runs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """The training loss."""
        return (("losses",),)

    def curves(self, ds: xr.Dataset) -> tuple[list[int], list[Decay], dict[str, int]]:
        """The runs that are judged, the ends of their curves, and how many played which part."""
        from stepscape.analysis.decay import last_decades

        found = {index: curve for index, curve in enumerate(last_decades(ds, self.decades)) if curve is not None}
        counts = {"without enough losses": ds.sizes["run"] - len(found), "judged": len(found)}
        return list(found), list(found.values()), {part: n for part, n in counts.items() if n or part == "judged"}

    def too_few(self, counts: dict[str, int]) -> Judgement:
        """The judgement where fewer than `fewest` runs are judged."""
        from stepscape.analysis.decay import FEWEST_POINTS

        reason = (
            f"{counts['judged']} runs have {FEWEST_POINTS} losses above 0 in their last {self.decades:g} decades; at "
            f"least {self.fewest} must"
        )
        return Judgement("not_testable", reason=reason, runs=counts)
