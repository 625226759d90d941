"""Exponential moving averages, for lanes that may differ in their decay."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from stepscape.optimizers import State


def counted(state: State) -> Tensor:
    """The number of updates (lanes, 1), this one included."""
    return state["updates"] + 1


def decayed(mean: Tensor, value: Tensor, decay: Tensor) -> Tensor:
    """The average decay mean + (1 - decay) value, for mean and value (lanes, P), decay (lanes, 1) in float64."""
    return decay.to(mean.dtype) * mean + (1 - decay).to(mean.dtype) * value


def corrected(mean: Tensor, decay: Tensor, updates: Tensor) -> Tensor:
    """The mean over (1 - decay^updates): the average of what was seen, though it started from zero."""
    return mean / (1 - decay**updates).to(mean.dtype)
