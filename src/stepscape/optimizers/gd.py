"""Gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.optimizers import Optimizer
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("gd", source="arXiv:2103.00065")
class GradientDescent(Optimizer):
    """theta <- theta - lr g: gradient descent on the full training set, stochastic on smaller batches.

    Stable while the sharpness is below 2 / lr.
    """

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        return theta - hyper["lr"].to(theta.dtype) * objective.gradient(theta), state

    def threshold(self, lr: float) -> float:
        return 2 / lr
