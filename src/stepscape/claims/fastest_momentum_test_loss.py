"""The fastest momentum costs no test loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._settling import SettlingClaim
from stepscape.fields import PositiveReal, Several, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("fastest_momentum_test_loss", source="Cowsik, Can & Glorioso, arXiv:2210.16400")
class FastestMomentumTestLoss(SettlingClaim):
    """The test loss with the fastest momentum over that without momentum, each when its tr G has settled.

    At equal flatness, whatever the number of updates. The geometric mean over learning rates and seeds of which both
    settled, where the fastest lies inside the grid; the interval is of its logarithm.
    """

    at_most: Annotated[PositiveReal, describe("largest ratio")] = 1.05
    fewest: Annotated[Several, describe("pairs of runs that must be judged", "pairs")] = 3

    @property
    def statement(self) -> str:
        most = f"at most {self.at_most:g} of that without"
        return self.named(f"At equal flatness the test loss of the fastest momentum is {most}.")

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio of the test losses lies below {self.at_most:g}, "
            f"each when tr G settles at {self.level:g} of the first"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.estimates import mean_over_runs
        from stepscape.analysis.settling import fastest_dampings

        found = self.found(ds)
        if isinstance(found, Judgement):
            return found
        pairs = [
            (lr, each.run.test_loss / each.plain.test_loss)
            for lr in fastest_dampings(found)
            for each in found[lr]
            if each.plain is not None and np.isfinite([each.run.steps, each.plain.steps]).all()
        ]
        counts = {"pairs": len(pairs)}
        if len(pairs) < self.fewest:
            reason = f"{len(pairs)} learning rates and seeds of which both settle; at least {self.fewest} must"
            return Judgement("not_testable", reason=reason, runs=counts)
        logs = [float(np.log(ratio)) for _, ratio in pairs]
        mean = mean_over_runs(logs, [lr for lr, _ in pairs], self.confidence)
        value, low, high = (float(np.exp(number)) for number in (mean.value, mean.low, mean.high))
        reason = f"from {np.exp(min(logs)):.3g} to {np.exp(max(logs)):.3g}"
        return Judgement(within(low, high, (0.0, self.at_most)), value, low, high, reason, counts)
