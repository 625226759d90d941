"""Third derivatives of a scalar function, contracted with two vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def third_derivative(function: Callable[[Tensor], Tensor], theta: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """D^3 L(u, v, .): the gradient of u^T H v with u and v held fixed.

    Three nested reverse passes: about six gradients. Some fused operations of PyTorch, its layer normalisation among
    them, have wrong third derivatives; the models here are built without them.

    Args:
        function: maps theta (P,) to a scalar; differentiable three times.
        theta: (P,), the point; left as it is.
        u: (P,).
        v: (P,).

    Returns:
        (P,), symmetric in u and v; it carries no graph.
    """
    point = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        along_u = _slope(function(point), point, u)
        along_both = _slope(along_u, point, v)
        if not along_both.requires_grad:
            return torch.zeros_like(point.detach())
    return torch.autograd.grad(along_both, point, materialize_grads=True)[0]


def curvature_gradient(function: Callable[[Tensor], Tensor], theta: Tensor, u: Tensor) -> Tensor:
    """grad(u^T H u): how the curvature along a direction changes with the parameters.

    For a unit eigenvector u of a simple eigenvalue this is the gradient of that eigenvalue, which is what
    self-stabilisation turns on (arXiv:2209.15594).

    Args:
        function: maps theta (P,) to a scalar; differentiable three times.
        theta: (P,), the point.
        u: (P,), held fixed.

    Returns:
        (P,).
    """
    return third_derivative(function, theta, u, u)


def _slope(value: Tensor, point: Tensor, direction: Tensor) -> Tensor:
    if not value.requires_grad:
        return torch.zeros((), dtype=point.dtype, device=point.device)
    (grad,) = torch.autograd.grad(value, point, create_graph=True, materialize_grads=True)
    return grad @ direction
