"""Sharpness: the largest eigenvalues of the Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepscape.observables import Variable
from stepscape.observables._tracking import TopEigenvalues
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("hessian_top", source="Wu & Simon 2000 (thick-restart Lanczos); arXiv:2103.00065")
class HessianTop(TopEigenvalues):
    """The largest eigenvalues of the Hessian of the full training loss.

    The threshold is recorded where the optimizer's preconditioner is the identity; elsewhere it is NaN, and
    `preconditioned_top` has it.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return self.eigenvalue_variables("hessian", "the Hessian")

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        threshold = None if snapshot.run.optimizer.preconditions else snapshot.threshold
        return self.track("hessian", snapshot.hessian, threshold, snapshot, memory)
