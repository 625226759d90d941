"""The loss of every lane on the data of one update, in the two ways that lanes are run.

What was computed at the last point is kept. The gradient that trains is never the one that Hessian products are built
on, so observing changes no bit of a trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from stepscape.curvature import Expansion, hvp
from stepscape.optimizers import Objective
from stepscape.training.problem import Evaluation, Problem, Samples

_ALIGNMENT = 64  # bytes


class LaneObjective(Objective, Protocol):
    """An objective that can be observed too."""

    def evaluations(self, theta: Tensor) -> list[Evaluation]:
        """Loss and accuracy of every lane at theta (lanes, P)."""
        ...

    def samples(self, lane: int) -> Samples:
        """The samples (n, ...) of one lane."""
        ...


class SequentialObjective:
    """The objective of `stepscape.optimizers`, one lane after another."""

    def __init__(self, problems: Sequence[Problem], samples: Sequence[Samples]) -> None:
        """One problem and one set of samples (n, ...) a lane."""
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

    def samples(self, lane: int) -> Samples:
        """The samples (n, ...) of one lane."""
        return self._lanes[lane][1]

    def hessian_product(self, theta: Tensor, vectors: Tensor) -> Tensor:
        """Products (lanes, P) of every lane's Hessian at theta (lanes, P) with its own vector (lanes, P)."""
        lanes = zip(self._lanes, theta, vectors, strict=True)
        return torch.stack([hvp(problem.loss_on(samples), row)(vector) for (problem, samples), row, vector in lanes])

    def expansion(self, theta: Tensor, lane: int) -> Expansion:
        """One lane's loss around any theta (P,)."""
        problem, samples = self._lanes[lane]
        return problem.expansion(theta, samples)

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape (B, C) of one lane's targets."""
        return tuple(self._lanes[0][1].targets.shape)

    def relabelled(self, shifts: Tensor) -> SequentialObjective:
        """The same loss on the same inputs, with `shifts` (lanes, B, C) added to the targets."""
        moved = [
            Samples(samples.inputs, samples.targets + shift)
            for (_, samples), shift in zip(self._lanes, shifts, strict=True)
        ]
        return SequentialObjective([problem for problem, _ in self._lanes], moved)


