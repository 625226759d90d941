"""One optimizer learns classes as a second does, rather than as a third."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._classes import ClassClaim, noted
from stepscape.fields import PositiveReal, Text, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr


@member("class_losses_closer", source="arXiv:2402.19449")
class ClassLossesCloser(ClassClaim):
    """The distance of an optimizer's losses by class frequency to those of `near`, over that to those of `far`.

    The distance of two sweeps is the root mean square over groups of classes of the difference of log final training
    losses. The geometric mean over settings, seeds and draws of the data; the interval is of its logarithm.
    """

    optimizer: Annotated[Text, describe("label or name of the optimizer that is compared")] = "sign_descent"
    near: Annotated[Text, describe("label or name of the one that it should be close to")] = "adam"
    far: Annotated[Text, describe("label or name of the one that it should be far from")] = "gd"
    at_most: Annotated[PositiveReal, describe("largest ratio of the two distances")] = 1.0

    @property
    def statement(self) -> str:
        return f"From frequent to rare classes {self.optimizer} does as {self.near} does, rather than as {self.far}."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio of distances in log loss over {self.groups} groups "
            f"of classes, {self.optimizer} to {self.near} over {self.optimizer} to {self.far}, lies below "
            f"{self.at_most:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.class_groups import group_losses, pairs
        from stepscape.analysis.estimates import mean_over_runs

        near = {first.run: (first, second) for first, second in pairs(ds, self.optimizer, self.near)}
        trios = [(*near[own.run], far) for own, far in pairs(ds, self.optimizer, self.far) if own.run in near]
        if len(trios) < self.fewest:
            names = f"trios {self.optimizer}, {self.near}, {self.far} of sweeps"
            return self.too_few(ds, [own for own, _, _ in trios], names)
        logs = [np.log(group_losses(ds, [trio[place].run for trio in trios], self.groups)) for place in range(3)]
        ratios = np.log(_distances(logs[0], logs[1]) / _distances(logs[0], logs[2]))
        mean = mean_over_runs(ratios.tolist(), [own.others for own, _, _ in trios], self.confidence)
        value, low, high = (float(np.exp(number)) for number in (mean.value, mean.low, mean.high))
        everyone = [best for trio in trios for best in trio]
        verdict = within(low, high, (0, self.at_most))
        return Judgement(verdict, value, low, high, noted(everyone), self.counted(ds, everyone))


def _distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root mean square over groups, (n,), NaN in both left out."""
    import numpy as np

    return np.asarray(np.sqrt(np.nanmean((first - second) ** 2, axis=1)))
