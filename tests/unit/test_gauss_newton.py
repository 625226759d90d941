"""Gauss-Newton products, third derivatives, diagonals and kernels against dense float64 references."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stepscape.curvature import (
    alignment,
    curvature_gradient,
    difference,
    estimated_diagonal,
    feature_kernel,
    gauss_newton,
    hvp,
    noise,
    spectral_density,
    summed,
    tangent_kernel,
    third_derivative,
    top_eigenpairs,
)
from stepscape.registry import make
from stepscape.training.problem import Problem
from tests.cases import PROBLEMS
from tests.factories import SMALL_DIGITS, make_run, normal, train
from tests.references import dense_hessian

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"dataset": {"name": "teacher", "train_size": 12, "test_size": 4}, "dtype": "float64"}


def _problem(loss: str) -> Problem:
    return Problem(make_run(SMALL_DIGITS, loss=loss, dtype="float64", model={"name": "mlp", "hidden": [3]}), CPU)


def _dense_parts(problem: Problem, theta: Tensor) -> tuple[Tensor, Tensor]:
    """G from the dense Jacobian and the dense Hessian of the loss in the outputs; and H."""
    inputs, targets = problem.train.inputs, problem.train.targets
    outputs = problem.outputs(theta, inputs)
    jacobian = torch.func.jacrev(lambda point: problem.outputs(point, inputs))(theta).reshape(-1, len(theta))
    inner = dense_hessian(lambda flat: problem.run.loss(flat.view(outputs.shape), targets), outputs.reshape(-1))
    return jacobian.T @ inner @ jacobian, dense_hessian(problem.loss_on(problem.train), theta)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_gauss_newton_and_the_rest_are_the_dense_ones(loss: str) -> None:
    problem = _problem(loss)
    theta = problem.initial()
    expected, hessian = _dense_parts(problem, theta)
    operator = problem.gauss_newton(theta)
    vectors = normal(3, len(theta))
    torch.testing.assert_close(operator(vectors), vectors @ expected, rtol=0, atol=1e-12 * expected.norm().item())
    torch.testing.assert_close(operator(vectors[0]), operator(vectors)[0], rtol=0, atol=0)
    rest = difference(problem.hessian(theta), operator)
    torch.testing.assert_close(
        rest(vectors), vectors @ (hessian - expected), rtol=0, atol=1e-12 * hessian.norm().item()
    )
    assert torch.linalg.eigvalsh(expected).min() > -1e-12


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_trace_of_gauss_newton_is_the_dense_one(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = _problem(loss)
    observable: Any = make("observable", {"name": "gauss_newton_trace", "every": 1}, "observable")
    snapshot: Any = SimpleNamespace(problem=problem, theta=problem.initial())
    expected = _dense_parts(problem, snapshot.theta)[0].trace().item()
    for numbers in (2**20, 7 * 10 * len(snapshot.theta)):  # in one part, and in parts of seven samples
        monkeypatch.setattr(noise, "_NUMBERS", numbers)
        measured, _ = observable.measure(snapshot, {})
        assert measured["gauss_newton_trace"] == pytest.approx(expected, rel=1e-12)


def test_noise_on_labels_has_the_covariance_of_gauss_newton() -> None:
    """Of gradients on a batch of all samples under squared error: std^2 G / N, whose trace is measured."""
    run = make_run(SMALL_DIGITS, dtype="float64", loss="mse", model={"name": "mlp", "hidden": [3]})
    problem = Problem(run, CPU)
    theta, (inputs, targets) = problem.initial().requires_grad_(), (problem.train.inputs, problem.train.targets)
    outputs = problem.outputs(theta, inputs)
    squares = 0.0
    for sample, output in product(range(len(outputs)), range(outputs.shape[1])):  # unit noise on one label at a time
        moved = targets.clone()
        moved[sample, output] += 1.0
        change = run.loss(outputs, moved) - run.loss(outputs, targets)
        squares += torch.autograd.grad(change, theta, retain_graph=True)[0].square().sum().item()
    observable: Any = make("observable", {"name": "gauss_newton_trace", "every": 1}, "observable")
    snapshot: Any = SimpleNamespace(problem=problem, theta=theta.detach())
    measured, _ = observable.measure(snapshot, {})
    assert squares == pytest.approx(measured["gauss_newton_trace"] / len(outputs), rel=1e-10)


def test_gauss_newton_of_a_linear_model_is_its_hessian() -> None:
    problem = Problem(make_run(dtype="float64"), CPU)
    theta, vectors = problem.initial(), normal(2, problem.initial().numel())
    torch.testing.assert_close(problem.gauss_newton(theta)(vectors), problem.hessian(theta)(vectors))


def test_outputs_that_do_not_depend_on_parameters_have_no_gauss_newton_matrix() -> None:
    operator = gauss_newton(
        lambda theta: torch.ones(3) + 0 * theta.sum(), lambda found: found.square().sum(), normal(4)
    )
    assert torch.equal(operator(normal(4)), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("name", [name for name in PROBLEMS if "normalised" not in name])
def test_third_derivatives_are_those_of_differences(name: str) -> None:
    problem = PROBLEMS[name]
    u, v = normal(problem.dim, seed=1), normal(problem.dim, seed=2)
    step = 1e-5
    moved = [hvp(problem.loss, problem.theta + sign * step * v)(u) for sign in (1, -1)]
    expected = (moved[0] - moved[1]) / (2 * step)
    found = third_derivative(problem.loss, problem.theta, u, v)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7 * (1 + expected.norm().item()))
    swapped = third_derivative(problem.loss, problem.theta, v, u)
    torch.testing.assert_close(swapped, found, rtol=0, atol=1e-10 * (1 + found.norm().item()))


def test_the_gradient_of_an_eigenvalue_is_that_of_the_curvature_along_its_eigenvector() -> None:
    problem = PROBLEMS["tanh_mlp-mse"]
    vectors = torch.linalg.eigh(dense_hessian(problem.loss, problem.theta))[1]
    direction = normal(problem.dim, seed=3)
    step = 1e-5
    moved = [
        torch.linalg.eigvalsh(dense_hessian(problem.loss, problem.theta + sign * step * direction))[-1]
        for sign in (1, -1)
    ]
    slope = curvature_gradient(problem.loss, problem.theta, vectors[:, -1]) @ direction
    assert slope.item() == pytest.approx(((moved[0] - moved[1]) / (2 * step)).item(), rel=1e-6)


@pytest.mark.parametrize("function", [lambda theta: theta.sum(), lambda theta: theta.square().sum()])
def test_third_derivatives_of_what_has_none_vanish(function: Any) -> None:
    assert torch.equal(third_derivative(function, normal(3), normal(3), normal(3)), torch.zeros(3).double())


def test_chunked_products_are_those_of_the_whole() -> None:
    problem = _problem("cross_entropy")
    theta, vectors = problem.initial(), normal(2, problem.initial().numel())
    count = len(problem.train.inputs)

    def share(first: int) -> Any:
        part = problem.train.pick(torch.arange(first, min(first + 16, count)))
        return lambda point: problem.loss_on(part)(point) * len(part.inputs) / count

    chunks = summed([lambda first=first: hvp(share(first), theta) for first in range(0, count, 16)])  # type: ignore[misc]
    torch.testing.assert_close(chunks(vectors), problem.hessian(theta)(vectors), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(chunks(vectors[1]), problem.hessian(theta)(vectors[1]), rtol=1e-12, atol=1e-13)


def test_the_diagonal_lies_within_its_errors() -> None:
    problem = PROBLEMS["tanh_mlp-cross_entropy"]
    matrix = dense_hessian(problem.loss, problem.theta)
    randoms = [np.random.default_rng(seed) for seed in range(400)]
    operator = hvp(problem.loss, problem.theta)
    found, error = estimated_diagonal(operator, problem.dim, randoms, dtype=torch.float64)
    z = ((found - matrix.diagonal()) / error.clamp_min(1e-300)).abs()
    assert z.mean() < 1.2, "0.8 if errors are right"
    assert z.max() < 5
    exact = (matrix.square().sum(1) - matrix.diagonal().square()).sqrt() / 20
    torch.testing.assert_close(error.norm(), exact.norm(), rtol=0.1, atol=0)
    assert estimated_diagonal(operator, problem.dim, randoms[:1], dtype=torch.float64)[1].isnan().all()


def test_the_tangent_kernel_is_that_of_the_dense_jacobian() -> None:
    problem = _problem("mse")
    theta, inputs = problem.initial(), problem.train.inputs[:6]
    jacobian = torch.func.jacrev(lambda point: problem.outputs(point, inputs))(theta).reshape(60, -1)
    torch.testing.assert_close(tangent_kernel(problem.outputs, theta, inputs), jacobian @ jacobian.T)


def test_features_are_what_enters_the_last_layer() -> None:
    problem = _problem("mse")
    theta, inputs = problem.initial(), problem.train.inputs[:6]
    first, bias = theta[: 64 * 3].view(3, 64), theta[64 * 3 : 65 * 3]
    features = problem.network.features(theta, inputs)
    torch.testing.assert_close(features, torch.tanh(inputs @ first.T + bias))
    torch.testing.assert_close(feature_kernel(features), features @ features.T / 3)


def test_alignment_is_a_cosine() -> None:
    targets = normal(5, 2)
    assert alignment(targets @ targets.T, targets) == pytest.approx(1)
    assert alignment(-3 * targets.reshape(-1, 1) @ targets.reshape(1, -1), targets) == pytest.approx(-1)


def test_deflated_densities_hold_the_known_eigenvalues_exactly_and_are_less_noisy() -> None:
    problem = _problem("mse")
    theta = problem.initial()
    matrix = dense_hessian(problem.loss_on(problem.train), theta)
    values = torch.linalg.eigvalsh(matrix).flip(0).numpy()
    operator, dim = problem.hessian(theta), len(theta)
    pairs = top_eigenpairs(operator, dim, 8, tol=1e-9, dtype=torch.float64)

    def randoms() -> list[np.random.Generator]:
        return [np.random.default_rng(seed) for seed in range(40)]

    plain = spectral_density(operator, dim, generators=randoms(), dtype=torch.float64)
    found = spectral_density(operator, dim, generators=randoms(), dtype=torch.float64, deflated=pairs)
    assert found.nodes.shape == (40, 48)
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-12)
    assert (np.diff(found.nodes, axis=1) <= 0).all()
    np.testing.assert_allclose(found.nodes[:, :8], np.tile(values[:8], (40, 1)), rtol=1e-7)
    np.testing.assert_allclose(found.weights[:, :8], 1 / dim, rtol=1e-12)
    trace, error = found.trace
    assert abs(trace - values.sum()) < 4 * error
    assert error < 0.7 * plain.trace[1]
    frobenius, error = found.frobenius
    assert abs(frobenius - np.linalg.norm(values)) < 4 * error


def test_the_observables_record_what_the_functions_return() -> None:
    observed = {
        "gauss_newton_top": {"at": [4], "k": 2, "tol": 1e-6},
        "residual_hessian": {"at": [4], "k": 1, "bottom": 1, "tol": 1e-6},
        "hessian_diagonal": {"at": [4], "probes": 3},
        "tangent_kernel": {"at": [4], "samples": 4, "k": 5},
        "feature_kernel": {"at": [4], "samples": 5, "k": 3},
        "hessian_density": {"at": [4], "nodes": 6, "deflate": 2},
        "parameters": {"at": [4]},
    }
    run = make_run(SMALL_DIGITS, dtype="float64", model={"name": "mlp", "hidden": [3]}, observe=observed)
    record, problem = train(run), Problem(run, CPU)
    theta = torch.from_numpy(record.values["parameters"][0])
    gauss, hessian = _dense_parts(problem, theta)
    rest = torch.linalg.eigvalsh(hessian - gauss)
    top = torch.linalg.eigvalsh(gauss).flip(0)[:2].numpy()
    np.testing.assert_allclose(record.values["gauss_newton_eigenvalue"][0], top, rtol=1e-8)
    np.testing.assert_allclose(record.values["residual_hessian_eigenvalue"][0], rest[-1:].numpy(), rtol=1e-8)
    np.testing.assert_allclose(record.values["residual_hessian_bottom"][0], rest[:1].numpy(), rtol=1e-8)
    kernel = tangent_kernel(problem.outputs, theta, problem.train.inputs[:4])
    np.testing.assert_allclose(
        record.values["tangent_kernel_eigenvalue"][0], torch.linalg.eigvalsh(kernel).flip(0)[:5].numpy(), rtol=1e-9
    )
    assert record.values["tangent_kernel_trace"][0] == pytest.approx(kernel.trace().item())
    features = feature_kernel(problem.network.features(theta, problem.train.inputs[:5]))
    assert record.values["feature_kernel_alignment"][0] == pytest.approx(alignment(features, problem.train.targets[:5]))
    assert record.values["hessian_diagonal"][0].shape == (len(theta),)
    assert record.values["density_node"][0].shape == (4, 8)
    np.testing.assert_allclose(
        record.values["density_node"][0][:, :2], np.tile(torch.linalg.eigvalsh(hessian).flip(0)[:2], (4, 1)), rtol=1e-5
    )


def test_layers_have_the_singular_values_and_blocks_of_the_dense_matrices() -> None:
    observed = {
        "layer_singular_values": {"at": [4], "k": 4},
        "layer_blocks": {"at": [4], "tol": 1e-6},
        "parameters": {"at": [4]},
    }
    run = make_run(SMALL_DIGITS, dtype="float64", model={"name": "mlp", "hidden": [3]}, observe=observed)
    record, problem = train(run), Problem(run, CPU)
    theta = torch.from_numpy(record.values["parameters"][0])
    hessian = dense_hessian(problem.loss_on(problem.train), theta)
    places = [(slice(0, 192), (3, 64)), (slice(195, 225), (10, 3))]
    values = record.values["layer_singular_value"][0]
    assert values.shape == (2, 4)
    for row, (place, shape) in zip(values, places, strict=True):
        np.testing.assert_allclose(row[:3], torch.linalg.svdvals(theta[place].view(shape)), rtol=1e-12)
        assert np.isnan(row[3])
    tops = [torch.linalg.eigvalsh(hessian[place, place])[-1].item() for place, _ in places]
    np.testing.assert_allclose(record.values["layer_block_eigenvalue"][0], tops, rtol=1e-8)
