"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import NonNegativeReal, describe
from stepscape.optimizers.adam import Adam
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("adamw", source="arXiv:1711.05101; threshold from the recursion on a quadratic, as in arXiv:2207.14484")
class AdamW(Adam):
    """theta <- (1 - lr weight_decay) theta - lr m_hat / (sqrt(v_hat) + eps), with the moments and P of `adam`.

    The decay acts on all parameters, biases included, and bypasses the mean of gradients. On a quadratic with
    curvature h along P^-1, with a = 1 - lr weight_decay, the recursion in (theta, m) has trace
    a + beta1 - (1 - beta1) lr h and determinant a beta1. An eigenvalue passes -1 where 1 + trace + determinant = 0,
    so the decay lowers Adam's threshold by weight_decay (1 + beta1) / (1 - beta1): lambda_1(P^-1 H) must stay below
    (1 + beta1) (2 / lr - weight_decay) / (1 - beta1). Only without momentum is that P^-1 H + weight_decay I against
    2 / lr.
    """

    weight_decay: Annotated[NonNegativeReal, describe("share of theta taken off in an update", "1 / lr")] = 0.01

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        moved, state = super().update(objective, theta, state, hyper, random)
        # In float32 the factor 1 - lr weight_decay itself would keep few digits of the decay.
        return moved - (hyper["lr"] * hyper["weight_decay"]).to(theta.dtype) * theta, state

    def threshold(self, lr: float) -> float:
        return (1 + self.beta1) * (2 / lr - self.weight_decay) / (1 - self.beta1)
