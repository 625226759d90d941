"""How far the parameters have moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepscape.observables import Observable, Variable
from stepscape.registry import member

if TYPE_CHECKING:
    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("distance")
class Distance(Observable):
    """The Euclidean distance |theta_s - theta_0| from the parameters that the run started from."""

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return (Variable("distance", "distance from the start", dtype=run.dtype, summary=True),)

    def gradients(self, run: Run) -> float:
        return 0.0

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, float], Memory]:
        start = memory["start"] if memory else snapshot.problem.initial()
        return {"distance": float((snapshot.theta.double() - start.double()).norm())}, {"start": start}
