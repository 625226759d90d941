"""What the package's numbers are compared with: dense, in float64, and made without the package."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def dense_hessian(loss: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """Hessian (P, P) at theta (P,), by PyTorch's own construction; the tests compare it with finite differences."""
    return torch.autograd.functional.hessian(loss, theta.double())


def difference_hessian(loss: Callable[[Tensor], Tensor], theta: Tensor, step: float = 1e-5) -> Tensor:
    """Hessian (P, P) at theta (P,) from central differences of the gradient."""
    moves = step * torch.eye(len(theta), dtype=theta.dtype)
    return torch.stack([(_gradient(loss, theta + move) - _gradient(loss, theta - move)) / (2 * step) for move in moves])


def dense_top(matrix: Tensor, k: int) -> Tensor:
    """The k largest eigenvalues (k,) of a symmetric matrix, descending, in float64."""
    return torch.linalg.eigvalsh(matrix.double()).flip(0)[:k]


def _gradient(loss: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    point = theta.clone().requires_grad_()
    return torch.autograd.grad(loss(point), point)[0]
