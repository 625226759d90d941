"""Adam."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from stepscape.fields import Flag, Fraction, PositiveReal, describe
from stepscape.optimizers import Optimizer
from stepscape.optimizers._moments import corrected, decayed, ones
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("adam", source="arXiv:1412.6980; threshold arXiv:2207.14484, section 2")
class Adam(Optimizer):
    """m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2; theta <- theta - lr m_hat / (sqrt(v_hat) + eps).

    m_hat = m / (1 - beta1^t), v_hat = v / (1 - beta2^t); without bias correction m and v themselves. With
    P = (1 - beta1^t) (sqrt(v_hat) + eps) the update is theta - lr P^-1 m: heavy-ball descent under the preconditioner
    P, stable while lambda_1(P^-1 H) is below (2 + 2 beta1) / ((1 - beta1) lr), which is 38 / lr at beta1 = 0.9.
    """

    preconditions: ClassVar[bool] = True
    beta1: Annotated[Fraction, describe("decay of the mean of gradients, per update")] = 0.9
    beta2: Annotated[Fraction, describe("decay of the mean of squared gradients, per update")] = 0.999
    eps: Annotated[PositiveReal, describe("added to the root, outside of it", "gradient")] = 1e-8
    bias_correction: Annotated[Flag, describe("whether m and v are divided by 1 - beta^t")] = True

    def init(self, theta: Tensor) -> State:
        zeros = theta.new_zeros(theta.shape)
        return {"beta1_power": ones(theta), "beta2_power": ones(theta), "m": zeros, "v": zeros}

    def _denominator(self, state: State, hyper: Hyper) -> Tensor:
        if not self.bias_correction:
            return state["v"].sqrt() + hyper["eps"].to(state["v"].dtype)
        root = corrected(state["v"], state["beta2_power"]).sqrt()
        return (root + hyper["eps"].to(root.dtype)) * (1 - state["beta1_power"]).to(root.dtype)

    def _observe(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> State:
        grad = objective.gradient(theta)
        return {
            "beta1_power": state["beta1_power"] * hyper["beta1"],
            "beta2_power": state["beta2_power"] * hyper["beta2"],
            "m": decayed(state["m"], grad, hyper["beta1"]),
            "v": decayed(state["v"], grad.square(), hyper["beta2"]),
        }

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        state = self._observe(objective, theta, state, hyper)
        return theta - hyper["lr"].to(theta.dtype) * state["m"] / self._denominator(state, hyper), state

    def preconditioner(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> Tensor:
        return self._denominator(self._observe(objective, theta, state, hyper), hyper)

    def threshold(self, lr: float) -> float:
        return (2 + 2 * self.beta1) / ((1 - self.beta1) * lr)
