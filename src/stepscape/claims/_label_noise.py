"""What claims about noise on labels share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Claim, Judgement
from stepscape.fields import Fraction, Several, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.label_noise import NoisePath
    from stepscape.study.run import Run


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class LabelNoiseClaim(Claim):
    """A claim about the curvature along runs with noise on their labels."""

    fewest: Annotated[Several, describe("runs that must be judged", "runs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """The whole spectrum."""
        return (("hessian_spectrum",),)

    def fault(self, run: Run) -> str:
        """An optimizer or a loss of which nobody knows how strongly noise on labels regularises."""
        if run.loss.name != "mse":
            return f"a run under {run.loss.name}: what noise on labels does is known of squared error"
        if run.lr is None or run.optimizer.implicit_regularisation(run.lr, run.batch) is None:
            return f"a run of {run.optimizer.name}, whose implicit regularisation is not known"
        return ""

    def noisy(self, ds: xr.Dataset) -> tuple[list[NoisePath], dict[str, int]]:
        """The paths of runs with noise, and how many runs there are of which kind."""
        from stepscape.analysis.label_noise import noise_paths

        known = noise_paths(ds)
        noisy = [path for path in known if path.weight > 0]
        counts = {"without a path": ds.sizes["run"] - len(known), "without noise": len(known) - len(noisy)}
        return noisy, {**{part: count for part, count in counts.items() if count}, "judged": len(noisy)}

    def too_few(self, counts: dict[str, int]) -> Judgement:
        """The judgement where fewer than `fewest` runs are judged."""
        reason = f"{counts['judged']} runs can be judged; at least {self.fewest} must"
        return Judgement("not_testable", reason=reason, runs=counts)
