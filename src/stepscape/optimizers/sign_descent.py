"""Sign descent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.optimizers import Optimizer
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("sign_descent", source="Bernstein et al., arXiv:1802.04434; arXiv:2402.19449")
class SignDescent(Optimizer):
    """theta <- theta - lr sign(g): every coordinate moves by lr, or not at all where its gradient is 0.

    RMSProp at beta2 = 0 and eps = 0. Its steps do not shrink with the gradient: at a constant lr it ends in an
    oscillation of that size, and no threshold is stated.
    """

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        return theta - hyper["lr"].to(theta.dtype) * objective.gradient(theta).sign(), state
