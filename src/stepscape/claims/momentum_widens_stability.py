"""With momentum larger effective learning rates are stable."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Claim, Judgement, above
from stepscape.claims._scaling import mixed
from stepscape.fields import Fraction, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("momentum_widens_stability", source="arXiv:2307.15196; Polyak 1964")
class MomentumWidensStability(Claim):
    """The largest stable effective learning rate lr / (1 - beta) with momentum over that without: geometric mean.

    Stable is as in `stable_lr_exponent`. On a quadratic the factor is (1 + beta) / (1 - beta), from the thresholds
    (2 + 2 beta) / lr and 2 / lr. The interval is Student's over seeds.
    """

    at_least: Annotated[PositiveReal, describe("factor that counts as wider")] = 2.0
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",),)

    @property
    def statement(self) -> str:
        return "Momentum survives at effective learning rates at which descent without it is unstable."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the largest stable effective learning rate with momentum over that "
            f"without lies above {self.at_least:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.estimates import mean_over_seeds
        from stepscape.analysis.momentum import stability_gains

        if reason := mixed(ds, [str(name) for name in ds.coords if str(name).startswith("optimizer")]):
            return Judgement("not_testable", reason=reason)
        gains = stability_gains(ds)
        if len(gains) != 1:
            reason = f"{len(gains)} pairs of batch size and beta; it takes one, beside runs of gd; narrow `where`"
            return Judgement("not_testable", reason=reason)
        (((_, beta), logs),) = gains.items()
        if logs is None or len(logs) < 2:
            reason = "a largest stable learning rate lies beyond the grid" if logs is None else "fewer than two seeds"
            return Judgement("not_testable", reason=reason)
        found = mean_over_seeds(logs).interval(self.confidence)
        reason = f"on a quadratic {(1 + beta) / (1 - beta):.3g}"
        verdict = above(found.low, found.high, log(self.at_least))
        return Judgement(verdict, exp(found.value), exp(found.low), exp(found.high), reason, {"seeds": len(logs)})