class _Point:
    """One lane's loss at one point: the forward pass once, the gradient once, each only if asked for."""

    def __init__(self, problem: Problem, samples: Samples, theta: Tensor) -> None:
        self._problem = problem
        self._samples = samples
        self._theta = theta.detach().clone().requires_grad_()

    @cached_property
    def _shares(self) -> list[tuple[Samples, float]]:
        return self._problem.shares(self._samples)

    def _pass(self, samples: Samples) -> tuple[Tensor, Tensor]:
        outputs = self._problem.outputs(self._theta, samples.inputs)
        return outputs, self._problem.run.loss(outputs, samples.targets)

    @cached_property
    def _forward(self) -> tuple[Tensor, Tensor]:
        """Outputs and loss; with a graph where all samples are in one chunk."""
        if len(self._shares) == 1:
            return self._pass(self._samples)
        with torch.no_grad():
            passes = [(*self._pass(samples), share) for samples, share in self._shares]
        return torch.cat([outputs for outputs, _, _ in passes]), torch.stack(
            [share * loss for _, loss, share in passes]
        ).sum()

    @property
    def value(self) -> Tensor:
        return self._forward[1].detach()

    @cached_property
    def evaluation(self) -> Evaluation:
        outputs, loss = (tensor.detach().unsqueeze(0) for tensor in self._forward)
        return self._problem.evaluations(outputs, loss, self._samples)[0]

    @cached_property
    def gradient(self) -> Tensor:
        if len(self._shares) == 1:
            return self._slope(self._forward[1])
        total = torch.zeros_like(self._theta)
        for samples, share in self._shares:
            total += self._slope(share * self._pass(samples)[1])
        return total.detach()

    def _slope(self, loss: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(loss, self._theta, materialize_grads=True)
        return grad


class VectorisedObjective:
    """The objective of `stepscape.optimizers`, all lanes in one computation.

    Lanes share the model, the loss and the shapes of their data. The losses are summed before they are differentiated;
    no lane's loss depends on another's parameters, so no lane's gradient does, not even on a NaN.
    """

    def __init__(self, problem: Problem, samples: Samples) -> None:
        """The problem of any of the lanes, and the samples (lanes, n, ...) of all."""
        self._problem = problem
        self._samples = samples
        self._theta: Tensor | None = None
        self._here: _LanePoint | None = None

    def _at(self, theta: Tensor) -> _LanePoint:
        if self._here is None or theta is not self._theta:
            self._theta = theta
            self._here = _LanePoint(self._problem, self._samples, theta)
        return self._here

    def value(self, theta: Tensor) -> Tensor:
        """Losses (lanes,) at theta (lanes, P)."""
        return self._at(theta).losses.detach()

    def gradient(self, theta: Tensor) -> Tensor:
        """Gradients (lanes, P) at theta (lanes, P)."""
        return self._at(theta).gradient

    def evaluations(self, theta: Tensor) -> list[Evaluation]:
        """Loss and accuracy of every lane at theta (lanes, P)."""
        return self._at(theta).evaluations

    def samples(self, lane: int) -> Samples:
        """The samples (n, ...) of one lane, in memory of their own."""
        return Samples(self._samples.inputs[lane].clone(), self._samples.targets[lane].clone())

    def hessian_product(self, theta: Tensor, vectors: Tensor) -> Tensor:
        """Products (lanes, P) of every lane's Hessian at theta (lanes, P) with its own vector (lanes, P)."""
        point = _LanePoint(self._problem, self._samples, theta)
        with torch.enable_grad():
            grads = torch.autograd.grad(point.losses.sum(), point.theta, create_graph=True, materialize_grads=True)[0]
        if not grads.requires_grad:
            return torch.zeros_like(vectors)
        return torch.autograd.grad(grads, point.theta, vectors, materialize_grads=True)[0]

    def expansion(self, theta: Tensor, lane: int) -> Expansion:
        """One lane's loss around any theta (P,), computed as if it trained alone."""
        return self._problem.expansion(theta, self.samples(lane))

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape (B, C) of one lane's targets."""
        return tuple(self._samples.targets.shape[1:])

    def relabelled(self, shifts: Tensor) -> VectorisedObjective:
        """The same loss on the same inputs, with `shifts` (lanes, B, C) added to the targets."""
        return VectorisedObjective(self._problem, Samples(self._samples.inputs, self._samples.targets + shifts))


class _LanePoint:
    """All lanes' losses at one point: the forward pass once, the gradient once, each only if asked for."""

    def __init__(self, problem: Problem, samples: Samples, theta: Tensor) -> None:
        self._problem = problem
        self._samples = samples
        self.theta = aligned_rows(theta.detach()).requires_grad_()

    @cached_property
    def outputs(self) -> Tensor:
        return self._problem.network.lane_outputs(self.theta, self._samples.inputs)

    @cached_property
    def losses(self) -> Tensor:
        losses = self._problem.run.loss(self.outputs, self._samples.targets)
        if losses.shape != self.theta.shape[:1]:
            name = self._problem.run.loss.name
            raise ValueError(
                f"loss {name} returned shape {tuple(losses.shape)} for outputs of shape {tuple(self.outputs.shape)}; "
                f"allowed: ({len(self.theta)},), a loss for each lane. Reduce over the last two dimensions alone."
            )
        return losses

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        return self._problem.evaluations(self.outputs.detach(), self.losses.detach(), self._samples)

    @cached_property
    def gradient(self) -> Tensor:
        (grad,) = torch.autograd.grad(self.losses.sum(), self.theta, materialize_grads=True)
        return grad


def aligned_rows(theta: Tensor) -> Tensor:
    """A copy of theta (lanes, P) whose rows start on 64-byte boundaries, so that all lanes take the same kernels."""
    per_line = _ALIGNMENT // theta.element_size()
    padded = theta.new_empty(len(theta), -(-theta.shape[1] // per_line) * per_line)
    return padded[:, : theta.shape[1]].copy_(theta)
