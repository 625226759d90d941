"""A learning rate that falls on half a period of the cosine."""

from __future__ import annotations

from math import cos, pi
from typing import Annotated

from stepscape.fields import Share, describe
from stepscape.registry import member
from stepscape.schedules import Schedule


@member("cosine", source="arXiv:1608.03983, equation 5, without restarts")
class Cosine(Schedule):
    """end + (1 - end) (1 + cos(pi s / T)) / 2 in the update after step s of T: from 1 to just above `end`."""

    end: Annotated[Share, describe("the factor at T, after the last update")] = 0.0

    def factor(self, step: int, updates: int) -> float:
        return self.end + (1 - self.end) * (1 + cos(pi * step / updates)) / 2
