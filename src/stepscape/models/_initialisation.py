"""Ways to draw initial parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


def uniform_by_fan_in(module: nn.Module, random: np.random.Generator) -> None:
    """Weights and biases of every layer uniform in +-1/sqrt(fan in).

    The law of PyTorch's own layers (LeCun et al. 1998, scaled by sqrt(1/3)), drawn from `random` in float64.
    """
    for layer, fan_in in _layers(module):
        for parameter in layer.parameters(recurse=False):
            _set(parameter, random.uniform(-(fan_in**-0.5), fan_in**-0.5, tuple(parameter.shape)))


def standard_normal(module: nn.Module, random: np.random.Generator, scale: float = 1.0) -> None:
    """All parameters, whatever they are called, from N(0, scale^2), drawn from `random` in float64."""
    for parameter in module.parameters():
        _set(parameter, scale * random.standard_normal(tuple(parameter.shape)))


def normal_by_fan_in(module: nn.Module, random: np.random.Generator, gain: float = 1.0) -> None:
    """Weights of every layer from N(0, gain^2 / fan in), drawn from `random` in float64; biases 0.

    Source: LeCun et al. 1998 (gain 1); He et al., arXiv:1502.01852 (gain sqrt(2), for relu).
    """
    for layer, fan_in in _layers(module):
        for name, parameter in layer.named_parameters(recurse=False):
            drawn = random.standard_normal(tuple(parameter.shape)) if name == "weight" else 0.0
            _set(parameter, drawn * (gain * fan_in**-0.5))


def neutral_normalisations(module: nn.Module) -> None:
    """Scales of normalisations 1, shifts 0."""
    from stepscape.networks.normalisation import Normalisation

    for layer in module.modules():
        if isinstance(layer, Normalisation):
            _set(layer.scale, 1.0)
            _set(layer.shift, 0.0)


def _layers(module: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """The layers that have a `weight` (fan out, ...), each with its fan in: linear ones and convolutions."""
    from torch import Tensor

    for layer in module.modules():
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Tensor):
            yield layer, weight[0].numel()


def _set(parameter: Tensor, values: np.ndarray | float) -> None:
    import torch

    with torch.no_grad():
        parameter.copy_(torch.as_tensor(values))
