"""Preconditioned sharpness: the largest eigenvalues of P^-1 H."""

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


@member("preconditioned_top", source="arXiv:2207.14484")
class PreconditionedTop(TopEigenvalues):
    """The largest eigenvalues of P^-1 H, with P the preconditioner of the update about to be taken.

    Measured as those of the symmetric P^-1/2 H P^-1/2. Where P is the identity this is the Hessian.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return self.eigenvalue_variables("preconditioned", "the preconditioned Hessian")

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        from stepscape.curvature import preconditioned

        diagonal = snapshot.preconditioner
        operator = snapshot.hessian if diagonal is None else preconditioned(snapshot.hessian, diagonal)
        return self.track("preconditioned", operator, snapshot.threshold, snapshot, memory)
