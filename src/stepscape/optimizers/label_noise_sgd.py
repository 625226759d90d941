"""Gradient descent on labels that are disturbed anew in every update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from stepscape.fields import Fraction, NonNegativeReal, describe
from stepscape.optimizers import ImplicitRegularisation
from stepscape.optimizers.heavy_ball import HeavyBall
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from stepscape.optimizers import Hyper, LaneRandom, Objective, State


@member("label_noise_sgd", source="Blanc et al., arXiv:1904.09080; Damian, Ma & Lee, arXiv:2106.06530")
class LabelNoiseSGD(HeavyBall):
    """v <- beta v - lr grad L_B(theta; y + std xi); theta <- theta + v, with xi drawn anew for every target and update.

    xi has mean 0 and variance 1. Under squared error the mean of the gradient is that of clean labels. Near a zero of
    the loss theta follows, on average, L + lambda R with lambda = lr std^2 / (B (1 - beta)).

    Stable while the sharpness is below (2 + 2 beta) / lr.
    """

    std: Annotated[NonNegativeReal, describe("standard deviation of the noise; 0: none", "targets")] = 0.1
    law: Annotated[Literal["rademacher", "gaussian"], describe("of the noise: a sign, or normal")] = "rademacher"
    beta: Annotated[Fraction, describe("decay of the velocity, per update; 0: no momentum")] = 0.0

    @property
    def gradients(self) -> float:
        """One on disturbed labels, and the loss on clean ones, which says whether the run diverges."""
        return 4 / 3

    def update(
        self, objective: Objective, theta: Tensor, state: State, hyper: Hyper, random: LaneRandom
    ) -> tuple[Tensor, State]:
        shape = objective.target_shape
        noise = random.draws("label noise", lambda drawn: self._draw(drawn, shape), theta)
        shifts = hyper["std"].to(theta.dtype).unsqueeze(-1) * noise
        return super().update(objective.relabelled(shifts), theta, state, hyper, random)

    def _draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return random.standard_normal(shape) if self.law == "gaussian" else 2.0 * random.integers(0, 2, shape) - 1.0

    def implicit_regularisation(self, lr: float, batch: int) -> ImplicitRegularisation:
        rate = lr / (1 - self.beta)
        return ImplicitRegularisation(weight=rate * self.std**2 / batch, rate=rate)
