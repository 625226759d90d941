"""The Gauss-Newton part of a Hessian, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from stepscape.curvature.noise import chunks
from stepscape.curvature.products import Operator, hvp


def gauss_newton(outputs: Callable[[Tensor], Tensor], loss: Callable[[Tensor], Tensor], theta: Tensor) -> Operator:
    """G = J^T (d^2 loss / d f^2) J of loss(f(theta)), as an operator: the Hessian of f's linearisation.

    Both graphs, of the outputs and of their vector-Jacobian product, are built once; a product walks each once. Its
    cost is that of a Hessian product.

    Args:
        outputs: f, maps theta (P,) to outputs of any shape; differentiable twice.
        loss: maps outputs to a scalar.
        theta: (P,), the point; left as it is.

    Returns:
        Operator: positive semidefinite where the loss is convex in the outputs. It maps (P,) to (P,), or (k, P) row by
        row, and what it returns carries no graph.

    Source: Schraudolph 2002 (Neural Computation 14); J v from two reverse passes, Townsend 2017.
    """
    point = theta.detach().clone().requires_grad_()
    with torch.enable_grad():
        values = outputs(point)
        dual = torch.zeros_like(values, requires_grad=True)
        (pulled,) = torch.autograd.grad(values, point, dual, create_graph=True, materialize_grads=True)
    shape = values.shape
    curvature = hvp(lambda flat: loss(flat.view(shape)), values.detach().reshape(-1))

    def multiply(vectors: Tensor) -> Tensor:
        if vectors.ndim == 2:
            return torch.stack([multiply(vector) for vector in vectors]) if len(vectors) else vectors.clone()
        if not pulled.requires_grad:
            return torch.zeros_like(vectors)
        (pushed,) = torch.autograd.grad(pulled, dual, vectors, retain_graph=True, materialize_grads=True)
        back = curvature(pushed.reshape(-1)).view(shape)
        return torch.autograd.grad(values, point, back, retain_graph=True, materialize_grads=True)[0]

    return multiply


def gauss_newton_trace(
    outputs: Callable[[Tensor, Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    theta: Tensor,
    samples: tuple[Tensor, Tensor],
) -> float:
    """Trace of G = 1/N sum_i J_i^T (d^2 loss / d f^2) J_i, exact: the Jacobian of every sample is computed.

    Args:
        outputs: maps theta (P,) and one input to outputs f (C,).
        loss: maps outputs (C,) and one target to the scalar loss of that sample.
        theta: (P,), the point.
        samples: inputs (N, ...) and targets (N, ...).

    Returns:
        The trace; NaN or infinite where a Jacobian is not finite.
    """

    def of_sample(point: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
        values = outputs(point, inputs)
        jacobian = torch.func.jacrev(outputs)(point, inputs)
        inner = torch.func.jacrev(torch.func.grad(loss))(values, target)  # networks here have no forward mode
        return torch.sum((inner @ jacobian) * jacobian, dtype=torch.float64)

    rows = torch.func.vmap(of_sample, in_dims=(None, 0, 0))
    numbers = theta.numel() * samples[1][0].numel()
    total = torch.zeros((), dtype=torch.float64, device=theta.device)
    for chunk in chunks(numbers, samples):
        total += rows(theta, *chunk).sum()
    return (total / len(samples[0])).item()


def difference(minuend: Operator, subtrahend: Operator) -> Operator:
    """The operator v -> A v - B v, such as the residual part R = H - G of a Hessian."""
    return lambda vectors: minuend(vectors) - subtrahend(vectors)
