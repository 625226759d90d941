"""With small batches the sharpness stays below where the full batch takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.claims import Judgement, Verdict, above
from stepscape.claims._edge import EdgeClaim
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.analysis.bootstrap import Interval


@member("small_batches_stay_below", source="arXiv:1609.04836; arXiv:2002.09572")
class SmallBatchesStayBelow(EdgeClaim):
    """The mean gap of sharpness / threshold between the full batch and a smaller one, all else alike.

    A pair counts where its full-batch run reached the threshold. Where several smaller batch sizes are among the runs,
    all of them are judged together. A run on a small batch has also trained less far: flatter is not flatter at equal
    loss.
    """

    @property
    def statement(self) -> str:
        return "With smaller batches the sharpness stays below where the full batch takes it."

    @property
    def criterion(self) -> str:
        return (
            "the gap of the ratio, sharpness / threshold, between the full and the smaller batch in the last "
            f"{1 - self.judged_from:.2f} of training is positive in all pairs, and the {self.confidence:.0%} interval "
            "of its mean lies above 0"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        import numpy as np

        from stepscape.analysis.edge import EdgeRule, sharpness_ratio
        from stepscape.analysis.pairs import full_batch_gaps

        full = ds.full_batch.values
        reached = self.reached(ds)
        medians = EdgeRule(self.settled, self.judged_from).medians(sharpness_ratio(ds), ds.n_steps)
        counts_for = np.where(full, np.isin(np.arange(len(full)), reached.runs), ds.status.values != "diverged")
        gaps = full_batch_gaps(ds, np.where(counts_for, medians, np.nan))
        counts = {"full batch": int(full.sum()), "smaller batch": int((~full).sum()), "judged": len(gaps.values)}
        if len(gaps.values) < self.fewest:
            reason = (
                f"{len(gaps.values)} pairs, of which the run on the full batch reached the threshold in time; "
                f"at least {self.fewest} must be"
            )
            return Judgement("not_testable", reason=reason, runs=counts)
        mean, negative = gaps.mean(self.confidence), sum(gap <= 0 for gap in gaps.values)
        reason = f"{negative} of {len(gaps.values)} gaps are not positive" if negative else ""
        return Judgement(_verdict(mean, negative), mean.value, mean.low, mean.high, reason, counts)


def _verdict(mean: Interval, negative: int) -> Verdict:
    found = above(mean.low, mean.high, 0)
    return "undecided" if found == "supported" and negative else found
