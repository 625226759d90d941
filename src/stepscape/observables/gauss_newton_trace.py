"""The trace of the Gauss-Newton matrix, by which label noise regularises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepscape.observables import Observable, Variable
from stepscape.observables._samples import coupled
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("gauss_newton_trace", source="Schraudolph 2002; label noise: Damian, Ma & Lee, arXiv:2106.06530")
class GaussNewtonTrace(Observable):
    """tr G of the full training loss, with G = 1/N sum J^T (d^2 loss / d f^2) J; exact.

    Near a minimum that interpolates the data it is the trace of the Hessian. Under squared error it is the mean squared
    norm of an output's gradient, and noise on labels lowers it, since their gradients have the covariance std^2 G / B.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return (Variable("gauss_newton_trace", "trace of the Gauss-Newton matrix", dtype="float64", summary=True),)

    def gradients(self, run: Run) -> float:
        return 20.0 * run.dataset.outputs

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        return coupled(run)

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, float], Memory]:
        from stepscape.curvature import gauss_newton_trace

        problem = snapshot.problem

        def outputs(theta: Tensor, inputs: Tensor) -> Tensor:
            return problem.outputs(theta, inputs[None])[0]

        def loss(values: Tensor, target: Tensor) -> Tensor:
            return problem.run.loss(values[None], target[None])

        train = (problem.train.inputs, problem.train.targets)
        return {"gauss_newton_trace": gauss_newton_trace(outputs, loss, snapshot.theta, train)}, memory
