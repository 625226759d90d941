"""What claims about the Hessians of batches share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Claim, Judgement
from stepscape.fields import Fraction, Several, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.batch_hessian import BatchSharpness
    from stepscape.study.run import Run

_STILL = 1e-20
"""A learning rate at which no parameter moves, in float64 either."""


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class BatchSharpnessClaim(Claim):
    """A claim about the largest eigenvalue of batches, at points where runs stand still."""

    fewest: Annotated[Several, describe("seeds that must have been measured")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """Eigenvalues of the batch; of the training set, and its noise, where the batch is all of it."""
        return (("hessian_top",), ("hessian_noise",)) if run.is_full_batch else (("batch_top",),)

    def fault(self, run: Run) -> str:
        """A run whose parameters change from batch to batch."""
        if run.lr is None or run.lr > _STILL:
            return f"a run that moves; all batches are of one point where its lr is at most {_STILL:g}"
        return ""

    def points(self, ds: xr.Dataset) -> list[BatchSharpness] | Judgement:
        """The points of a dataset, or why there are too few of them."""
        from stepscape.analysis.batch_hessian import batch_sharpness
        from stepscape.analysis.grouping import differing

        others = differing(ds, ("batch_size", "full_batch", "start_run", *_BUDGET))
        if others:
            return Judgement("not_testable", reason=f"runs differ in {', '.join(others)}; narrow `where`")
        found = batch_sharpness(ds) if "batch_hessian_eigenvalue" in ds else []
        if len(found) < self.fewest:
            reason = f"{len(found)} seeds have eigenvalues of batches and of the training set; at least {self.fewest}"
            return Judgement("not_testable", reason=f"{reason} must", runs={"judged": len(found)})
        return found


_BUDGET = ("budget", "budget_steps", "budget_epochs", "budget_samples")
