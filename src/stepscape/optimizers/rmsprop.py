"""RMSProp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from stepscape.fields import Flag, Fraction, PositiveReal, describe
from stepscape.optimizers import Optimizer
from stepscape.optimizers._moments import corrected, decayed, ones
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("rmsprop", source="arXiv:2207.14484, section 2")
class RMSProp(Optimizer):
    """v <- beta2 v + (1 - beta2) g^2; theta <- theta - lr g / (sqrt(v_hat) + eps), with v_hat = v / (1 - beta2^t).

    Without bias correction v_hat = v. P = sqrt(v_hat) + eps; stable while lambda_1(P^-1 H) is below 2 / lr.
    """

    preconditions: ClassVar[bool] = True
    beta2: Annotated[Fraction, describe("decay of the mean of squared gradients, per update")] = 0.99
    eps: Annotated[PositiveReal, describe("added to the root, outside of it", "gradient")] = 1e-8
    bias_correction: Annotated[Flag, describe("whether v is divided by 1 - beta2^t")] = True

    def init(self, theta: Tensor) -> State:
        return {"beta2_power": ones(theta), "v": theta.new_zeros(theta.shape)}

    def _denominator(self, state: State, hyper: Hyper) -> Tensor:
        v = corrected(state["v"], state["beta2_power"]) if self.bias_correction else state["v"]
        return v.sqrt() + hyper["eps"].to(v.dtype)

    def _observe(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> State:
        return {
            "beta2_power": state["beta2_power"] * hyper["beta2"],
            "v": decayed(state["v"], objective.gradient(theta).square(), hyper["beta2"]),
        }

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        state = self._observe(objective, theta, state, hyper)
        step = hyper["lr"].to(theta.dtype) * objective.gradient(theta) / self._denominator(state, hyper)
        return theta - step, state

    def preconditioner(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> Tensor:
        return self._denominator(self._observe(objective, theta, state, hyper), hyper)

    def threshold(self, lr: float) -> float:
        return 2 / lr
