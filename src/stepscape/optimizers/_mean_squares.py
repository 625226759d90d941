"""What RMSProp and its scalar form share: a decaying mean of squared gradients, and its root as preconditioner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass as typed_dataclass
from pydantic_core import PydanticCustomError

from stepscape.fields import Flag, Fraction, NonNegativeReal, PositiveReal, describe
from stepscape.optimizers import Optimizer
from stepscape.optimizers._moments import corrected, decayed, ones

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class MeanSquares(Optimizer):
    """v <- beta2 v + (1 - beta2) squares(g); theta <- theta - lr g / (sqrt(v) + eps).

    The state holds what gradients have added to v; the rest of it is beta2^t `initial`.
    """

    preconditions: ClassVar[bool] = True
    beta2: Annotated[Fraction, describe("decay of the mean of squared gradients, per update")] = 0.99
    eps: Annotated[PositiveReal, describe("added to the root, outside of it", "gradient")] = 1e-8
    bias_correction: Annotated[Flag, describe("whether v is divided by 1 - beta2^t")] = True
    initial: Annotated[
        NonNegativeReal, describe("v before the first update; above 0 without bias correction only", "gradient^2")
    ] = 0.0

    @model_validator(mode="after")
    def _has_one_start(self) -> Self:
        if self.initial and self.bias_correction:
            raise PydanticCustomError("initial", "an `initial` of 0, or `bias_correction: false`")
        return self

    def squares(self, gradient: Tensor) -> Tensor:
        """What v is a mean of: (lanes, P), or (lanes, 1) where all coordinates share it, for gradients (lanes, P)."""
        raise NotImplementedError

    def init(self, theta: Tensor) -> State:
        return {"beta2_power": ones(theta), "v": self.squares(theta.new_zeros(theta.shape))}

    def _denominator(self, state: State, hyper: Hyper) -> Tensor:
        v = state["v"] + (state["beta2_power"] * hyper["initial"]).to(state["v"].dtype)
        v = corrected(v, state["beta2_power"]) if self.bias_correction else v
        return v.sqrt() + hyper["eps"].to(v.dtype)

    def _observe(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> State:
        return {
            "beta2_power": state["beta2_power"] * hyper["beta2"],
            "v": decayed(state["v"], self.squares(objective.gradient(theta)), hyper["beta2"]),
        }

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        state = self._observe(objective, theta, state, hyper)
        step = hyper["lr"].to(theta.dtype) * objective.gradient(theta) / self._denominator(state, hyper)
        return theta - step, state

    def preconditioner(self, objective: Objective, theta: Tensor, state: State, hyper: Hyper) -> Tensor:
        diagonal = self._denominator(self._observe(objective, theta, state, hyper), hyper)
        return diagonal.expand_as(theta)

    def threshold(self, lr: float) -> float:
        return 2 / lr
