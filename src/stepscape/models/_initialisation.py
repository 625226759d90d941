"""Ways to draw initial parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


def uniform_by_fan_in(module: nn.Module, random: np.random.Generator) -> None:
    """Weights and biases of every linear layer uniform in +-1/sqrt(fan in).

    The law of PyTorch's own linear layers (LeCun et al. 1998, scaled by sqrt(1/3)), drawn from `random` in float64.
    """
    import torch
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for parameter in layer.parameters(recurse=False):
                draw = random.uniform(-bound, bound, tuple(parameter.shape))
                with torch.no_grad():
                    parameter.copy_(torch.from_numpy(draw))
