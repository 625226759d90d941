"""A learning rate that rises first."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.fields import Count, Share, describe
from stepscape.registry import member
from stepscape.schedules import Schedule
from stepscape.schedules.constant import Constant
from stepscape.schedules.cosine import Cosine
from stepscape.schedules.linear_decay import LinearDecay


@member("warm_up", source="arXiv:1706.02677, section 2.2")
class WarmUp(Schedule):
    """(s + 1) / (W + 1) in the updates after steps s = 0 ... W - 1, W = `steps`; then another schedule over T - W.

    The update after step W is the first at the full learning rate. A budget of at most W updates ends on the rise.
    """

    steps: Annotated[Count, describe("updates below the full learning rate", "steps")] = 100
    then: Annotated[Literal["constant", "linear_decay", "cosine"], describe("the schedule after them")] = "constant"
    end: Annotated[Share, describe("the factor that linear_decay and cosine would have at T")] = 0.0

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.then == "constant" and self.end != 0:
            raise PydanticCustomError("end", "no `end`, or `then: linear_decay` or `cosine`, which have one")
        return self

    def factor(self, step: int, updates: int) -> float:
        if step < self.steps:
            return (step + 1) / (self.steps + 1)
        return self._following().factor(step - self.steps, updates - self.steps)

    def _following(self) -> Schedule:
        if self.then == "constant":
            return Constant()
        return LinearDecay(end=self.end) if self.then == "linear_decay" else Cosine(end=self.end)
