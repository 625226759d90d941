"""What claims about the time in which label noise settles at a flat minimum share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Judgement, within
from stepscape.claims._control import ControlClaim
from stepscape.fields import Fraction, describe

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.settling import Fastest
    from stepscape.study.run import Run

_AXES = ("lr", "optimizer", "optimizer_beta", "budget", "budget_steps", "start_run")


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class SettlingClaim(ControlClaim):
    """A claim about how soon the Gauss-Newton trace settles, at which learning rate and momentum."""

    level: Annotated[Fraction, describe("to which tr G settles", "tr G at the start")] = 0.3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """The trace, and the test loss there."""
        return ("gauss_newton_trace",), ("losses",)

    def fault(self, run: Run) -> str:
        """No momentum to speak of, no start to compare with, or a trace without a loss."""
        for lacking, what in ((run.lr is None, "learning rate"), (not hasattr(run.optimizer, "beta"), "momentum beta")):
            if lacking:
                return f"a run of {run.optimizer.name}, which has no {what}"
        trace, losses = run.observable("gauss_newton_trace"), run.observable("losses")
        if trace and not trace.is_due(0):
            return "a run whose gauss_newton_trace is not recorded at step 0"
        if trace and losses and not all(losses.is_due(step) for step in trace.steps(run.updates)):
            return "a run whose losses are not recorded at all steps at which its gauss_newton_trace is"
        return ""

    def found(self, ds: xr.Dataset) -> dict[float, list[Fastest]] | Judgement:
        """The fastest momentum of each learning rate and seed, or why none can be told."""
        from stepscape.analysis.grouping import differing
        from stepscape.analysis.settling import fastest_momenta, settled

        if others := differing(ds, _AXES):
            varied = ", ".join(others)
            return Judgement(
                "not_testable", reason=f"runs differ in {varied}, not in lr, beta and seed alone; narrow `where`"
            )
        return fastest_momenta(settled(ds, self.level))

    def judged_line(
        self, ds: xr.Dataset, points: Mapping[float, Sequence[float]], band: tuple[float, float]
    ) -> Judgement:
        """The exponent of `points`, learning rate to logs, on a band."""
        from stepscape.analysis.settling import FEWEST_LEARNING_RATES, line

        rates = sorted({float(lr) for lr in ds.lr.values})
        beyond = [f"{lr:g}" for lr in rates if lr not in points]
        counts = {"judged": int(sum(float(lr) in points for lr in ds.lr.values))}
        counts |= {"at learning rates left out": ds.sizes["run"] - counts["judged"]} if beyond else {}
        note = f"left out: {', '.join(beyond)}, where it lies beyond the grid or the budget" if beyond else ""
        exponent = line(points)
        if exponent is None:
            reason = f"{len(points)} learning rates are left; at least {FEWEST_LEARNING_RATES} are needed; {note}"
            return Judgement("not_testable", reason=reason, runs=counts)
        interval = exponent.interval(self.confidence)
        verdict = within(interval.low, interval.high, band)
        return Judgement(verdict, interval.value, interval.low, interval.high, note, counts)
