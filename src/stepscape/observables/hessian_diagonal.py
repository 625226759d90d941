"""The diagonal of the Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Count, describe
from stepscape.observables import Observable, Variable
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("hessian_diagonal", source="Bekas, Kokiopoulou & Saad 2007")
class HessianDiagonal(Observable):
    """The diagonal of the Hessian of the full training loss, from random signs, each entry with its standard error.

    Run files keep it, studies' datasets do not.
    """

    probes: Annotated[Count, describe("random vectors; standard errors need two")] = 32

    def variables(self, run: Run) -> tuple[Variable, ...]:
        shape = (("parameter",), (run.parameter_count,))
        return (
            Variable("hessian_diagonal", "diagonal of the Hessian", *shape, collected=False),
            Variable("hessian_diagonal_error", "standard error of the diagonal", *shape, collected=False),
        )

    def gradients(self, run: Run) -> float:
        return 2 + 1.5 * self.probes

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray], Memory]:
        from stepscape.curvature import estimated_diagonal

        theta = snapshot.theta
        randoms = [snapshot.random(f"diagonal probe {number}") for number in range(self.probes)]
        found = estimated_diagonal(snapshot.hessian, len(theta), randoms, dtype=theta.dtype, device=theta.device)
        diagonal, error = (values.cpu().numpy() for values in found)
        return {"hessian_diagonal": diagonal, "hessian_diagonal_error": error}, memory
