"""Label noise regularises at a rate that learning rate, noise and batch size set together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Judgement, within
from stepscape.claims._label_noise import LabelNoiseClaim
from stepscape.fields import Flag, PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

_SAME = 1e-3  # relative: what counts as one lambda, since a study spells standard deviations with a few digits


@member("label_noise_collapses", source="Damian, Ma & Lee, arXiv:2106.06530")
class LabelNoiseCollapses(LabelNoiseClaim):
    """The spread between configurations of equal lambda of the curves of tr H(t) / tr H(0), means over seeds.

    lambda = lr std^2 / (B (1 - beta)), and t = lr * steps / (1 - beta). The spread is the largest minus the smallest
    curve over their mean, averaged over measurements. Noise makes it too large rather than too small.
    """

    at_most: Annotated[PositiveReal, describe("largest spread")] = 0.1
    clock: Annotated[Literal["time", "steps"], describe("what the curves are compared at equal values of")] = "time"
    control: Annotated[Flag, describe("whether it is judged where it must fail")] = False

    @property
    def statement(self) -> str:
        at = "lambda t" if self.clock == "time" else "numbers of steps"
        said = f"the trace of the Hessian falls alike at equal {at}, whatever learning rate, noise, batch and momentum"
        return f"Control, which must fail: {said}." if self.control else f"At equal lambda {said}."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval, over seeds, of the mean spread between configurations of tr H over "
            f"its initial value, at equal {self.clock}, lies below {self.at_most:g} of its mean"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.label_noise import collapse

        paths, counts = self.noisy(ds)
        if len(paths) < self.fewest:
            return self.too_few(counts)
        weights = [path.weight for path in paths]
        if max(weights) > min(weights) * (1 + _SAME):
            reason = f"lambda is from {min(weights):.3g} to {max(weights):.3g}; the claim is about one; narrow `where`"
            return Judgement("not_testable", reason=reason, runs=counts)
        try:
            spread = collapse(paths, self.clock, self.confidence)
        except ValueError as error:
            return Judgement("not_testable", reason=str(error), runs=counts)
        counts["configurations"] = len({path.group for path in paths})
        low = min(spread.low, spread.value)  # resampling adds noise, which only adds to a spread
        return Judgement(within(low, spread.high, (0, self.at_most)), spread.value, low, spread.high, "", counts)
