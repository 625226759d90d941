"""The variance of samples' gradients and Hessians against a loop over samples."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stepscape.curvature import gradient_variance, hessian_variance, noise
from stepscape.observables.noise_scale import NoiseScale
from stepscape.registry import find, make, names
from stepscape.training.problem import Problem
from tests.factories import SMALL_DIGITS, make_run, train

CPU = torch.device("cpu")


def brute_force(problem: Problem, theta: np.ndarray) -> tuple[float, float]:
    """Trace of NumPy's covariance of gradients made one sample at a time, and the squared norm of their mean."""
    rows = []
    for index in range(problem.run.train_size):
        point = torch.from_numpy(theta).double().requires_grad_()
        loss = problem.loss_on(problem.train.pick(torch.tensor([index])))(point)
        rows.append(torch.autograd.grad(loss, point)[0].numpy())
    gradients = np.stack(rows)
    return float(np.trace(np.cov(gradients.T, bias=True))), float(np.sum(gradients.mean(axis=0) ** 2))


@pytest.mark.parametrize("batch_size", ["full", 8])
@pytest.mark.parametrize("loss", [name for name in names("loss") if not find("loss", name).takes_losses])
def test_noise_scale_is_that_of_a_loop_over_samples(loss: str, batch_size: Any) -> None:
    every = {"every": 6}
    run = make_run(
        SMALL_DIGITS, loss=loss, batch_size=batch_size, dtype="float64",
        observe={"noise_scale": every, "parameters": every},
    )  # fmt: skip
    record, problem = train(run), Problem(run, CPU)
    for index, theta in enumerate(record.values["parameters"]):
        variance, square = brute_force(problem, theta)
        assert record.values["gradient_variance"][index] == pytest.approx(variance, rel=1e-10)
        assert record.values["noise_scale"][index] == pytest.approx(variance / square, rel=1e-10)


def test_noise_scale_in_float32_differs_by_rounding() -> None:
    found = [
        train(make_run(SMALL_DIGITS, dtype=dtype, observe={"noise_scale": {"at": [0]}})).values["noise_scale"][0]
        for dtype in ("float32", "float64")
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_chunks_change_rounding_only(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 3)))
    theta = torch.ones(3, dtype=torch.float64)
    monkeypatch.setattr(noise, "_NUMBERS", 3 * size)
    gradients = inputs * (inputs @ theta).cos()[:, None]
    expected = gradients.var(dim=0, correction=0).sum().item()
    found = gradient_variance(lambda point, row: (row @ point).sin(), theta, (inputs,), gradients.mean(dim=0))
    assert found == pytest.approx(expected, rel=1e-12)


def test_without_a_gradient_there_is_no_scale() -> None:
    problem = Problem(make_run(), CPU)
    snapshot: Any = SimpleNamespace(problem=problem, theta=problem.initial(), gradient=torch.zeros(4))
    values, _ = NoiseScale(every=1).measure(snapshot, {})
    assert math.isnan(values["noise_scale"])
    assert values["gradient_variance"] > 0


# ------------------------------------------------------------------------------------------------------- of Hessians


def dense_hessians(problem: Problem, theta: torch.Tensor) -> torch.Tensor:
    """The Hessian of every sample's loss, (N, P, P)."""
    count = problem.run.train_size
    losses = [problem.loss_on(problem.train.pick(torch.tensor([index]))) for index in range(count)]
    return torch.stack([torch.func.jacrev(torch.func.jacrev(loss))(theta) for loss in losses])


@pytest.mark.parametrize("loss", [name for name in names("loss") if not find("loss", name).takes_losses])
def test_noise_of_the_hessian_is_that_of_dense_matrices(loss: str) -> None:
    """Exact across and along the top eigenvector; on average over directions within its own standard error."""
    run = make_run(
        SMALL_DIGITS, loss=loss, dtype="float64", model={"name": "mlp", "hidden": [2]},
        observe={"hessian_noise": {"at": [6, 12], "probes": 400, "tol": 1e-10}, "parameters": {"at": [6, 12]}},
    )  # fmt: skip
    record, problem = train(run), Problem(run, CPU)
    for index, theta in enumerate(record.values["parameters"]):
        away = dense_hessians(problem, torch.from_numpy(theta))
        mean = away.mean(dim=0)
        away = away - mean
        top = torch.linalg.eigh(mean)[1][:, -1]
        squares = (away @ top).square().sum(dim=1).mean()
        along = (away @ top @ top).square().mean()
        assert record.values["hessian_noise_top"][index] == pytest.approx(float(squares - along), rel=1e-8)
        assert record.values["hessian_noise_along"][index] == pytest.approx(float(along), rel=1e-8)
        expected = float(away.square().sum(dim=(1, 2)).mean()) / len(theta)
        found, error = (record.values[name][index] for name in ("hessian_noise", "hessian_noise_error"))
        print(f"{loss}: {found:.4g} +- {error:.2g}, dense {expected:.4g}")
        assert 0 < error < 0.1 * expected
        assert abs(found - expected) < 4 * error


@pytest.mark.parametrize("size", [1, 7, 40])
def test_chunks_change_only_rounding_of_the_hessians(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """sin(x . theta) has the Hessian -sin(x . theta) x x^T."""
    inputs = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 3)))
    theta, vector = torch.ones(3, dtype=torch.float64), torch.tensor([0.6, 0, 0.8], dtype=torch.float64)
    monkeypatch.setattr(noise, "_NUMBERS", 3 * size)
    products = -(inputs @ theta).sin()[:, None] * inputs * (inputs @ vector)[:, None]
    away = products - products.mean(dim=0)
    expected = (away.square().sum(dim=1).mean().item(), (away @ vector).square().mean().item())
    samples = (inputs, torch.zeros(40, dtype=torch.float64))
    found = hessian_variance(lambda point, row, _: (row @ point).sin(), theta, samples, vector, products.mean(dim=0))
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_tolerance_of_the_top_eigenpair_has_its_least() -> None:
    observable = make("observable", {"name": "hessian_noise", "at": [0], "tol": 1e-9}, "hessian_noise")
    assert observable.fault(make_run(SMALL_DIGITS)) == ("tol", 1e-9, "at least 1e-05, what float32 can reach")
