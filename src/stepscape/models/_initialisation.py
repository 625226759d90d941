"""Ways to draw initial parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


def uniform_by_fan_in(module: nn.Module, random: np.random.Generator) -> None:
    """Weights and biases of every linear layer uniform in +-1/sqrt(fan in).

    The law of PyTorch's own linear layers (LeCun et al. 1998, scaled by sqrt(1/3)), drawn from `random` in float64.
    """

    def draw(fan_in: int, shape: tuple[int, ...]) -> np.ndarray:
        return random.uniform(-(fan_in**-0.5), fan_in**-0.5, shape)

    _fill_linear_layers(module, draw)


def standard_normal(module: nn.Module, random: np.random.Generator) -> None:
    """Weights and biases of every linear layer from N(0, 1), drawn from `random` in float64."""
    _fill_linear_layers(module, lambda fan_in, shape: random.standard_normal(shape))


def _fill_linear_layers(module: nn.Module, draw: Callable[[int, tuple[int, ...]], np.ndarray]) -> None:
    import torch
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            for parameter in layer.parameters(recurse=False):
                with torch.no_grad():
                    parameter.copy_(torch.from_numpy(draw(layer.in_features, tuple(parameter.shape))))
