"""One optimizer is ahead of another on rare classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._classes import ClassClaim, noted
from stepscape.fields import PositiveReal, Text, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("rare_loss_ratio", source="arXiv:2402.19449")
class RareLossRatio(ClassClaim):
    """The final training loss of one optimizer over that of another, on the rarest classes that hold half the samples.

    The geometric mean over sweeps that differ in the optimizer and its learning rates alone; the interval is of its
    logarithm. The same for the other half stands in the reason.
    """

    optimizer: Annotated[Text, describe("label or name of the optimizer whose loss is divided")] = "adam"
    reference: Annotated[Text, describe("label or name of the optimizer that it is divided by")] = "gd"
    at_most: Annotated[PositiveReal, describe("largest ratio")] = 0.3

    @property
    def statement(self) -> str:
        return f"On rare classes {self.optimizer} is far ahead of {self.reference} after equally many steps."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio of the loss of {self.optimizer} to that of "
            f"{self.reference}, on the rarest classes that hold half the samples, lies below {self.at_most:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.class_groups import group_losses, pairs
        from stepscape.analysis.estimates import mean_over_runs

        found = pairs(ds, self.optimizer, self.reference)
        if len(found) < self.fewest:
            return self.too_few(
                ds, [first for first, _ in found], f"pairs {self.optimizer}, {self.reference} of sweeps"
            )
        ours, theirs = (group_losses(ds, [pair[side].run for pair in found], 2) for side in (0, 1))
        ratios = np.log(ours / theirs)
        mean = mean_over_runs(ratios[:, 1].tolist(), [first.others for first, _ in found], self.confidence)
        value, low, high = (float(np.exp(number)) for number in (mean.value, mean.low, mean.high))
        both = [best for pair in found for best in pair]
        frequent = f"on frequent classes the ratio is {np.exp(ratios[:, 0].mean()):.2g}"
        reason = "; ".join(filter(None, [frequent, noted(both)]))
        return Judgement(within(low, high, (0, self.at_most)), value, low, high, reason, self.counted(ds, both))
