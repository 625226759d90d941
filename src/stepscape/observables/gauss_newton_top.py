"""The largest eigenvalues of the Gauss-Newton matrix, the part of the Hessian without second derivatives of outputs."""

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


@member("gauss_newton_top", source="Schraudolph 2002; arXiv:1706.04454")
class GaussNewtonTop(TopEigenvalues):
    """The largest eigenvalues of the Gauss-Newton matrix G = 1/N sum J^T (d^2 loss / d f^2) J of the training set.

    The Hessian is H = G + R; G is what it would be if outputs were linear in the parameters. Near a minimum that
    interpolates the data R vanishes.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return self.eigenvalue_variables("gauss_newton", "the Gauss-Newton matrix")

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        return self.track("gauss_newton", snapshot.gauss_newton, None, snapshot, memory)
