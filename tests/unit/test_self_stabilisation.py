"""Constrained descent, and the theory of one mode: on a small problem in dense matrices, and on its own equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.integrate import solve_ivp

from stepscape.analysis.self_stabilisation import oscillation
from stepscape.claims import Claim
from stepscape.errors import StepscapeError
from stepscape.registry import make
from stepscape.training.loop import KeyedRandom
from tests.factories import SMALL_DIGITS, make_run, train
from tests.unit.test_central_flow import SINGLE, hessian, single
from tests.unit.test_optimizers import Objective, hyper_of


def _path(lr: float, updates: int, **fields: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """theta and `free` after each update, of the problem with one mode."""
    rule: Any = make("optimizer", {"name": "constrained_gd", "tol": 1e-9, **fields}, "constrained_gd")
    theta, hyper = SINGLE[None], hyper_of([rule], [lr])
    state = rule.init(theta)
    path, free = [theta[0]], [state["free"][0]]
    for step in range(updates):
        theta, state = rule.update(Objective(single), theta, state, hyper, KeyedRandom([0], step))
        path.append(theta[0])
        free.append(state["free"][0])
    return path, free


def sharpness(theta: torch.Tensor) -> float:
    return float(torch.linalg.eigvalsh(hessian(single, theta))[-1])


def test_the_path_keeps_the_bound_and_has_no_slope_along_its_border() -> None:
    bound = sharpness(SINGLE) * 1.1
    path, free = _path(2 / bound, 12, slack=1e-4)
    values = [sharpness(theta) for theta in path]
    met = next(step for step in range(13) if not torch.equal(path[step], free[step]))
    assert values[met - 1] < bound * (1 - 1e-3), "both are gradient descent until the bound is met"
    assert max(values) < bound * (1 + 1.01e-4)
    assert min(values[met:]) > bound * (1 - 1e-3), "the bound is where the loss falls fastest"
    for theta in path[met:]:
        top = torch.linalg.eigh(hessian(single, theta))[1][:, -1]
        slope = torch.func.grad(single)(theta)
        assert abs(float(top @ slope)) <= 1.1e-3 * float(slope.norm())
    assert float(single(path[-1])) < float(single(path[met])), "it goes on along the border"


def test_the_projection_is_the_nearest_point_of_the_border() -> None:
    """Among points of the border near the projected one, none is nearer to the step of gradient descent."""
    bound = sharpness(SINGLE) * 1.01
    lr = 2 / bound
    start = SINGLE * torch.tensor([0.0, 1, 1, 1, 1], dtype=torch.float64)  # no slope along u: the first part alone
    rule: Any = make("optimizer", {"name": "constrained_gd", "tol": 1e-9, "slack": 1e-9}, "constrained_gd")
    state, hyper = rule.init(start[None]), hyper_of([rule], [lr])
    end = rule.update(Objective(single), start[None], state, hyper, KeyedRandom([0], 0))[0][0]
    aimed = start - lr * torch.func.grad(single)(start)
    assert sharpness(aimed) > bound * 1.01
    assert sharpness(end) == pytest.approx(bound, rel=1e-8)
    distance = float((end - aimed).norm())
    random = np.random.default_rng(0)
    for _ in range(50):
        near = end + 0.02 * torch.from_numpy(random.standard_normal(5))
        for _ in range(20):  # onto the border, along the gradient there
            slope = torch.func.grad(lambda at: torch.linalg.eigvalsh(hessian(single, at))[-1])(near)
            near = near - (sharpness(near) - bound) * slope / (slope @ slope)
        assert sharpness(near) == pytest.approx(bound, rel=1e-6)
        assert float((near - aimed).norm()) > distance * (1 - 5e-3), "repeated linear steps end a little beside it"


def test_gradient_descent_beside_the_path_is_kicked_when_the_bound_is_met() -> None:
    bound = sharpness(SINGLE) * 1.1
    (path, plain), (_, kicked) = (_path(2 / bound, 8, kick=kick) for kick in (0.0, 0.2))
    parted = next(step for step in range(9) if not torch.equal(plain[step], kicked[step]))
    theta = path[parted]
    values, vectors = torch.linalg.eigh(hessian(single, theta))
    slope = torch.func.grad(lambda at: torch.linalg.eigvalsh(hessian(single, at))[-1])(theta)
    top = vectors[:, -1]
    across = slope - (slope @ top) * top
    alpha, beta = -float(torch.func.grad(single)(theta) @ slope), float(across @ across)
    expected = 0.2 * np.sqrt(2 * alpha / beta)
    moved = kicked[parted] - plain[parted]
    assert float(values[-1]) == pytest.approx(bound, rel=2e-3)
    assert abs(float(moved @ top)) == pytest.approx(expected, rel=1e-3)
    assert float(moved.norm()) == pytest.approx(expected, rel=1e-3)


def test_a_start_with_too_many_eigenvalues_above_the_bound_is_told() -> None:
    run = make_run(SMALL_DIGITS, optimizer={"name": "constrained_gd", "max_modes": 1}, lr=0.9)
    with pytest.raises(StepscapeError, match=r"max_modes = 1|2 / lr = 2\.22"):
        train(run)


def test_rates_are_those_of_dense_derivatives() -> None:
    """Of a network, in float64, and of one without gradient descent beside it."""
    observe = {"self_stabilisation": {"every": 4, "tol": 1e-8}, "parameters": {"every": 4}}
    run = make_run(SMALL_DIGITS, model={"name": "mlp", "hidden": [2]}, dtype="float64", observe=observe)
    record = train(run)
    from stepscape.training.problem import Problem

    problem = Problem(run, torch.device("cpu"))
    loss = problem.loss_on(problem.train)
    for i, kept in enumerate(record.values["parameters"]):
        theta = torch.from_numpy(kept)
        found = torch.func.jacrev(torch.func.jacrev(loss))(theta)
        values, vectors = torch.linalg.eigh(found)
        top = vectors[:, -1]
        size = 1e-4  # grad of u' H u, by differences of dense Hessians
        slope = torch.stack(
            [
                top
                @ (
                    torch.func.jacrev(torch.func.jacrev(loss))(theta + size * unit)
                    - torch.func.jacrev(torch.func.jacrev(loss))(theta - size * unit)
                )
                @ top
                / (2 * size)
                for unit in torch.eye(len(theta), dtype=torch.float64)
            ]
        )
        across = slope - (slope @ top) * top
        expected = {
            "progressive_sharpening": -float(torch.func.grad(loss)(theta) @ slope),
            "stabilisation": float(across @ across),
            "path_sharpness": float(values[-1]),
            "path_second": float(values[-2]),
            "path_loss": float(loss(theta)),
        }
        for name, value in expected.items():
            assert record.values[name][i] == pytest.approx(value, rel=1e-4), name
        assert abs(record.values["sharpness_slope"][i]) == pytest.approx(abs(float(slope @ top)), rel=1e-4)
        if i == 1:
            break
    assert np.isnan(record.values["free_oscillation"]).all()


# ------------------------------------------------------------------------------------------------------ the theory


def theory(alpha: float, beta: float, lr: float, updates: int, scale: float) -> np.ndarray:
    """x and y of |x|' = lr y |x|, y' = lr (alpha - beta x^2 / 2), at whole times; x alternates, times `scale`."""

    def velocity(_: float, at: np.ndarray) -> list[float]:
        return [lr * at[1], lr * (alpha - beta * np.exp(2 * at[0]) / 2)]

    steps = np.arange(updates + 1)
    start = [np.log(0.2 * np.sqrt(2 * alpha / beta)), 0.0]
    log, y = solve_ivp(velocity, (0, updates), start, t_eval=steps, rtol=1e-8, atol=1e-10).y
    return np.stack([scale * (-1.0) ** steps * np.exp(log), y], axis=1)


def stabilised(scale: float = 1.0, *, seeds: int = 3, updates: int = 700, second: float = 8.0) -> xr.Dataset:
    """Runs that follow the theory from step 50 on, their oscillation `scale` times too large."""
    alpha, beta, lr = 0.2, 300.0, 0.2
    motion = np.stack([theory(alpha, beta, lr, updates, scale * (1 + 0.003 * seed)) for seed in range(seeds)])
    steps = np.arange(updates + 1)
    ones = np.ones((seeds, len(steps)))
    motion = np.where(steps[None, :, None] < 50, 0.0, np.roll(motion, 50, axis=1))
    clock = ("run", "step")
    return xr.Dataset(
        {
            "free_oscillation": (clock, motion[..., 0]),
            "free_rise": (clock, motion[..., 1]),
            "progressive_sharpening": (clock, alpha * ones),
            "stabilisation": (clock, beta * ones),
            "sharpness_slope": (clock, 0 * ones),
            "path_loss": (clock, 0.1 * ones),
            "free_loss": (clock, 0.1 + motion[..., 0] ** 2 / lr),
            "free_sharpness": (clock, 10 + motion[..., 1]),
            "path_second": (clock, second * ones),
            "path_sharpness": (clock, np.where(steps < 50, 9.0, 10.0) * ones),
            "status": ("run", np.full(seeds, "completed", object)),
        },
        {
            "run": np.asarray([f"{index:016x}" for index in range(seeds)], object),
            "optimizer": ("run", np.full(seeds, "constrained_gd", object)),
            "lr": ("run", np.full(seeds, lr)),
            "seed": ("run", np.arange(seeds)),
            "step": steps,
        },
    )


def test_averages_over_cycles_of_the_theory_are_those_of_its_fixed_point() -> None:
    found = oscillation(stabilised(), 0)
    assert found is not None
    assert found.steps[0] == 50
    assert found.bursts >= 5
    print(f"{found.bursts} bursts, size {found.size_ratio:.3f}, loss {found.loss_ratio:.3f}")
    assert found.size_ratio == pytest.approx(1, abs=0.05)
    assert found.loss_ratio == pytest.approx(found.size_ratio, rel=1e-9)
    assert found.loss_error == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.predicted_sharpness, found.sharpness)
    assert oscillation(stabilised().drop_vars("free_oscillation"), 0) is None
    never = stabilised()
    assert oscillation(never.assign(path_sharpness=never.path_sharpness * 0.9), 0) is None


def _claim(**fields: Any) -> Claim:
    return make("claim", {"name": "self_stabilises", **fields}, "claim")  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("fields", "scale", "verdict"),
    [
        ({}, 1.0, "supported"),
        ({}, 1.3, "not_supported"),
        ({"quantity": "loss"}, 1.0, "supported"),
        ({"quantity": "loss"}, 0.7, "not_supported"),
        ({"quantity": "identity", "low": 0, "high": 0.05}, 1.0, "supported"),
    ],
)
def test_verdicts(fields: dict[str, Any], scale: float, verdict: str) -> None:
    found = _claim(**fields).judge(stabilised(scale))
    assert found.verdict == verdict
    assert found.runs == {"at the bound": 3, "of one mode": 3, "judged": 3}


def test_an_identity_that_does_not_hold_is_not_supported() -> None:
    ds = stabilised()
    wrong = ds.assign(free_loss=ds.path_loss + 1.2 * (ds.free_loss - ds.path_loss))
    found = _claim(quantity="identity", low=0, high=0.05).judge(wrong)
    assert found.verdict == "not_supported"
    assert found.value == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("truth", "counts"),
    [
        ({"updates": 150}, {"at the bound": 3, "of one mode": 3, "judged": 0}),
        ({"second": 9.9}, {"at the bound": 3, "of one mode": 0, "judged": 0}),
        ({"seeds": 2}, {"at the bound": 2, "of one mode": 2, "judged": 2}),
    ],
)
def test_runs_of_few_cycles_or_of_two_modes_do_not_count(truth: dict[str, Any], counts: dict[str, int]) -> None:
    found = _claim().judge(stabilised(**truth))
    assert (found.verdict, found.runs) == ("not_testable", counts)
