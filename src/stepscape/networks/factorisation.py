"""Matrices that are products of trained factors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Factorisation(nn.Module):
    """Inner products of inputs with U V^T, or with U U^T."""

    def __init__(self, outputs: int, shape: tuple[int, int], columns: int, *, symmetric: bool) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.empty(outputs, shape[0], columns))
        self.right = None if symmetric else nn.Parameter(torch.empty(outputs, shape[1], columns))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (N, rows, columns) to (N, outputs)."""
        product = self.left @ (self.left if self.right is None else self.right).mT
        return inputs.flatten(1) @ product.flatten(1).T
