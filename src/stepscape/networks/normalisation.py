"""Normalisation by mean and standard deviation, from elementary operations.

The third derivatives of PyTorch's `layer_norm` and `batch_norm` are wrong: differences give others (torch 2.13).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_EPS = 1e-5


class Normalisation(nn.Module):
    """scale (x - mean) / sqrt(variance + 1e-5) + shift, the statistics always those of the inputs at hand.

    Args:
        dims: the dimensions of x that mean and variance are taken over.
        shape: of scale and shift, as they are multiplied with x.

    Source: Ioffe & Szegedy, arXiv:1502.03167; Ba, Kiros & Hinton, arXiv:1607.06450.
    """

    def __init__(self, dims: Sequence[int], shape: Sequence[int]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(*shape))
        self.shift = nn.Parameter(torch.zeros(*shape))
        self._dims = tuple(dims)

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (N, ...) to the same shape."""
        centred = inputs - inputs.mean(self._dims, keepdim=True)
        variance = centred.square().mean(self._dims, keepdim=True)
        return centred * (variance + _EPS).rsqrt() * self.scale + self.shift
