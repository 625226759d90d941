"""Schedules: how the learning rate changes with the step."""

from __future__ import annotations

from typing import ClassVar

from stepscape.registry import Member


class Schedule(Member):
    """The base of all schedules."""

    kind: ClassVar[str] = "schedule"

    def factor(self, step: int, updates: int) -> float:
        """What the run's `lr` is multiplied with in the update from `step` to `step` + 1, of `updates` in all."""
        raise NotImplementedError
