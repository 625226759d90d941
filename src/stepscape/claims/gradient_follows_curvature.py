"""Gradient and curvature of a class go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, above
from stepscape.claims._classes import ClassClaim, noted
from stepscape.fields import Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("gradient_follows_curvature", source="arXiv:2402.19449, section 3")
class GradientFollowsCurvature(ClassClaim):
    """The mean, over sweeps, of the correlation over classes of log |g_c| and log tr H_cc at the end of training.

    g_c and H_cc are gradient and Hessian block of the class's weights in the last layer, as `per_class` has them.
    Classes without training samples are left out.
    """

    least: Annotated[Real, describe("what the mean correlation must be above")] = 0.9

    @property
    def statement(self) -> str:
        return "Over classes, the gradient's length and the Hessian's trace are proportional, up to a power."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean correlation, over classes, of log gradient norm and log "
            f"trace of the Hessian block after training lies above {self.least:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.class_groups import at_end, best_runs, log_correlation
        from stepscape.analysis.estimates import mean_over_runs

        has_samples = at_end(ds, "class_share") > 0
        norms, traces = (
            np.where(has_samples, at_end(ds, name), np.nan) for name in ("class_gradient_norm", "class_hessian_trace")
        )
        best = [(each, log_correlation(norms[each.run], traces[each.run])) for each in best_runs(ds)]
        judged = [(each, value) for each, value in best if np.isfinite(value)]
        if len(judged) < self.fewest:
            return self.too_few(ds, [each for each, _ in judged])
        mean = mean_over_runs([value for _, value in judged], [each.settings for each, _ in judged], self.confidence)
        everyone = [each for each, _ in judged]
        low, high = max(mean.low, -1.0), min(mean.high, 1.0)
        verdict = above(low, high, self.least)
        return Judgement(verdict, mean.value, low, high, noted(everyone), self.counted(ds, everyone))
