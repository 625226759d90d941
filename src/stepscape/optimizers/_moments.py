"""Exponential moving averages, for lanes that may differ in their decay."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def ones(theta: Tensor) -> Tensor:
    """The powers decay^0 (lanes, 1) in float64, for theta (lanes, P)."""
    return theta.double().new_ones(len(theta), 1)


def decayed(mean: Tensor, value: Tensor, decay: Tensor) -> Tensor:
    """The average decay mean + (1 - decay) value, for mean and value (lanes, P), decay (lanes, 1) in float64."""
    return decay.to(mean.dtype) * mean + (1 - decay).to(mean.dtype) * value


def corrected(mean: Tensor, power: Tensor) -> Tensor:
    """The mean over (1 - decay^t): the average of what was seen in t updates, though it started from zero."""
    # The power (lanes, 1) is kept as a product, one factor an update: PyTorch's own power rounds the last elements of
    # a tensor in another way, so that a run's numbers would depend on its lane.
    return mean / (1 - power).to(mean.dtype)


def squared_norms(rows: Tensor) -> Tensor:
    """|row|^2 (lanes, 1) of each of rows (lanes, P), to the same bits in any lane."""
    # Every row in memory of its own: a sum over rows that start anywhere would round by where they start.
    import torch

    return torch.stack([row.clone().square().sum() for row in rows]).unsqueeze(1)
