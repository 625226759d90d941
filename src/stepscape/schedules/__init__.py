"""Schedules: how the learning rate changes with the step.

The update from step s to s + 1 takes the learning rate lr * factor(s, T), s = 0 ... T - 1. What falls to an end value
would have it at s = T, after the last update: every update still moves, and no threshold is infinite. What is recorded
at T uses the learning rate of the last update. T is the budget, whether or not a stopping rule ends the run before.
"""

from __future__ import annotations

from typing import ClassVar

from stepscape.registry import Member


class Schedule(Member):
    """The base of all schedules."""

    kind: ClassVar[str] = "schedule"

    def factor(self, step: int, updates: int) -> float:
        """What the run's `lr` is multiplied with in the update from `step` to `step` + 1, of `updates` in all."""
        raise NotImplementedError
