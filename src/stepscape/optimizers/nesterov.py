"""Nesterov momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Fraction, describe
from stepscape.optimizers import Optimizer
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("nesterov", source="Nesterov 1983; Sutskever et al. 2013; threshold arXiv:2103.00065")
class Nesterov(Optimizer):
    """v <- beta v - lr g(theta + beta v); theta <- theta + v, with g the gradient at the point looked ahead to.

    What is observed is theta, where the last update ended, not theta + beta v, where the next takes its gradient.
    PyTorch's SGD with `nesterov=True` holds the latter: at a constant learning rate its parameters are
    theta + beta v of this rule, in every step.

    Stable while the sharpness is below (2 + 2 beta) / ((1 + 2 beta) lr).
    """

    beta: Annotated[Fraction, describe("decay of the velocity, per update")] = 0.9

    def init(self, theta: Tensor) -> State:
        return {"velocity": theta.new_zeros(theta.shape)}

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        carried = hyper["beta"].to(theta.dtype) * state["velocity"]
        velocity = carried - hyper["lr"].to(theta.dtype) * objective.gradient(theta + carried)
        return theta + velocity, {"velocity": velocity}

    def threshold(self, lr: float) -> float:
        return (2 + 2 * self.beta) / ((1 + 2 * self.beta) * lr)
