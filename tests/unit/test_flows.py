"""Flows against scipy's integrators, and what they share with the optimizers that they follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from stepscape.optimizers import Optimizer
from stepscape.registry import make
from stepscape.training.loop import KeyedRandom
from tests.factories import SMALL_DIGITS, final_parameters, make_run, normal, train
from tests.unit.test_optimizers import THETA, Objective, hyper_of, loss_on

BETA2, EPS, INITIAL = 0.9, 1e-8, 0.5
OF = ("gd", "scalar_rmsprop", "rmsprop")
WHOLE = loss_on(slice(None))


def flow(name: str, **fields: Any) -> Optimizer:
    made = make("optimizer", {"name": name, "beta2": BETA2, "eps": EPS, "initial": INITIAL, **fields}, name)
    assert isinstance(made, Optimizer)
    return made


def integrate(rule: Optimizer, theta: Tensor, lr: float, updates: int) -> Tensor:
    """One lane (P,) after so many updates."""
    point, state, hyper = theta[None], rule.init(theta[None]), hyper_of([rule], [lr])
    for step in range(updates):
        point, state = rule.update(Objective(WHOLE), point, state, hyper, KeyedRandom([0], step))
    return point[0]


def gradient(theta: np.ndarray) -> np.ndarray:
    return Objective(WHOLE).gradient(torch.from_numpy(theta)[None])[0].numpy()


def stable_reference(of: str, lr: float, time: float) -> np.ndarray:
    """The stable flow's equations, integrated to 1e-10."""

    def squares(grad: np.ndarray) -> np.ndarray:
        return {"gd": grad[:0], "scalar_rmsprop": np.array([grad @ grad]), "rmsprop": grad**2}[of]

    def velocity(_: float, y: np.ndarray) -> np.ndarray:
        grad, nu = gradient(y[:7]), y[7:]
        scale = 1.0 if of == "gd" else np.sqrt(nu) + EPS
        return np.concatenate([-lr * grad / scale, (1 - BETA2) / BETA2 * (squares(grad) - nu)])

    start = THETA.numpy()
    nu = BETA2 * INITIAL + (1 - BETA2) * squares(gradient(start))
    found = solve_ivp(velocity, (0, time), np.concatenate([start, nu]), method="DOP853", rtol=1e-10, atol=1e-12)
    return found.y[:7, -1]


@pytest.mark.parametrize("of", OF)
@pytest.mark.parametrize(("substeps", "tolerance"), [(None, 1e-3), (20, 1e-7)])
def test_the_stable_flow_is_the_solution_of_its_equations(of: str, substeps: int | None, tolerance: float) -> None:
    found = integrate(flow("stable_flow", of=of, substeps=substeps), THETA, 0.05, 12).numpy()
    expected = stable_reference(of, 0.05, 12)
    worst = np.abs(found - expected).max()
    print(f"stable flow of {of}, substeps {substeps}: worst difference {worst:.1e}")
    assert worst < tolerance
    assert np.abs(expected - THETA.numpy()).max() > 0.1, "nothing moved"


def test_gradient_flow_of_a_quadratic_is_an_exponential_in_the_time_lr_times_steps() -> None:
    """Far above the threshold of gradient descent: lr times the largest eigenvalue is 6."""
    eigenvalues = torch.tensor([3.0, 1.0, 0.01], dtype=torch.float64)
    rule, theta = flow("stable_flow"), torch.ones(1, 3, dtype=torch.float64)
    hyper = hyper_of([rule], [2.0])
    state = rule.init(theta)
    objective = Objective(lambda row: 0.5 * (eigenvalues * row.square()).sum())
    for step in range(5):
        theta, state = rule.update(objective, theta, state, hyper, KeyedRandom([0], step))
    assert float(state["steps"]) == 6
    expected = (-2.0 * 5 * eigenvalues).exp()
    print("worst relative difference of the slow coordinates", (theta[0] / expected - 1)[1:].abs().max().item())
    error = 30 * (1 / 3) ** 5 / 120 * np.exp(1 / 3)  # of thirty steps of fourth order at a rate of 1 / 3
    torch.testing.assert_close(theta[0, 1:], expected[1:], rtol=1.1 * error, atol=0)
    assert 0 <= theta[0, 0] < 1e-10


@pytest.mark.parametrize("of", OF)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_lanes_of_flows_are_each_lane_alone_to_the_bit(of: str, dtype: torch.dtype) -> None:
    rule = flow("stable_flow", of=of)
    theta, rates = normal(3, 7, seed=4).to(dtype), [0.02, 0.1, 0.4]
    together = _lanes(rule, theta, rates, [0, 1, 2])
    for lane, rate in enumerate(rates):
        assert torch.equal(_lanes(rule, theta[lane : lane + 1], [rate], [lane])[0], together[lane])


def _lanes(rule: Optimizer, theta: Tensor, rates: list[float], seeds: list[int]) -> Tensor:
    objective = Objective(lambda row: WHOLE(row.double()).to(row.dtype))
    state, hyper = rule.init(theta), hyper_of([rule] * len(rates), rates)
    for step in range(12):
        given = [theta.clone(), *(held.clone() for held in state.values())]
        old = [theta, *state.values()]
        theta, kept = rule.update(objective, theta, state, hyper, KeyedRandom(seeds, step))
        assert all(torch.equal(one, other) for one, other in zip(given, old, strict=True)), "changed in place"
        assert set(kept) == set(state)
        state = kept
    return theta


@pytest.mark.parametrize("of", OF[1:])
def test_a_flow_starts_with_the_preconditioner_of_its_optimizer(of: str) -> None:
    """The discrete rule updates nu before theta: both have the same P in the first update."""
    discrete: Any = make("optimizer", {"name": of, "beta2": BETA2, "bias_correction": False, "initial": INITIAL}, of)
    found = []
    for rule in (discrete, flow("stable_flow", of=of)):
        state, hyper = rule.init(THETA[None]), hyper_of([rule], [0.01])
        found.append(rule.preconditioner(Objective(WHOLE), THETA[None], state, hyper))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("of", OF)
def test_a_flow_of_a_network_stays_close_to_its_optimizer_at_a_small_rate(of: str) -> None:
    """In the limit of small steps both are one: the distance is of first order in the learning rate."""
    initial = 1.0 if of == "scalar_rmsprop" else 1e-2
    distances = []
    for halvings in (0, 1):
        lr, steps = 0.004 / 2**halvings, 40 * 2**halvings
        fields = {"initial": initial, "beta2": 0.99 ** (0.5**halvings)}
        chosen = {"lr": lr, "dtype": "float64", "budget": {"steps": steps}, "observe": {"parameters": {"at": [steps]}}}
        plain: Any = "gd" if of == "gd" else {"name": of, "bias_correction": False, **fields}
        ends = [
            final_parameters(train(make_run(SMALL_DIGITS, optimizer=rule, **chosen)))
            for rule in (plain, {"name": "stable_flow", "of": of, **fields})
        ]
        distances.append(np.linalg.norm(ends[0] - ends[1]))
    print(f"{of}: distance {distances[0]:.1e}, at half the rate {distances[1]:.1e}")
    assert 1.6 < distances[0] / distances[1] < 2.5
