"""The sharpness of batches exceeds that of the training set by what the noise of the Hessian predicts."""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Judgement, within
from stepscape.claims._batch_sharpness import BatchSharpnessClaim
from stepscape.fields import PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

_WORDS = {
    "isotropic": "noise that is alike in all directions",
    "top": "the noise across the top eigenvector",
}


@member("batch_sharpness_predicted", source="arXiv:2006.09092")
class BatchSharpnessPredicted(BatchSharpnessClaim):
    """Measured over predicted excess of lambda_1(B): the geometric mean over batch sizes, then over seeds.

    Predicted is lambda_1 + v / lambda_1 with v = P s^2 (1/B - 1/N), or 2 sqrt(v) where that is more than lambda_1
    itself. P s^2 is measured as `hessian_noise` does: on average over all directions, as the theory assumes, or in that
    of the top eigenvector alone, which second-order perturbation theory asks for. The interval is Student's over seeds.
    """

    noise: Annotated[Literal["isotropic", "top"], describe("what P s^2 is taken from")] = "isotropic"
    low: Annotated[PositiveReal, describe("lower end of the band of ratios")] = 0.5
    high: Annotated[PositiveReal, describe("upper end of the band of ratios")] = 2.0

    @property
    def statement(self) -> str:
        return f"Random-matrix theory with {_WORDS[self.noise]} predicts how far batches are sharper than all samples."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the measured over the predicted excess, geometric mean, lies "
            f"inside [{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from stepscape.analysis.batch_hessian import excess_over_prediction

        points = self.points(ds)
        if isinstance(points, Judgement):
            return points
        ratio, runs = excess_over_prediction(points, self.noise), {"judged": len(points)}
        if ratio is None:
            return Judgement("not_testable", reason="an excess is not above 0", runs=runs)
        found = ratio.interval(self.confidence)
        verdict = within(found.low, found.high, (log(self.low), log(self.high)))
        return Judgement(verdict, exp(found.value), exp(found.low), exp(found.high), "", runs)
