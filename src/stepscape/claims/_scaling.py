"""What claims about learning rate against batch size share."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Claim
from stepscape.fields import Fraction, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.batch_scaling import BatchScaling
    from stepscape.analysis.saturation import Saturating
    from stepscape.study.run import Run

_AXES = ("lr", "batch_size", "full_batch")


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ScalingClaim(Claim):
    """A claim about how the largest stable learning rate grows with the batch size, at one loss and one budget."""

    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """The training loss."""
        return (("losses",),)

    def fault(self, run: Run) -> str:
        """No learning rate, or a loss that is not recorded at both ends."""
        if run.lr is None:
            return f"a run of {run.optimizer.name}, which has no learning rate"
        losses = run.observable("losses")
        if losses and not (losses.is_due(0) and losses.is_due(run.updates)):
            return f"a run whose losses are not recorded at steps 0 and {run.updates}, its first and last"
        return ""

    def statement_on(self, ds: xr.Dataset) -> str:
        """The statement with the loss and the budget, on which the exponent depends."""
        told = [", ".join(sorted(set(ds[name].values.tolist()))) for name in ("loss", "budget")]
        return f"{self.statement.removesuffix('.')} ({told[0]}, {told[1]})."


def mixed(ds: xr.Dataset, but: Collection[str] = ()) -> str:
    """Why runs are not one sweep of lr, batch size and seed; empty if they are."""
    from stepscape.analysis.grouping import differing

    others = differing(ds, (*_AXES, *but))
    return f"runs differ in {', '.join(others)}, not in lr, batch size and seed alone; narrow `where`" if others else ""


def left_out(scaling: BatchScaling) -> str:
    """The batch sizes that a fit leaves out; empty if there are none."""
    sides = {"left": "below", "right": "above"}
    named = [f"{size} ({sides[side]} the grid)" for size, side in scaling.censored.items()]
    return f"without batch size {', '.join(named)}" if named else ""


def knee(fit: Saturating, confidence: float) -> str:
    """Where the fit goes flat, or that it need not."""
    from math import exp

    low, high = (f"{exp(end):.3g}" for end in (fit.knee.low, fit.knee.high))
    if fit.saturates:
        return f"flat from batch size {exp(fit.knee.value):.3g} [{low}, {high}] on"
    return f"no knee is certain at {confidence:.0%}; if there is one, it is at batch size {low} or above"


def too_few(scaling: BatchScaling) -> str:
    """Why there is no exponent."""
    from stepscape.analysis.batch_scaling import FEWEST_BATCH_SIZES

    reason = f"{len(scaling.log_lr)} batch sizes with a largest stable lr; at least {FEWEST_BATCH_SIZES} are needed"
    return "; ".join(filter(None, [reason, left_out(scaling)]))


def counts(ds: xr.Dataset, scaling: BatchScaling) -> dict[str, int]:
    """How many runs are at batch sizes that are judged, how many at those left out, and how many diverged."""
    judged = sum(int(size) in scaling.log_lr for size in ds.batch_size.values)
    found = {"censored": ds.sizes["run"] - judged, "diverged": int((ds.status.values == "diverged").sum())}
    return {**{part: count for part, count in found.items() if count}, "judged": judged}
