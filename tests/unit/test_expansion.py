"""The loss around a point against dense derivatives of torch.func, in one chunk and in several."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stepscape.curvature import Expansion, third_derivative
from tests.factories import normal

INPUTS, TARGETS, THETA = normal(12, 4, seed=1), normal(12, seed=2), normal(5, seed=3)


def loss_on(rows: slice) -> Callable[[Tensor], Tensor]:
    return lambda theta: (theta[4] * torch.tanh(INPUTS[rows] @ theta[:4]) - TARGETS[rows]).square().sum() / 12


CHUNKS = {"one chunk": [slice(None)], "three chunks": [slice(0, 5), slice(5, 6), slice(6, 12)]}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=list(CHUNKS))
def test_all_orders_agree_with_dense_derivatives(chunks: list[slice]) -> None:
    whole, found = loss_on(slice(None)), Expansion([loss_on(rows) for rows in chunks], THETA)
    vectors = normal(3, 5, seed=4)
    hessian = torch.func.hessian(whole)(THETA)
    third = torch.func.jacfwd(torch.func.hessian(whole))(THETA)
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    expected = torch.stack([vectors[i] @ third.permute(2, 0, 1) @ vectors[j] for i, j in pairs])
    differences = {
        "value": found.value - whole(THETA),
        "gradient": found.gradient - torch.func.grad(whole)(THETA),
        "hessian": found.hessian(vectors) - vectors @ hessian,
        "one product": found.hessian(vectors[0]) - hessian @ vectors[0],
        "third": found.third_derivatives(vectors) - expected,
    }
    worst = {name: float(difference.abs().max()) for name, difference in differences.items()}
    print(worst)
    assert max(worst.values()) < 1e-12
    assert expected.abs().max() > 0.01


def test_third_derivatives_are_those_of_finite_differences() -> None:
    """grad [u^T H v] from gradients at four points: no derivative beyond the first is taken."""
    gradient, (u, v), size = torch.func.grad(loss_on(slice(None))), normal(2, 5, seed=5), 1e-4  # error ~ size^2

    def at(a: int, b: int) -> Tensor:
        return gradient(THETA + size * (a * u + b * v))

    expected = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / (4 * size**2)
    found = Expansion([loss_on(slice(None))], THETA).third_derivatives(torch.stack([u, v]))[1]
    worst = ((found - expected).abs().max() / expected.abs().max()).item()
    print(f"worst difference, relative to the largest entry: {worst:.1e}")
    assert worst < 1e-5
    torch.testing.assert_close(found, third_derivative(loss_on(slice(None)), THETA, u, v))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_orders_that_vanish_are_zero(order: int) -> None:
    functions = [lambda theta: theta.new_ones(()), lambda theta: theta.sum(), lambda theta: theta.square().sum()]
    found = Expansion([functions[order]], THETA)
    assert not found.third_derivatives(normal(2, 5)).any()
    assert bool(found.hessian(THETA).any()) == (order == 2)
    assert bool(found.gradient.any()) == (order > 0)


def test_no_vectors_have_no_third_derivatives() -> None:
    assert Expansion([loss_on(slice(None))], THETA).third_derivatives(normal(0, 5)).shape == (0, 5)
