"""The largest eigenvalues of what the Gauss-Newton matrix leaves of the Hessian."""

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


@member("residual_hessian", source="Schraudolph 2002; arXiv:1706.04454")
class ResidualHessian(TopEigenvalues):
    """The largest eigenvalues of R = H - G, what the Gauss-Newton matrix G leaves of the Hessian, and the smallest.

    R sums the curvature of outputs, weighted by the loss's slope. A product takes one with H and one with G.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return self.eigenvalue_variables("residual_hessian", "the residual Hessian")

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        from stepscape.curvature import difference

        return self.track(
            "residual_hessian", difference(snapshot.hessian, snapshot.gauss_newton), None, snapshot, memory
        )
