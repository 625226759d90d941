"""RMSProp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.optimizers._mean_squares import MeanSquares
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor


@member("rmsprop", source="arXiv:2207.14484, section 2")
class RMSProp(MeanSquares):
    """v <- beta2 v + (1 - beta2) g^2; theta <- theta - lr g / (sqrt(v_hat) + eps), with v_hat = v / (1 - beta2^t).

    Without bias correction v_hat = v. P = sqrt(v_hat) + eps; stable while lambda_1(P^-1 H) is below 2 / lr.
    """

    def squares(self, gradient: Tensor) -> Tensor:
        return gradient.square()
