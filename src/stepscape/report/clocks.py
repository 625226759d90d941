"""The steps of the rows of a page's series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Clocks:
    """Which steps the rows of each series have, each told once: most rows have those of others, or the first of them.

    Attributes:
        told: in terms of JSON, a clock for each distinct set of rows: `patterns`, lists of steps; `pattern` and
            `length`, of each row, -1 and 0 where it has none.
    """

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def add(self, steps_of: Sequence[NDArray[np.integer]]) -> int:
        """Which of the clocks these rows have; a new one if need be."""
        patterns: list[NDArray[np.integer]] = []
        pattern, length = [-1] * len(steps_of), [0] * len(steps_of)
        for index in sorted(range(len(steps_of)), key=lambda index: -len(steps_of[index])):
            steps = steps_of[index]
            if not len(steps):
                continue
            same = (place for place, other in enumerate(patterns) if np.array_equal(other[: len(steps)], steps))
            place = next(same, len(patterns))
            if place == len(patterns):
                patterns.append(steps)
            pattern[index], length[index] = place, len(steps)
        clock = {"patterns": [steps.tolist() for steps in patterns], "pattern": pattern, "length": length}
        if clock not in self.told:
            self.told.append(clock)
        return self.told.index(clock)
