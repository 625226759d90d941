"""One optimizer ends with a lower test loss than another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.claims import Claim, Judgement, above
from stepscape.fields import Fraction, Several, Text, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import xarray as xr

    from stepscape.study.run import Run


@member("lower_test_loss", source="arXiv:2211.06506")
class LowerTestLoss(Claim):
    """The ratio of final test losses of two optimizers, each at its best learning rate; geometric mean over seeds.

    The best is the one with the lowest final test loss, for each seed, dataset, model and loss apart: which favours
    neither, but flatters both. Runs of other settings that `where` leaves in, such as batch sizes, compete too.
    """

    optimizer: Annotated[Text, describe("label of the one that is said to be better")] = "adam"
    than: Annotated[Text, describe("label of the other")] = "gd"
    fewest: Annotated[Several, describe("pairs of runs", "pairs")] = 3
    confidence: Annotated[Fraction, describe("level of the interval")] = 0.95

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        return (("losses",),)

    @property
    def statement(self) -> str:
        return f"At their best learning rates {self.optimizer} ends with a lower test loss than {self.than}."

    @property
    def criterion(self) -> str:
        return (
            f"the {self.confidence:.0%} interval of the mean ratio of final test losses, {self.optimizer} over "
            f"{self.than}, lies below 1"
        )

    def judge(self, ds: xr.Dataset) -> Judgement:
        from math import exp, log

        from stepscape.analysis.estimates import mean_over_runs

        ours, theirs = (_best(ds, label) for label in (self.optimizer, self.than))
        pairs = {key: log(loss / theirs[key]) for key, loss in ours.items() if key in theirs}
        counts = {"diverged": int((ds.status.values == "diverged").sum()), "pairs": len(pairs)}
        counts = {part: count for part, count in counts.items() if count or part == "pairs"}
        if len(pairs) < self.fewest:
            reason = f"{len(pairs)} pairs of {self.optimizer} and {self.than}; at least {self.fewest} are needed"
            return Judgement("not_testable", reason=reason, runs=counts)
        mean = mean_over_runs(list(pairs.values()), [key[:-1] for key in pairs], self.confidence)
        verdict = above(-mean.high, -mean.low, 0)
        return Judgement(verdict, exp(mean.value), exp(mean.low), exp(mean.high), "", counts)


def _best(ds: xr.Dataset, optimizer: str) -> dict[tuple[object, ...], float]:
    """The lowest final test loss of an optimizer for each dataset, model, loss and seed."""
    import numpy as np

    found: dict[tuple[object, ...], float] = {}
    keys = zip(*(ds[name].values.tolist() for name in ("dataset", "model", "loss", "seed")), strict=True)
    runs = zip(keys, ds.optimizer.values, ds.status.values, ds.final_test_loss.values.astype(float), strict=True)
    for key, label, status, loss in runs:
        if label == optimizer and status != "diverged" and np.isfinite(loss) and loss > 0:
            found[key] = min(loss, found.get(key, np.inf))
    return found
