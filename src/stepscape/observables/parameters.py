"""The parameters themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Flag, describe
from stepscape.observables import Observable, Variable
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("parameters")
class Parameters(Observable):
    """The flat vector theta, kept in the run file; in studies' datasets only where runs are to be compared by it."""

    collected: Annotated[Flag, describe("whether the study's dataset holds it too")] = False

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return (
            Variable(
                "parameters",
                "parameters",
                ("parameter",),
                (run.parameter_count,),
                run.dtype,
                collected=self.collected,
            ),
        )

    def gradients(self, run: Run) -> float:
        return 0.0

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray], Memory]:
        return {"parameters": snapshot.theta.cpu().numpy()}, memory
