"""What was recorded along a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stepscape.observables import Observable, Variable
from stepscape.study.run import Run

Status = Literal["completed", "stopped", "not_reached", "diverged"]


@dataclass
class Record:
    """The measurements of a run, and how it ended.

    Attributes:
        run: the run.
        status: `completed`: its budget is spent; `stopped` or `not_reached`: its stopping rule was met, or not;
            `diverged`: a loss or a parameter was not finite.
        updates: updates done.
        reason: in words, why it ended there.
        steps: name of an observable to the steps it was measured at.
        values: name of a variable to its measurements.
        start: the parameters (P,) that a run with a `start` began with.
    """

    run: Run
    status: Status = "completed"
    updates: int = 0
    reason: str = ""
    steps: dict[str, list[int]] = field(default_factory=dict)
    values: dict[str, list[np.ndarray]] = field(default_factory=dict)
    start: np.ndarray | None = None

    def __post_init__(self) -> None:
        self._variables = {observable.name: observable.variables(self.run) for observable in self.run.observe}
        self.steps |= {name: [] for name in self._variables}
        self.values |= {variable.name: [] for declared in self._variables.values() for variable in declared}

    def add(self, observable: Observable, step: int, values: Mapping[str, np.ndarray | float]) -> None:
        """Keeps one measurement.

        Args:
            observable: what was measured.
            step: when.
            values: a value for each of its variables.

        Raises:
            ValueError: the values are not those that the observable declares: a defect of that member.
        """
        variables = self._variables[observable.name]
        if set(values) != {variable.name for variable in variables}:
            raise ValueError(f"{observable.name} measured {sorted(values)}, declared {[v.name for v in variables]}")
        self.steps[observable.name].append(step)
        for variable in variables:
            self.values[variable.name].append(_checked(variable, values[variable.name]))


def _checked(variable: Variable, value: np.ndarray | float) -> np.ndarray:
    array = np.asarray(value, dtype=variable.dtype)
    if array.shape != variable.shape:
        raise ValueError(f"{variable.name} has shape {array.shape}, declared {variable.shape}")
    return array
