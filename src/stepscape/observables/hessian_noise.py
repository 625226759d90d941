"""How much the Hessians of samples differ, on average over directions and in the one that matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from stepscape.fields import PositiveReal, Several, describe
from stepscape.observables import Observable, Variable
from stepscape.observables._samples import coupled
from stepscape.observables._tracking import LEAST_TOL
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("hessian_noise", source="arXiv:2006.09092")
class HessianNoise(Observable):
    """mean_i |H_i - H|_F^2 / P over training samples i, and mean_i |(H_i - H) u|^2 across the top eigenvector u.

    Were the entries of H_i - H independent, of variance s^2, as random-matrix theory has it, both would be P s^2; the
    mean over B samples then has a largest eigenvalue higher by P s^2 (1/B - 1/N) / lambda_1. The first is estimated
    from random signs, with its standard error; the second takes every sample and is exact.
    """

    probes: Annotated[Several, describe("random vectors")] = 8
    tol: Annotated[PositiveReal, describe("largest relative residual of the top eigenpair")] = 1e-3

    def variables(self, run: Run) -> tuple[Variable, ...]:
        words = {
            "hessian_noise": "P s^2, mean of |H_i - H|_F^2 / P over samples",
            "hessian_noise_error": "standard error of P s^2 over random vectors",
            "hessian_noise_top": "mean of the square of (H_i - H) u across the top eigenvector u",
            "hessian_noise_along": "mean of (u^T (H_i - H) u)^2",
        }
        return tuple(Variable(name, text, dtype="float64") for name, text in words.items())

    def gradients(self, run: Run) -> float:
        return 40.0 * (self.probes + 1)

    def fault(self, run: Run) -> tuple[str, Any, str] | None:
        if fault := coupled(run, "Hessians"):
            return fault
        if self.tol < LEAST_TOL[run.dtype]:
            return "tol", self.tol, f"at least {LEAST_TOL[run.dtype]:g}, what {run.dtype} can reach"
        return None

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, float], Memory]:
        import numpy as np

        top = self._top(snapshot, memory.get("top"))
        variance = _variance_along(snapshot)
        whole, along = variance(top)
        means = np.asarray([variance(probe)[0] for probe in self._probes(snapshot)])
        values = {
            "hessian_noise": float(means.mean()),
            "hessian_noise_error": float(means.std(ddof=1) / np.sqrt(len(means))),
            "hessian_noise_top": whole - along,
            "hessian_noise_along": along,
        }
        return values, {"top": top[None]} if top.isfinite().all() else {}

    def _top(self, snapshot: Snapshot, previous: Tensor | None) -> Tensor:
        from stepscape.curvature import track_eigenpairs

        found = track_eigenpairs(
            snapshot.hessian,
            len(snapshot.theta),
            1,
            tol=self.tol,
            previous=previous,
            generator=snapshot.random("hessian_noise start"),
            dtype=snapshot.theta.dtype,
            device=snapshot.theta.device,
            search=False,
        )
        return found.pairs.vectors[0]

    def _probes(self, snapshot: Snapshot) -> list[Tensor]:
        """Vectors (P,) of length 1 whose entries have random signs."""
        import torch

        theta = snapshot.theta
        randoms = [snapshot.random(f"hessian_noise probe {number}") for number in range(self.probes)]
        signs = [torch.from_numpy(random.choice([-1.0, 1.0], len(theta))).to(theta) for random in randoms]
        return [sign / len(theta) ** 0.5 for sign in signs]


def _variance_along(snapshot: Snapshot) -> Callable[[Tensor], tuple[float, float]]:
    """`hessian_variance` at a snapshot, as a function of the vector alone."""
    from stepscape.curvature import hessian_variance

    problem = snapshot.problem

    def sample_loss(theta: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        return problem.run.loss(problem.outputs(theta, inputs[None]), targets[None])

    train = (problem.train.inputs, problem.train.targets)
    return lambda vector: hessian_variance(sample_loss, snapshot.theta, train, vector, snapshot.hessian(vector))
