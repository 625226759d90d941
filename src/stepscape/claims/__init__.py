"""Claims: statements of the literature, judged on a dataset with a number and an interval."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from stepscape.registry import Member

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from stepscape.study.run import Run

Verdict = Literal["supported", "not_supported", "undecided", "not_testable"]


@dataclass(frozen=True)
class Judgement:
    """What a claim comes to on one dataset.

    Attributes:
        verdict: `undecided` where the interval straddles the criterion, `not_testable` with a reason.
        value: the number; None where there is none.
        low: lower end of its interval.
        high: upper end of its interval.
        reason: why it is not testable, or what a reader must know.
        runs: how many runs played which part.
    """

    verdict: Verdict
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    runs: Mapping[str, int] = field(default_factory=dict)


def within(low: float, high: float, bounds: tuple[float, float]) -> Verdict:
    """The verdict of an interval on a band: inside it, wholly outside of it, or neither."""
    if bounds[0] <= low and high <= bounds[1]:
        return "supported"
    return "not_supported" if high < bounds[0] or low > bounds[1] else "undecided"


def above(low: float, high: float, bound: float) -> Verdict:
    """The verdict of an interval on a lower bound: all of it above, none of it above, or neither."""
    if low > bound:
        return "supported"
    return "not_supported" if high <= bound else "undecided"


class Claim(Member):
    """The base of all claims. Its fields are fixed before a study runs; they are never tuned until it passes."""

    kind: ClassVar[str] = "claim"

    def needs(self, run: Run) -> tuple[tuple[str, ...], ...]:
        """What `run` must record: from each group of observables at least one."""
        return ()

    def fault(self, run: Run) -> str:
        """Why `run` cannot be judged by this claim at all; empty if it can."""
        return ""

    @property
    def statement(self) -> str:
        """The claim in one sentence."""
        raise NotImplementedError

    def statement_on(self, ds: xr.Dataset) -> str:
        """The statement, with what it holds for on a dataset, such as the loss and the budget, where that matters."""
        return self.statement

    @property
    def criterion(self) -> str:
        """When it counts as supported."""
        raise NotImplementedError

    def judge(self, ds: xr.Dataset) -> Judgement:
        """Judges the runs of a dataset, all of which it is about."""
        raise NotImplementedError
