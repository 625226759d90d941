"""Rare classes are learnt later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.claims import Judgement, within
from stepscape.claims._classes import ClassClaim, noted
from stepscape.fields import Real, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("loss_follows_rarity", source="arXiv:2402.19449")
class LossFollowsRarity(ClassClaim):
    """The mean, over sweeps, of the rank correlation of a group's final training loss with how rare its classes are.

    It is 1 where each group has a larger loss than all more frequent ones, -1 where it has a smaller one.
    """

    expected: Annotated[Literal["rises", "does not rise"], describe("what the loss does from frequent to rare")] = (
        "rises"
    )
    least: Annotated[Real, describe("where `rises`: the least rank correlation")] = 0.8
    most: Annotated[Real, describe("where `does not rise`: the largest")] = 0.0

    @property
    def _band(self) -> tuple[float, float]:
        return (self.least, 1.0) if self.expected == "rises" else (-1.0, self.most)

    @property
    def statement(self) -> str:
        rises = "The rarer a class, the larger its training loss"
        does_not = "Rare classes have no larger a training loss than frequent ones"
        said = rises if self.expected == "rises" else does_not
        return f"{said} after equally many steps, each optimizer at its best learning rate."

    @property
    def criterion(self) -> str:
        side = f"at {self.least:g} or above" if self.expected == "rises" else f"at {self.most:g} or below"
        return (
            f"the {self.confidence:.0%} interval of the mean Spearman correlation of loss and rarity over "
            f"{self.groups} groups of classes with equally many samples lies {side}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.class_groups import best_runs, group_losses
        from stepscape.analysis.crossings import rank_correlation
        from stepscape.analysis.estimates import mean_over_runs

        best = best_runs(ds)
        if len(best) < self.fewest:
            return self.too_few(ds, best)
        losses = group_losses(ds, [each.run for each in best], self.groups)
        ranks = np.arange(self.groups)
        found = [rank_correlation(ranks[np.isfinite(row)], row[np.isfinite(row)]) for row in losses]
        judged = [(each, value) for each, value in zip(best, found, strict=True) if np.isfinite(value)]
        if len(judged) < self.fewest:
            return self.too_few(ds, [each for each, _ in judged])
        mean = mean_over_runs([value for _, value in judged], [each.settings for each, _ in judged], self.confidence)
        means = ", ".join(f"{value:.2g}" for value in np.ma.masked_invalid(losses).mean(axis=0).compressed())
        reason = "; ".join(filter(None, [f"mean losses from frequent to rare: {means}", noted(best)]))
        low, high = max(mean.low, -1.0), min(mean.high, 1.0)  # Student's interval knows of no bounds
        return Judgement(within(low, high, self._band), mean.value, low, high, reason, self.counted(ds, best))
