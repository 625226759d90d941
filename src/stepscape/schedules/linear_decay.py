"""A learning rate that falls on a line."""

from __future__ import annotations

from typing import Annotated

from stepscape.fields import Share, describe
from stepscape.registry import member
from stepscape.schedules import Schedule


@member("linear_decay")
class LinearDecay(Schedule):
    """1 - (1 - end) s / T in the update after step s of T: from 1 to a T-th of the fall above `end`."""

    end: Annotated[Share, describe("the factor at T, after the last update")] = 0.0

    def factor(self, step: int, updates: int) -> float:
        return self.end + (1 - self.end) * (1 - step / updates)
