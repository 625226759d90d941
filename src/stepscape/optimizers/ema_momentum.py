"""Momentum as an exponential moving average."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from stepscape.fields import Fraction, describe
from stepscape.optimizers import Optimizer
from stepscape.optimizers._moments import decayed
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("ema_momentum", source="arXiv:2207.14484, section 2")
class EMAMomentum(Optimizer):
    """m <- beta m + (1 - beta) g; theta <- theta - lr m: Adam's first moment alone, without bias correction.

    At a constant learning rate it is the heavy ball at (1 - beta) lr, and PyTorch's SGD with momentum beta at that
    learning rate. (PyTorch's `dampening` leaves out the factor 1 - beta in the first update.)

    Stable while the sharpness is below (2 + 2 beta) / ((1 - beta) lr), which is 38 / lr at beta = 0.9.
    """

    beta: Annotated[Fraction, describe("decay of the mean of gradients, per update")] = 0.9

    def init(self, theta: Tensor) -> State:
        return {"m": theta.new_zeros(theta.shape)}

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        m = decayed(state["m"], objective.gradient(theta), hyper["beta"])
        return theta - hyper["lr"].to(theta.dtype) * m, {"m": m}

    def threshold(self, lr: float) -> float:
        return (2 + 2 * self.beta) / ((1 - self.beta) * lr)
