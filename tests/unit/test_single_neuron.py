"""The population risk of a sum of neurons, how fast it falls, and the fits that must find it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from stepscape.analysis.decay import Decay, last_decades
from stepscape.claims.exponential_decay import ExponentialDecay
from stepscape.claims.power_law_decay import PowerLawDecay
from stepscape.networks.neurons import relu_risk
from tests.factories import SMALL_DIGITS, make_run, normal, train

STUDENT: dict[str, Any] = {
    "dataset": "teacher_neuron",
    "model": {"name": "student_neurons", "neurons": 2},
    "loss": "mean_output",
    "optimizer": "gd",
    "lr": 0.4,
    "dtype": "float64",
    "budget": {"steps": 1000},
}


# ------------------------------------------------------------------------------------------------------------ the risk


@pytest.mark.parametrize("neurons", [1, 2, 5])
def test_the_risk_is_the_mean_over_the_circle(neurons: int) -> None:
    """In two dimensions E f(x)^2 = E r^2 times the mean of f^2 over angles, as f is homogeneous, and E r^2 = 2."""
    weights, teachers = normal(3, neurons, 2), normal(4, 2, seed=1)
    angles = 2 * np.pi * (np.arange(200_000) + 0.5) / 200_000
    circle = np.stack([np.cos(angles), np.sin(angles)])
    students = np.maximum(weights.numpy() @ circle, 0).sum(axis=1)  # (3, angles)
    wanted = np.maximum(teachers.numpy() @ circle, 0)
    expected = np.square(students[None] - wanted[:, None]).mean(axis=-1)
    np.testing.assert_allclose(relu_risk(weights, teachers).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("away", [1e-3, 1e-6, 1e-9])
def test_the_risk_is_exact_near_the_optimum(away: float) -> None:
    """Two neurons at angles +-t that add up to v: the risk is of order t^3, far below the rounding of 1."""
    t = away
    student = torch.tensor([[[0.5, 0.5 * np.tan(t)], [0.5, -0.5 * np.tan(t)]]], dtype=torch.float64)
    length = 0.5 / np.cos(t)
    # h(t) = t^3 / 3 - t^5 / 30
    h_one, h_two = t**3 / 3 - t**5 / 30, (2 * t) ** 3 / 3 - (2 * t) ** 5 / 30
    expected = (length**2 * h_two - 2 * length * h_one) / (2 * np.pi)
    found = relu_risk(student, torch.tensor([[1.0, 0.0]], dtype=torch.float64)).item()
    assert found == pytest.approx(expected, rel=1e-5 if away < 1e-5 else 1e-8)


def test_the_gradient_at_the_teacher_itself_is_zero_and_no_nan() -> None:
    teacher = normal(1, 6)
    point = teacher.clone().view(1, 1, 6).requires_grad_()
    risk = relu_risk(point, teacher).sum()
    (grad,) = torch.autograd.grad(risk, point)
    assert risk.item() == 0
    assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"loss": "mse"}, "mean_output: outputs of student_neurons are losses"),
        ({**SMALL_DIGITS, "loss": "mean_output"}, "a loss of outputs and targets: outputs of mlp are no losses"),
        ({"observe": {"feature_kernel": {"at": [0]}}}, "student_neurons trains no last linear layer"),
    ],
)
def test_losses_and_outputs_must_suit_each_other(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        make_run(STUDENT, **changed)


# ------------------------------------------------------------------------------------------------- the fits, calibrated

DECADES = [*range(20), *np.unique(np.geomspace(20, 1000, 30).astype(int)).tolist()]


@pytest.mark.parametrize(("neurons", "low", "high"), [(1, -np.inf, -15), (3, -3.15, -2.75)])
def test_descent_falls_as_the_theory_has_it(neurons: int, low: float, high: float) -> None:
    model, budget = {"name": "student_neurons", "neurons": neurons}, {"steps": 1000 if neurons > 1 else 100}
    at = [step for step in DECADES if step <= budget["steps"]]
    record = train(make_run(STUDENT, model=model, budget=budget, lr=0.4, observe={"losses": {"at": at}}))
    kept = np.asarray(at) >= budget["steps"] / 10
    curve = Decay(np.asarray(at)[kept], np.asarray(record.values["train_loss"])[kept])
    assert low < curve.exponent < high
    assert (curve.linearity > 0.99) == (neurons == 1)


def curves(losses: np.ndarray, status: str = "completed") -> xr.Dataset:
    """Runs that differ in their seed, with their losses (run, step) at every step."""
    runs, steps = losses.shape
    return xr.Dataset(
        {
            "train_loss": (("run", "step"), losses),
            "status": ("run", np.full(runs, status, object)),
            "n_steps": ("run", np.full(runs, steps - 1)),
        },
        {"step": np.arange(steps), "lr": ("run", np.full(runs, 0.1)), "seed": ("run", np.arange(runs))},
    )


def power(exponent: float, spread: float = 0.0) -> np.ndarray:
    steps = np.maximum(np.arange(1001), 1)
    return np.stack([7.0 * steps ** (exponent + spread * seed) for seed in (-1.0, 0.2, 0.8)])


EXPONENTIAL = np.exp(-0.05 * np.arange(1001)) * np.asarray([[1.0], [2.0], [5.0]])


@pytest.mark.parametrize(
    ("losses", "verdict", "value"),
    [
        (power(-3.0, 0.01), "supported", -3.0),
        (power(-2.0, 0.01), "not_supported", -2.0),
        (power(-3.0, 0.2), "undecided", -3.0),
        (EXPONENTIAL, "not_supported", None),
    ],
)
def test_power_laws_are_found(losses: np.ndarray, verdict: str, value: float | None) -> None:
    found = PowerLawDecay().judge(curves(losses))
    assert found.verdict == verdict, found
    if value is not None:
        assert found.value == pytest.approx(value, abs=1e-9)
        pooled = float(found.reason.split(":")[1].split("[")[0])
        assert pooled == pytest.approx(value, abs=5e-4), "nested_slope, which other claims use, finds the same"


@pytest.mark.parametrize(("losses", "verdict"), [(EXPONENTIAL, "supported"), (power(-3.0, 0.01), "not_supported")])
def test_exponentials_are_told_from_power_laws(losses: np.ndarray, verdict: str) -> None:
    assert ExponentialDecay().judge(curves(losses)).verdict == verdict


@pytest.mark.parametrize("claim", [PowerLawDecay(), ExponentialDecay()])
def test_curves_without_enough_losses_are_not_judged(claim: Any) -> None:
    for ds in (curves(power(-3.0), status="diverged"), curves(power(-3.0)[:2]), curves(0 * power(-3.0))):
        found = claim.judge(ds)
        assert (found.verdict, found.value) == ("not_testable", None)
        assert "at least 3 must" in found.reason


def test_a_constant_loss_falls_in_no_way() -> None:
    flat = curves(np.ones((3, 101)))
    assert ExponentialDecay().judge(flat).verdict == "not_testable"
    assert PowerLawDecay().judge(flat).verdict == "not_supported"


def test_only_the_last_decades_are_fitted() -> None:
    losses = power(-3.0)
    losses[:, :100] = 1e-9
    (first, *_) = last_decades(curves(losses), 1.0)
    assert first is not None
    assert (first.steps[0], first.exponent) == (100, pytest.approx(-3, abs=1e-9))


def test_controls_say_that_they_must_fail() -> None:
    assert ExponentialDecay(control=True).statement.startswith("Control, which must fail: the training loss")
