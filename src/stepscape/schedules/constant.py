"""No schedule."""

from __future__ import annotations

from stepscape.registry import member
from stepscape.schedules import Schedule


@member("constant")
class Constant(Schedule):
    """The same learning rate in every update."""

    def factor(self, step: int, updates: int) -> float:
        return 1.0
