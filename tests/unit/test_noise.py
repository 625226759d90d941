"""The variance of samples' gradients against a loop over samples."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stepscape.curvature import gradient_variance, noise
from stepscape.observables.noise_scale import NoiseScale
from stepscape.registry import find, names
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
