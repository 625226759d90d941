"""Hessian-vector products against dense Hessians."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor

from stepscape.curvature import hvp, preconditioned
from tests.cases import PROBLEMS
from tests.references import dense_hessian, difference_hessian

WEIGHTS = torch.ones(5, dtype=torch.float64, requires_grad=True)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_close(actual: Tensor, expected: Tensor, bound: float) -> None:
    error = (actual - expected).abs()
    worst = int(error.argmax())
    assert error.max() <= bound, (
        f"entry {worst}: {actual.flatten()[worst]} for {expected.flatten()[worst]}, "
        f"error {error.max():.2e} > {bound:.2e}"
    )


@pytest.mark.parametrize("name", PROBLEMS)
def test_products_are_those_of_the_dense_hessian(name: str) -> None:
    problem = PROBLEMS[name]
    matrix = dense_hessian(problem.loss, problem.theta)
    vectors = normal(3, problem.dim)
    assert_close(hvp(problem.loss, problem.theta)(vectors), vectors @ matrix, 1e-12 * matrix.norm())


@pytest.mark.parametrize("name", PROBLEMS)
def test_dense_hessian_is_that_of_finite_differences(name: str) -> None:
    problem = PROBLEMS[name]
    matrix = dense_hessian(problem.loss, problem.theta)
    assert_close(difference_hessian(problem.loss, problem.theta), matrix, 1e-8 * matrix.norm())


@pytest.mark.parametrize("name", ["tanh_mlp-mse", "cnn-cross_entropy"])
def test_float32_products_differ_by_rounding_only(name: str) -> None:
    problem = PROBLEMS[name]
    matrix = dense_hessian(problem.loss, problem.theta)
    vector = normal(problem.dim)
    product = hvp(problem.loss, problem.theta.float())(vector.float())
    assert product.dtype == torch.float32
    assert_close(product.double(), matrix @ vector, 1e-6 * matrix.norm() * vector.norm())


def test_a_row_has_the_same_bits_alone_and_in_a_block() -> None:
    matrix = normal(203, 203).float()
    matrix = matrix + matrix.T
    multiply = hvp(lambda theta: 0.5 * theta @ (matrix @ theta), torch.zeros(203))
    block = normal(8, 203, seed=1).float()  # an odd length: most rows do not start on a 64-byte boundary
    assert torch.equal(multiply(block), torch.stack([multiply(row.clone()) for row in block]))


def test_vectors_are_multiplied_from_aligned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = hvp(lambda theta: (theta**3).sum(), normal(203))
    block = normal(8, 203)
    assert {row.data_ptr() % 64 for row in block} != {0}
    used, grad = [], torch.autograd.grad

    def recorded(outputs: Tensor, inputs: Tensor, vector: Tensor, **options: bool) -> tuple[Tensor, ...]:
        used.append(vector.data_ptr() % 64)
        return grad(outputs, inputs, vector, **options)

    monkeypatch.setattr(torch.autograd, "grad", recorded)
    multiply(block)
    multiply(block[1])
    assert used == [0] * 9


def test_block_without_rows_gives_no_rows() -> None:
    problem = PROBLEMS["linear-mse"]
    assert hvp(problem.loss, problem.theta)(torch.zeros(0, problem.dim, dtype=torch.float64)).shape == (0, problem.dim)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda theta: 3 * theta.sum(), id="linear"),
        pytest.param(lambda theta: torch.tensor(2.0, dtype=theta.dtype), id="constant"),
        pytest.param(lambda theta: theta.detach().square().sum(), id="detached"),
        pytest.param(lambda theta: WEIGHTS.sum(), id="constant, of another parameter"),
        pytest.param(lambda theta: WEIGHTS @ theta, id="linear, with a parameter as slope"),
    ],
)
def test_function_without_curvature_has_zero_products(function) -> None:
    multiply = hvp(function, normal(5))
    assert torch.equal(multiply(normal(5)), torch.zeros(5, dtype=torch.float64))
    assert torch.equal(multiply(normal(2, 5)), torch.zeros(2, 5, dtype=torch.float64))


def test_unused_and_linear_parameters_have_zero_rows() -> None:
    def function(theta: Tensor) -> Tensor:
        used, linear, _ = theta.split([2, 2, 3])
        return used[0] ** 3 * used[1] + 4 * linear.sum()

    theta = normal(7)
    a, b = theta[:2].tolist()
    expected = torch.zeros(7, 7, dtype=torch.float64)
    expected[:2, :2] = torch.tensor([[6 * a * b, 3 * a**2], [3 * a**2, 0]], dtype=torch.float64)
    assert_close(hvp(function, theta)(torch.eye(7, dtype=torch.float64)), expected, 1e-14)


def test_theta_is_left_alone_and_products_carry_no_graph() -> None:
    problem = PROBLEMS["relu_mlp-mse"]
    theta = problem.theta.clone().requires_grad_()
    with torch.no_grad():
        product = hvp(problem.loss, theta)(normal(problem.dim))
    assert theta.grad is None
    assert torch.equal(theta, problem.theta)
    assert not product.requires_grad


def test_graph_is_freed_with_the_operator() -> None:
    problem = PROBLEMS["tanh_mlp-mse"]
    saved = []

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor.detach()
            saved.append(weakref.ref(self))

    gc.disable()  # dropping the last reference must suffice
    try:
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda kept: kept.tensor):
            multiply = hvp(problem.loss, problem.theta)
            multiply(normal(problem.dim))
        assert any(kept() is not None for kept in saved)
        del multiply
        assert all(kept() is None for kept in saved)
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["tanh_mlp-mse", "cnn-cross_entropy"])
def test_preconditioned_operator_is_the_dense_one(name: str) -> None:
    problem = PROBLEMS[name]
    preconditioner = normal(problem.dim).exp()
    scale = preconditioner**-0.5
    matrix = scale[:, None] * dense_hessian(problem.loss, problem.theta) * scale
    multiply = preconditioned(hvp(problem.loss, problem.theta), preconditioner)
    products = multiply(torch.eye(problem.dim, dtype=torch.float64))
    assert_close(products, matrix, 1e-12 * matrix.norm())
    assert_close(products, products.T, 1e-12 * matrix.norm())


@pytest.mark.parametrize("entry", [0.0, -1.0])
def test_preconditioner_must_be_positive(entry: float) -> None:
    with pytest.raises(ValueError, match=rf"smallest entry is {entry:g}; allowed: positive"):
        preconditioned(lambda vector: vector, torch.tensor([1.0, entry, 2.0]))


def test_preconditioner_of_a_diverged_run_gives_nan() -> None:
    multiply = preconditioned(lambda vector: vector, torch.tensor([1.0, torch.nan]))
    assert multiply(torch.ones(2)).isnan().tolist() == [False, True]


def test_theta_must_be_a_vector() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\); allowed: \(P,\)"):
        hvp(lambda theta: theta.sum(), normal(2, 3))


def test_function_must_return_a_scalar() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(4,\); allowed: a scalar"):
        hvp(lambda theta: theta**2, normal(4))


@pytest.mark.parametrize("vectors", [normal(3), normal(2, 3), normal(1, 1, 4), normal(4).float()], ids=str)
def test_vectors_must_fit_theta(vectors: Tensor) -> None:
    multiply = hvp(lambda theta: (theta**2).sum(), normal(4))
    with pytest.raises(ValueError, match=r"allowed: \(4,\) or \(k, 4\), torch.float64"):
        multiply(vectors)
