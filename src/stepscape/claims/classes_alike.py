"""Where classes are balanced, all are learnt alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Judgement, within
from stepscape.claims._classes import ClassClaim, noted
from stepscape.fields import PositiveReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr


@member("classes_alike", source="arXiv:2402.19449")
class ClassesAlike(ClassClaim):
    """The largest over the smallest final training loss of groups of classes, less 1.

    Each group's loss is the mean over all sweeps first, so that what one draw of the data does to a group is averaged;
    the interval resamples sweeps. A maximum over a minimum is above 1 by chance: that errs on the side of failing.
    """

    at_most: Annotated[PositiveReal, describe("largest relative difference between two groups")] = 0.1

    @property
    def statement(self) -> str:
        return "Where all classes are equally frequent, all have the same training loss after equally many steps."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the relative difference between the largest and the smallest mean "
            f"loss of {self.groups} groups of classes lies below {self.at_most:g}"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.class_groups import best_runs, group_losses

        best = best_runs(ds)
        if len(best) < self.fewest:
            return self.too_few(ds, best)
        losses = group_losses(ds, [each.run for each in best], self.groups)
        random = np.random.Generator(np.random.Philox(0))
        drawn = losses[random.integers(len(losses), size=(2000, len(losses)))].mean(axis=1)  # (resamples, groups)
        spreads = np.nanmax(drawn, axis=1) / np.nanmin(drawn, axis=1) - 1
        low, high = np.quantile(spreads, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        mean = losses.mean(axis=0)
        value = float(np.nanmax(mean) / np.nanmin(mean) - 1)
        reason = "; ".join(filter(None, [f"mean losses: {', '.join(f'{loss:.2g}' for loss in mean)}", noted(best)]))
        verdict = within(float(low), float(high), (0, self.at_most))
        return Judgement(verdict, value, float(low), float(high), reason, self.counted(ds, best))
