"""The gradient-noise scale: the batch size at which noise and gradient are of one size."""

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


@member("noise_scale", source="arXiv:1812.06162, equation 2.9")
class NoiseScale(Observable):
    """tr Sigma / |g|^2, with Sigma the covariance of the training samples' gradients and g their mean.

    Exact: the gradient of every sample is computed. The mean of B samples drawn with replacement has squared error
    tr Sigma / B, so that at a batch size of the noise scale error and gradient are of one size.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return (
            Variable("noise_scale", "gradient-noise scale tr Sigma / |g|^2, in samples", dtype="float64", summary=True),
            Variable("gradient_variance", "trace of the covariance of the samples' gradients", dtype="float64"),
        )

    def gradients(self, run: Run) -> float:
        return 20.0 + (0.0 if run.is_full_batch else 1.0)

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        return coupled(run)

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, float], Memory]:
        from stepscape.curvature import gradient_variance

        problem = snapshot.problem

        def sample_loss(theta: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
            return problem.run.loss(problem.outputs(theta, inputs[None]), targets[None])

        train = (problem.train.inputs, problem.train.targets)
        variance = gradient_variance(sample_loss, snapshot.theta, train, snapshot.gradient)
        square = snapshot.gradient.double().square().sum().item()
        scale = variance / square if square else float("nan")
        return {"noise_scale": scale, "gradient_variance": variance}, memory
