"""The length of the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepscape.observables import Observable, Variable
from stepscape.registry import member

if TYPE_CHECKING:
    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("gradient_norm")
class GradientNorm(Observable):
    """The Euclidean norm of the gradient of the full training loss."""

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return (Variable("gradient_norm", "norm of the gradient of the training loss", dtype=run.dtype, summary=True),)

    def gradients(self, run: Run) -> float:
        return 0.0 if run.is_full_batch else 1.0  # with full batches the update needs this gradient anyway

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, float], Memory]:
        return {"gradient_norm": float(snapshot.gradient.double().norm())}, memory
