"""Label noise keeps the loss up by as much as the curvature says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._label_noise import LabelNoiseClaim
from stepscape.fields import PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("label_noise_loss", source="Damian, Ma & Lee, arXiv:2106.06530; Mandt et al., arXiv:1704.04289")
class LabelNoiseLoss(LabelNoiseClaim):
    """The mean over runs of the training loss in the second half over lambda / 4 tr H (1 - H / c)^-1.

    That is the mean loss of the stationary fluctuation from which R is derived, of the measured eigenvalues.
    """

    low: Annotated[PositiveReal, describe("lower end of the band")] = 0.9
    high: Annotated[PositiveReal, describe("upper end of the band")] = 1.1

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("hessian_spectrum",), ("losses",))

    @property
    def statement(self) -> str:
        return "Label noise keeps the training loss at lambda / 4 tr H (1 - H / c)^-1 on average."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio of the training loss in the second half of the "
            f"steps to that prediction lies inside [{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.label_noise import late_loss, late_mean

        paths, counts = self.noisy(ds)
        ratios = [late_loss(ds, path) / late_mean(path, path.predicted_loss) for path in paths]
        judged = [(ratio, path.group) for ratio, path in zip(ratios, paths, strict=True) if np.isfinite(ratio)]
        counts["judged"] = len(judged)
        if len(judged) < self.fewest:
            return self.too_few(counts)
        values = [ratio for ratio, _ in judged]
        mean = mean_over_runs(values, [group for _, group in judged], self.confidence)
        reason = f"from {min(values):.3g} to {max(values):.3g}"
        verdict = within(mean.low, mean.high, (self.low, self.high))
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, counts)
