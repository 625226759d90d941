"""Squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepscape.losses import Loss
from stepscape.registry import member

if TYPE_CHECKING:
    from torch import Tensor


@member("mse", source="arXiv:2103.00065")
class MeanSquaredError(Loss):
    """1/(2N) sum over samples and outputs of (f - y)^2: half, summed over outputs, mean over samples."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return 0.5 * (outputs - targets).square().sum(dim=-1).mean(dim=-1)
