"""Hessian-vector products of a scalar function of a flat parameter vector."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Operator = Callable[[Tensor], Tensor]
"""A symmetric linear map: (P,) to (P,), and (k, P) to (k, P) row by row."""


def hvp(function: Callable[[Tensor], Tensor], theta: Tensor) -> Operator:
    """Hessian of `function` at `theta`, as an operator that multiplies vectors.

    The graph of the gradient is built here, once, and every product walks it backwards: one product costs 1.1 to 1.7
    gradients, against 2.4 to 2.8 where the graph is rebuilt each time (docs/numerics.md). It holds the activations of
    `function` and of its backward pass until the last reference to the operator is dropped.

    Args:
        function: maps theta (P,) to a scalar; twice differentiable where it depends on theta at all. Parameters that
            it does not use, or uses linearly, have zero rows.
        theta: (P,), the point; left as it is.

    Returns:
        Operator: maps (P,) to (P,), or (k, P) to (k, P) in a loop over the rows; the same bits for a row alone and in
        a block. What it returns carries no graph.

    Raises:
        ValueError: theta is not a vector, or function does not return a scalar. The operator raises it for
            vectors of another length or dtype than theta.

    Source: double backward, Pearlmutter 1994 (Neural Computation 6), "Fast exact multiplication by the Hessian".
    """
    if theta.ndim != 1:
        raise ValueError(
            f"theta has shape {tuple(theta.shape)}; allowed: (P,). Flatten the parameters into one vector."
        )
    point = theta.detach().clone().requires_grad_()
    grad = _differentiable_gradient(function, point)

    def multiply(vectors: Tensor) -> Tensor:
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != point.numel() or vectors.dtype != point.dtype:
            raise ValueError(
                f"vectors have shape {tuple(vectors.shape)} and dtype {vectors.dtype}; allowed: ({point.numel()},) or "
                f"(k, {point.numel()}), {point.dtype}. Convert them to the parameters' length and dtype."
            )
        if not grad.requires_grad:
            return torch.zeros_like(vectors)
        if vectors.ndim == 1:
            return _backward(grad, point, aligned(vectors))
        rows = [_backward(grad, point, aligned(vector)) for vector in vectors]
        return torch.stack(rows) if rows else torch.zeros_like(vectors)

    return multiply


def summed(makers: Sequence[Callable[[], Operator]]) -> Operator:
    """The sum of operators that are made one after another, so that one graph is in memory at a time.

    For data that do not fit: an operator is made for each chunk of samples. Chunks are the outer loop and vectors the
    inner one, so a block of vectors builds each graph once; a single vector builds all of them, which makes its product
    cost 2.4 to 2.8 gradients.

    Args:
        makers: each returns an operator, such as the Hessian of the loss on some of the samples times their share.

    Returns:
        Operator: as each of them.
    """

    def multiply(vectors: Tensor) -> Tensor:
        total = torch.zeros_like(vectors)
        for make in makers:
            total += make()(vectors)
        return total

    return multiply


def preconditioned(operator: Operator, preconditioner: Tensor) -> Operator:
    """Symmetric form of a preconditioned operator: v -> s * H(s * v) with s = P^(-1/2).

    Its eigenvalues are those of P^-1 H; an eigenvector u of P^-1 H is s * v. P^-1 H itself is not symmetric, so a
    solver for symmetric operators must never see it.

    Args:
        operator: H, symmetric; maps (P,) to (P,) and, if blocks are wanted, (k, P) to (k, P).
        preconditioner: (P,), the diagonal of P, positive. NaN is let through: the products are then NaN.

    Returns:
        Operator: as `operator`, and two elementwise products a vector.

    Raises:
        ValueError: an entry of the preconditioner is zero or negative.

    Source: Cohen et al. 2022 (arXiv:2207.14484), section 2: adaptive methods are stable while the largest eigenvalue
    of P^-1 H is below the threshold of the method without preconditioning.
    """
    if bool((preconditioner <= 0).any()):
        raise ValueError(
            f"the preconditioner's smallest entry is {preconditioner.min().item():g}; allowed: positive. "
            "Add the optimizer's eps before the square root is inverted."
        )
    scale = preconditioner.rsqrt()
    return lambda vectors: scale * operator(scale * vectors)


def _differentiable_gradient(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    with torch.enable_grad():
        value = function(point)
        if value.ndim != 0:
            raise ValueError(
                f"function returned shape {tuple(value.shape)}; allowed: a scalar, (). Take its mean or sum."
            )
        if not value.requires_grad:
            return torch.zeros_like(point)
        return torch.autograd.grad(value, point, create_graph=True, materialize_grads=True)[0]


def _backward(grad: Tensor, point: Tensor, vector: Tensor) -> Tensor:
    return torch.autograd.grad(grad, point, vector, retain_graph=True, materialize_grads=True)[0]


def aligned(vector: Tensor) -> Tensor:
    """The vector, or a copy of it, in memory on a 64-byte boundary."""
    # Off a 64-byte boundary matrix-vector kernels may differ in the last bits; fresh memory starts on one.
    return vector if vector.data_ptr() % 64 == 0 else vector.clone()
