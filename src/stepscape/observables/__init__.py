"""Observables: what is measured along a run, and when.

Step s means s updates done; what is recorded at s is of theta_s. Every observable has its own clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import lcm
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, ConfigDict, model_validator
from pydantic.dataclasses import dataclass as typed_dataclass
from pydantic_core import PydanticCustomError

from stepscape.fields import Count, Index, describe
from stepscape.registry import Member

if TYPE_CHECKING:
    from typing import Any, Self

    import numpy as np
    from torch import Tensor

    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot

    Memory = Mapping[str, Tensor]


@dataclass(frozen=True)
class Variable:
    """One array that an observable records: what it is called and what it holds.

    Attributes:
        name: its name in run files and datasets.
        long_name: what it is, in words.
        dims: names of the dimensions of one measurement; empty for a number.
        shape: their lengths.
        dtype: how it is stored.
        collected: whether the dataset of a study holds it; if not, only run files do.
        summary: whether the last measurement stands in the table of runs, as `final_<name>`; of several, the first.
    """

    name: str
    long_name: str
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float32"
    collected: bool = True
    summary: bool = False


def longest(variables: Iterable[Variable]) -> dict[str, int]:
    """Length of each dimension: the longest of the variables on it; the others are padded with NaN."""
    lengths: dict[str, int] = {}
    for variable in variables:
        for dim, length in zip(variable.dims, variable.shape, strict=True):
            lengths[dim] = max(length, lengths.get(dim, 0))
    return lengths


def _in_order(steps: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(steps)))  # one clock, one spelling, one run id


def _recurs(every: int | None, pairs: int | None, step: int) -> bool:
    return bool(every and step % every == 0) or bool(pairs and step % pairs <= 1)


@cache
def _count(every: int | None, pairs: int | None, at: tuple[int, ...], updates: int) -> int:
    period = lcm(every or 1, pairs or 1)
    whole, rest = divmod(updates + 1, period)
    recurring = [step for step in range(min(period, updates + 1)) if _recurs(every, pairs, step)]
    alone = sum(step <= updates and not _recurs(every, pairs, step) for step in at)
    return whole * len(recurring) + sum(step < rest for step in recurring) + alone


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Observable(Member):
    """The base of all observables: a clock, and a measurement."""

    kind: ClassVar[str] = "observable"
    every: Annotated[Count | None, describe("measured at 0 and each multiple of this", "steps")] = None
    at: Annotated[tuple[Index, ...], AfterValidator(_in_order), describe("measured at these steps", "steps")] = ()
    pairs: Annotated[Count | None, describe("measured at each multiple of this and the step after", "steps")] = None

    @model_validator(mode="after")
    def _has_a_clock(self) -> Self:
        if self.every is None and self.pairs is None and not self.at:
            raise PydanticCustomError("clock", "a clock: `every`, `at` or `pairs`")
        return self

    def is_due(self, step: int) -> bool:
        """Whether this is measured at `step`."""
        return self._recurs(step) or step in self.at

    def _recurs(self, step: int) -> bool:
        return _recurs(self.every, self.pairs, step)

    def steps(self, updates: int) -> list[int]:
        """All steps of a run of `updates` updates at which this is measured, in order."""
        return [step for step in range(updates + 1) if self.is_due(step)]

    def measurements(self, updates: int) -> int:
        """How often this is measured in a run of `updates` updates, without walking all of its steps."""
        return _count(self.every, self.pairs, self.at, updates)

    @property
    def dim(self) -> str:
        """The dimension of its measurements: `step` for what is recorded every step."""
        return "step" if self.every == 1 else f"{self.name}_measurement"

    def variables(self, run: Run) -> tuple[Variable, ...]:
        """What one measurement of `run` records."""
        raise NotImplementedError

    def gradients(self, run: Run) -> float:
        """Estimated cost of one measurement, in gradients of the full training loss."""
        raise NotImplementedError

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        """Why `run` cannot be observed so: the field, what it is, what it may be; None if it can."""
        return None

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        """One measurement.

        Args:
            snapshot: what may be looked at.
            memory: what this observable kept from its previous measurement of the run; empty at first.

        Returns:
            The values of its variables, and what to keep for the next measurement.
        """
        raise NotImplementedError
