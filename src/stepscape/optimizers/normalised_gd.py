"""Gradient descent with steps of one length."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from stepscape.optimizers import Optimizer
from stepscape.optimizers._moments import squared_norms
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("normalised_gd", source="Nesterov 1984; threshold arXiv:2205.09745")
class NormalisedGD(Optimizer):
    """theta <- theta - lr g / |g|, and no step where g = 0.

    Scalar RMSProp at beta2 = 0 and eps = 0. P is |g| times the identity: a step is one of gradient descent at lr / |g|,
    stable while lambda_1(P^-1 H) is below 2 / lr. As |g| falls, that is crossed in the end at any constant lr.
    """

    preconditions: ClassVar[bool] = True

    def _length(self, objective: Objective, theta: Tensor) -> Tensor:
        norm = squared_norms(objective.gradient(theta)).sqrt()
        return norm.masked_fill(norm == 0, 1)

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        step = hyper["lr"].to(theta.dtype) * objective.gradient(theta) / self._length(objective, theta)
        return theta - step, state

    def preconditioner(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> Tensor:
        return self._length(objective, theta).expand_as(theta)

    def threshold(self, lr: float) -> float:
        return 2 / lr
