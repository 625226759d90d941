"""Linear layers in the parametrisation of the neural tangent kernel."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

BIAS_SCALE = 0.1


class NTKLinear(nn.Linear):
    """W h / sqrt(fan in) + 0.1 b: the factors that other parametrisations draw into W and b stand in the forward pass.

    Source: Jacot, Gabriel & Hongler, arXiv:1806.07572, section 2, with beta = 0.1 as in its experiments.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (N, fan out) of inputs (N, fan in)."""
        return functional.linear(inputs / self.in_features**0.5, self.weight, BIAS_SCALE * self.bias)
