"""RMSProp with one step size for all parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.optimizers._mean_squares import MeanSquares
from stepscape.optimizers._moments import squared_norms
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor


@member("scalar_rmsprop", source="arXiv:2410.24206, section 4")
class ScalarRMSProp(MeanSquares):
    """v <- beta2 v + (1 - beta2) |g|^2; theta <- theta - lr g / (sqrt(v_hat) + eps), with v_hat = v / (1 - beta2^t).

    Without bias correction v_hat = v. P is sqrt(v_hat) + eps times the identity; stable while lambda_1(P^-1 H) is below
    2 / lr.
    """

    def squares(self, gradient: Tensor) -> Tensor:
        return squared_norms(gradient)
