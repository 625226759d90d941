"""Layers without parameters."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Scaled(nn.Module):
    """Inputs times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of any shape."""
        return inputs * self._factor


class FixedLinear(nn.Module):
    """A linear layer whose matrix (fan out, fan in) is not trained."""

    def __init__(self, matrix: np.ndarray) -> None:
        super().__init__()
        self._matrix = torch.from_numpy(matrix)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (N, fan in), of any dtype and device, to (N, fan out)."""
        return functional.linear(inputs, self._matrix.to(inputs))
