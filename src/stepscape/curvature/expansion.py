"""The loss around one point, to the third order: what flows and constrained descent are integrated with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from stepscape.curvature.products import Operator, aligned, hvp

Loss = Callable[[Tensor], Tensor]


class Expansion:
    """Derivatives of a sum of scalar functions at one point, each computed when it is first asked for.

    Terms are there for data that do not fit memory: each is the loss on a chunk of the samples times their share, and
    with more than one no graph outlives the call that needs it.
    """

    def __init__(self, terms: Sequence[Loss], theta: Tensor) -> None:
        """The functions, each of (P,) to a scalar, and the point (P,), which is left as it is."""
        self._terms = terms
        self.theta = theta.detach().clone()

    @cached_property
    def _evaluated(self) -> tuple[Tensor, Tensor]:
        value, gradient = self.theta.new_zeros(()), torch.zeros_like(self.theta)
        for term in self._terms:
            point = self.theta.clone().requires_grad_()
            with torch.enable_grad():
                part = term(point)
            value = value + part.detach()
            if part.requires_grad:
                gradient = gradient + torch.autograd.grad(part, point, materialize_grads=True)[0]
        return value, gradient

    @property
    def value(self) -> Tensor:
        """The value, ()."""
        return self._evaluated[0]

    @property
    def gradient(self) -> Tensor:
        """The gradient (P,). No graph is built on it, so it costs one gradient."""
        return self._evaluated[1]

    @cached_property
    def _operator(self) -> Operator:
        return hvp(self._terms[0], self.theta)

    def hessian(self, vectors: Tensor) -> Tensor:
        """Products of the Hessian with (P,) or, row by row, (k, P). An operator as `hvp` returns it."""
        if len(self._terms) == 1:
            return self._operator(vectors)
        return torch.stack([hvp(term, self.theta)(vectors) for term in self._terms]).sum(0)

    def third_derivatives(self, vectors: Tensor) -> Tensor:
        """The vectors T_ij = grad [u_i^T H u_j], with u_1 ... u_k held fixed.

        The gradient's graph is built once, that of each H u_i once, and each T_ij walks the latter: 2.7 to 4.2
        gradients a pair, against 6 for a nested one (`third_derivative`). Some fused operations of PyTorch, its layer
        normalisation among them, have wrong third derivatives; the models here are built without them.

        Args:
            vectors: u_1 ... u_k, (k, P).

        Returns:
            (k (k + 1) / 2, P): T_11, T_12 ... T_1k, T_22 ...; they carry no graph.
        """
        count = len(vectors) * (len(vectors) + 1) // 2
        total = self.theta.new_zeros(count, len(self.theta))
        for term in self._terms:
            total = total + _third_derivatives(term, self.theta, vectors)
        return total


def _third_derivatives(function: Loss, theta: Tensor, vectors: Tensor) -> Tensor:
    point, rows = theta.clone().requires_grad_(), [aligned(vector) for vector in vectors]
    zero = torch.zeros_like(theta)
    found: list[Tensor] = []
    with torch.enable_grad():
        value = function(point)
        gradient = _differentiated(value, point, None)
        for i, row in enumerate(rows):
            product = _differentiated(gradient, point, row)
            slopes = ((product, other) for other in rows[i:])
            found += [_backward(*pair, point) if product.requires_grad else zero for pair in slopes]
    return torch.stack(found) if found else theta.new_zeros(0, len(theta))


def _differentiated(value: Tensor, point: Tensor, along: Tensor | None) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(point).detach()
    return torch.autograd.grad(value, point, along, create_graph=True, materialize_grads=True)[0]


def _backward(product: Tensor, along: Tensor, point: Tensor) -> Tensor:
    return torch.autograd.grad(product, point, along, retain_graph=True, materialize_grads=True)[0].detach()
