"""Heavy-ball momentum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Fraction, describe
from stepscape.optimizers import Optimizer
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("heavy_ball", source="Polyak 1964; threshold arXiv:2103.00065")
class HeavyBall(Optimizer):
    """v <- beta v - lr g; theta <- theta + v.

    The velocity holds the learning rate of the update that a gradient came from. PyTorch's SGD keeps v = -lr b with
    b <- beta b + g instead: the same while the learning rate is constant, another rule under a schedule.

    Stable while the sharpness is below (2 + 2 beta) / lr.
    """

    beta: Annotated[Fraction, describe("decay of the velocity, per update")] = 0.9

    def init(self, theta: Tensor) -> State:
        return {"velocity": theta.new_zeros(theta.shape)}

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        step = hyper["lr"].to(theta.dtype) * objective.gradient(theta)
        velocity = hyper["beta"].to(theta.dtype) * state["velocity"] - step
        return theta + velocity, {"velocity": velocity}

    def threshold(self, lr: float) -> float:
        return (2 + 2 * self.beta) / lr
