"""The training loss falls as a power of the number of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._decay import DecayClaim
from stepscape.fields import Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("power_law_decay", source="Xu & Du, arXiv:2302.10034 (exponent -3)")
class PowerLawDecay(DecayClaim):
    """The mean over runs of the exponent a in: loss ~ step^a, of the line of log loss on log step.

    The reason holds the slope of all points together, by the fit that claims about learning rates use
    (`nested_slope`), each run's losses over their geometric mean: where the truth is known, both must find it.
    """

    low: Annotated[Real, describe("lower end of the band of exponents")] = -3.1
    high: Annotated[Real, describe("upper end of the band of exponents")] = -2.9

    @property
    def statement(self) -> str:
        return self.named(
            f"The training loss falls as the number of steps to a power between {self.low:g} and {self.high:g}."
        )

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean slope of log loss on log step, over the last "
            f"{self.decades:g} decades of steps, lies inside [{self.low:g}, {self.high:g}]"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.bootstrap import nested_slope
        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.grouping import configurations

        runs, curves, counts = self.curves(ds)
        if len(runs) < self.fewest:
            return self.too_few(counts)
        everyone = configurations(ds)
        groups = [everyone[i] for i in runs]
        mean = mean_over_runs([curve.exponent for curve in curves], groups, self.confidence)
        logs = [np.log(curve.losses) for curve in curves]
        x = np.concatenate([np.log(curve.steps) - np.log(curve.steps).mean() for curve in curves])
        y = np.concatenate([values - values.mean() for values in logs])
        each = [group for group, values in zip(groups, logs, strict=True) for _ in values]
        pooled = nested_slope(x.tolist(), y.tolist(), each, confidence=self.confidence)
        reason = f"all points together: {pooled.value:.3f} [{pooled.low:.3f}, {pooled.high:.3f}]"
        verdict = within(mean.low, mean.high, (self.low, self.high))
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, counts)
