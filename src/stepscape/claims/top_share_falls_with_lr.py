"""At larger learning rates label noise presses more on the largest eigenvalues."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._label_noise import LabelNoiseClaim
from stepscape.fields import Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.label_noise import NoisePath

_FEWEST_RATES = 3


@member("top_share_falls_with_lr", source="Damian, Ma & Lee, arXiv:2106.06530")
class TopShareFallsWithLearningRate(LabelNoiseClaim):
    """The slope of log(lambda_1 / tr H) on log lr at equal lambda and t, a slope a seed, then the mean over seeds.

    lambda_1 / tr H is the mean over the second half of the steps. R weighs an eigenvalue h by 1 / (1 - h / c), with c
    the threshold, so that large ones count more as lr grows.
    """

    below: Annotated[Real, describe("the slope must be below this")] = 0.0

    @property
    def statement(self) -> str:
        return "The larger the learning rate, the smaller a share of tr H label noise leaves to the largest eigenvalue."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval, over seeds, of the slope of log(lambda_1 / tr H) on log lr lies "
            f"below {self.below:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.estimates import fit_slope, mean_over_seeds
        from stepscape.analysis.label_noise import late_mean

        paths, counts = self.noisy(ds)
        seeds: dict[int, list[NoisePath]] = defaultdict(list)
        for path in paths:
            seeds[path.seed].append(path)
        rates = {seed: [float(ds.lr.values[path.run]) for path in held] for seed, held in seeds.items()}
        fitted = {seed: held for seed, held in seeds.items() if len(set(rates[seed])) >= _FEWEST_RATES}
        counts["judged"] = sum(map(len, fitted.values()))
        if len(fitted) < self.fewest:
            reason = f"{len(fitted)} seeds at {_FEWEST_RATES} learning rates or more; at least {self.fewest} must be"
            return Judgement("not_testable", reason=reason, runs=counts)
        slopes = [
            fit_slope(
                np.log(rates[seed]).tolist(), [float(np.log(late_mean(path, path.top / path.trace))) for path in held]
            ).value
            for seed, held in fitted.items()
        ]
        mean = mean_over_seeds(slopes).interval(self.confidence)
        reason = f"slopes from {min(slopes):.3g} to {max(slopes):.3g}"
        verdict = within(mean.low, mean.high, (-np.inf, self.below))
        return Judgement(verdict, mean.value, mean.low, mean.high, reason, counts)
