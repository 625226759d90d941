"""Linear layers in the parametrisation of the neural tangent kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

BIAS_SCALE = 0.1


def ntk_linear(fan_in: int, fan_out: int) -> nn.Linear:
    """A layer W h / sqrt(fan in) + 0.1 b: what other parametrisations draw into W and b stands in its forward pass.

    Args:
        fan_in: inputs of the layer.
        fan_out: its outputs.

    Returns:
        The layer, with the parameters of an `nn.Linear`.

    Source: Jacot, Gabriel & Hongler, arXiv:1806.07572, section 2, with beta = 0.1 as in its experiments.
    """
    from torch import nn
    from torch.nn import functional

    class NTKLinear(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return functional.linear(inputs / self.in_features**0.5, self.weight, BIAS_SCALE * self.bias)

    return NTKLinear(fan_in, fan_out)
