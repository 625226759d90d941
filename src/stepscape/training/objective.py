"""The loss of every lane on the data of one update."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from stepscape.curvature import hvp
from stepscape.training.problem import Evaluation, Problem, Samples


class _Point:
    """One lane's loss at one point: the forward pass once, the gradient once, each only if asked for."""

    def __init__(self, problem: Problem, samples: Samples, theta: Tensor) -> None:
        self._problem = problem
        self._samples = samples
        self._theta = theta.detach().clone().requires_grad_()

    @cached_property
    def _forward(self) -> tuple[Tensor, Tensor]:
        outputs = self._problem.outputs(self._theta, self._samples.inputs)
        return outputs, self._problem.run.loss(outputs, self._samples.targets)

    @property
    def value(self) -> Tensor:
        return self._forward[1].detach()

    @cached_property
    def evaluation(self) -> Evaluation:
        outputs, loss = self._forward
        return self._problem.evaluation(outputs.detach(), loss.detach(), self._samples)

    @cached_property
    def gradient(self) -> Tensor:
        (grad,) = torch.autograd.grad(self._forward[1], self._theta, materialize_grads=True)
        return grad


class LaneObjective:
    """The objective of `stepscape.optimizers`, lane after lane; what was computed at the last point is kept.

    The gradient that trains is never the one that Hessian products are built on, so observing changes no bit of a
    trajectory.
    """

    def __init__(self, problems: Sequence[Problem], samples: Sequence[Samples]) -> None:
        """One problem and one set of samples a lane."""
        self._lanes = list(zip(problems, samples, strict=True))
        self._theta: Tensor | None = None
        self._points: list[_Point] = []

    def _at(self, theta: Tensor) -> list[_Point]:
        if theta is not self._theta:
            self._theta = theta
            self._points = [_Point(*lane, row) for lane, row in zip(self._lanes, theta, strict=True)]
        return self._points

    def value(self, theta: Tensor) -> Tensor:
        """Losses (lanes,) at theta (lanes, P)."""
        return torch.stack([point.value for point in self._at(theta)])

    def gradient(self, theta: Tensor) -> Tensor:
        """Gradients (lanes, P) at theta (lanes, P)."""
        return torch.stack([point.gradient for point in self._at(theta)])

    def evaluations(self, theta: Tensor) -> list[Evaluation]:
        """Loss and accuracy of every lane at theta (lanes, P)."""
        return [point.evaluation for point in self._at(theta)]

    def hessian_product(self, theta: Tensor, vectors: Tensor) -> Tensor:
        """Products (lanes, P) of every lane's Hessian at theta (lanes, P) with its own vector (lanes, P)."""
        lanes = zip(self._lanes, theta, vectors, strict=True)
        return torch.stack([hvp(problem.loss_on(samples), row)(vector) for (problem, samples), row, vector in lanes])
