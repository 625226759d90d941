"""The central flow: against the constrained equation of one mode, the whole problem in dense matrices, and the edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from stepscape.curvature import Expansion
from stepscape.errors import StepscapeError
from stepscape.optimizers._averaging import step
from stepscape.optimizers._flows import Rule
from stepscape.study.plan import Pack
from stepscape.training.checkpoint import read_checkpoint, write_checkpoint
from stepscape.training.loop import Group, KeyedRandom
from tests.factories import SMALL_DIGITS, final_parameters, make_run, train
from tests.unit.test_flows import OF, flow
from tests.unit.test_optimizers import Objective, hyper_of

POINT = torch.tensor([0.02, -0.01, 1.0, 0.1, 0.3], dtype=torch.float64)
SINGLE = torch.tensor([0.02, 0.0, 1.0, 0.0, 0.3], dtype=torch.float64)


def crowded(theta: Tensor) -> Tensor:
    """Two directions whose curvature grows with a third, turn into each other with a fourth; a fifth that is quiet."""
    one, two, rise, turn, quiet = theta
    bowl = 0.5 * rise * (one.square() + 1.01 * two.square()) + 0.2 * turn * one * two
    return bowl - 0.3 * rise + 0.05 * rise.square() - 0.2 * turn + 0.1 * turn.square() + 0.05 * quiet.square()


def single(theta: Tensor) -> Tensor:
    """One direction whose curvature grows with two others."""
    one, _, rise, turn, quiet = theta
    bowl = 0.5 * (rise + 0.3 * turn.square() + 0.2 * turn) * one.square()
    return bowl - 0.3 * rise + 0.05 * rise.square() - 0.2 * turn + 0.1 * turn.square() + 0.05 * quiet.square()


def hessian(loss: Any, theta: Tensor) -> Tensor:
    found: Tensor = torch.func.jacrev(torch.func.jacrev(loss))(theta)
    return found


def test_one_mode_goes_along_the_gradient_without_its_part_that_sharpens() -> None:
    """With k = 1 and gd: d theta / dt = -lr (g - n n.g), n the direction of grad S; S stays at 2 / lr."""
    sharpness = float(torch.linalg.eigvalsh(hessian(single, SINGLE))[-1])
    lr = 2 / sharpness

    def velocity(_: float, y: np.ndarray) -> np.ndarray:
        theta = torch.from_numpy(y)
        slope = torch.func.grad(lambda at: torch.linalg.eigvalsh(hessian(single, at))[-1])(theta)
        gradient, normal = torch.func.grad(single)(theta), slope / slope.norm()
        return (-lr * (gradient - (gradient @ normal) * normal)).numpy()

    expected = solve_ivp(velocity, (0, 3), SINGLE.numpy(), rtol=1e-9, atol=1e-12).y[:, -1]
    errors = []
    for substeps in (40, 80):
        rule = flow("central_flow", substeps=substeps, tol=1e-10)
        found = _trajectory(rule, single, SINGLE, lr, 3)[0]
        errors.append(float(np.abs(found[0].numpy() - expected).max()))
    print(f"error with 40 and 80 steps of Euler's method: {errors}")
    assert errors[0] < 5e-3
    assert 1.8 < errors[0] / errors[1] < 2.2, "of first order"
    assert np.abs(expected - SINGLE.numpy()).max() > 0.3


def _trajectory(rule: Any, loss: Any, theta: Tensor, lr: float, updates: int) -> tuple[Tensor, Any]:
    point, state, hyper = theta[None], rule.init(theta[None]), hyper_of([rule], [lr])
    for number in range(updates):
        point, state = rule.update(Objective(loss), point, state, hyper, KeyedRandom([0], number))
    return point, state


@pytest.mark.parametrize("of", OF)
def test_a_step_solves_the_complementarity_problem_at_its_end(of: str) -> None:
    """Sigma is recovered from where theta went; Y = U' (2 P - H) U is that of the true loss at the end of the step."""
    width = {"gd": 0, "scalar_rmsprop": 1, "rmsprop": 5}[of]
    nu = 0.25 + 0.01 * torch.arange(width, dtype=torch.float64)
    scale = Rule(of, 1.0, 0.9, 1e-8).denominator(nu, POINT)
    relative = torch.linalg.eigvalsh(hessian(crowded, POINT) / (scale.sqrt() * scale.sqrt()[:, None]))
    rule = Rule(of, 2 / float(relative[-1]), 0.9, 1e-8)
    whitened = (scale / rule.lr).rsqrt()
    values, vectors = torch.linalg.eigh(hessian(crowded, POINT) * whitened * whitened[:, None])
    values, vectors = values.flip(0)[:2], vectors.T.flip(0)[:2].contiguous()
    assert values[1] > 1.9
    critical = whitened * vectors
    third = torch.func.jacrev(torch.func.jacrev(torch.func.jacrev(crowded)))(POINT)
    for time in (0.02, 0.01):
        theta, after, found = step(Expansion([crowded], POINT), nu, rule, values, vectors, time)
        gradient = torch.func.grad(crowded)(POINT)
        bare, rise = rule.velocity(nu, gradient)
        pull = -2 * scale / rule.lr * ((theta - POINT) / time - bare)  # grad <H, Sigma>
        slopes = torch.einsum("ip,pqr,jq->ijr", critical, third, critical)
        columns = torch.stack([slopes[0, 0], 2 * slopes[0, 1], slopes[1, 1]], dim=1)
        a, b, c = torch.linalg.lstsq(columns, pull).solution
        x = torch.stack([torch.stack([a, b]), torch.stack([b, c])])
        assert (columns @ torch.stack([a, b, c]) - pull).abs().max() < 1e-9, "theta moved where Sigma can take it"
        sigma = critical.T @ x @ critical
        wide = hessian(crowded, POINT) @ sigma @ hessian(crowded, POINT)
        squares = {"gd": nu, "scalar_rmsprop": wide.trace()[None], "rmsprop": wide.diagonal()}[of]
        torch.testing.assert_close((after - nu) / time, rise + rule.rate * squares if width else nu, rtol=1e-6, atol=0)
        end = torch.diag(2 * rule.denominator(after, theta) / rule.lr) - hessian(crowded, theta)
        y = critical @ end @ critical.T
        print(f"{of}, {time}: X {x.tolist()}, Y {y.tolist()}")
        assert torch.linalg.eigvalsh(x)[0] > -1e-9
        assert torch.linalg.eigvalsh(y)[0] > -2 * time**2, "of second order: the step is linear"
        assert (x * y).sum().abs() < 2 * time**2
        assert found.loss == pytest.approx(float(x.trace()), rel=1e-6)
        assert found.variance == pytest.approx(float(sigma.trace()), rel=1e-6)
        assert found.squared_gradient == pytest.approx(float(wide.trace()), rel=1e-6)
        assert found.modes == 2
        assert found.residual < 1e-8


def test_below_the_edge_one_step_of_euler_is_gradient_descent() -> None:
    chosen: dict[str, Any] = {"lr": 0.1, "dtype": "float64", "observe": {"parameters": {"at": [12]}}}
    plain = final_parameters(train(make_run(SMALL_DIGITS, **chosen)))
    optimizer = {"name": "central_flow", "substeps": 1}
    found = final_parameters(train(make_run(SMALL_DIGITS, **{**chosen, "optimizer": optimizer})))
    print("worst difference", np.abs(found - plain).max())
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-13)


STEEP = {**SMALL_DIGITS, "dataset": {"name": "digits", "train_size": 60, "test_size": 30}, "seed": 3}
"""It starts above the edge, is brought down in an update, and comes to have two modes."""
AT_THE_EDGE = {"gd": (0.8, 0.0), "scalar_rmsprop": (0.3, 0.1), "rmsprop": (0.015, 1e-3)}


@pytest.mark.parametrize("of", OF)
def test_curvature_is_held_at_the_edge(of: str) -> None:
    """In the large: a network whose curvature would rise beyond it, with several modes."""
    lr, initial = AT_THE_EDGE[of]
    run = make_run(
        STEEP,
        optimizer={"name": "central_flow", "of": of, "initial": initial},
        lr=lr,
        budget={"steps": 40},
        observe={
            "preconditioned_top": {"every": 1, "tol": 1e-4},
            "time_average": {"every": 1},
        },
    )
    record = train(run)
    values = lr * np.asarray(record.values["preconditioned_eigenvalue"])[:, 0]
    modes = np.asarray(record.values["oscillation_modes"])
    residual = max(record.values["oscillation_residual"])
    print(f"{of}: lambda_1 {values.round(4)}, modes {modes}, residual {residual:.1e}")
    assert values[-20:].max() < 2 + 2e-3
    assert modes[-1] >= 1
    assert residual < 1e-8
    assert max(record.values["oscillation_variance"]) > 0


def test_more_modes_than_allowed_are_told() -> None:
    run = make_run(STEEP, optimizer={"name": "central_flow", "max_modes": 1}, lr=0.8, budget={"steps": 40})
    with pytest.raises(StepscapeError, match=r"more than 1 eigenvalues .* max_modes = 1"):
        train(run)


def test_a_quadratic_above_the_edge_has_no_central_flow() -> None:
    with pytest.raises(StepscapeError, match="holds the curvature at the edge"):
        train(make_run(optimizer="central_flow", lr=2.2))


def test_an_eigenvalue_that_was_missed_is_found_by_an_audit() -> None:
    """Started from the second eigenvector alone, warm solves stay with it until one looks elsewhere."""
    from stepscape.curvature.leading import follow_leading

    matrix = torch.diag(torch.tensor([2.0, 2.0, 1.0, 0.5, 0.2, 0.1], dtype=torch.float64))

    def product(vectors: Tensor) -> Tensor:
        return vectors @ matrix

    start = torch.eye(6, dtype=torch.float64)[2:3]
    warm = follow_leading(product, start, 1.9, 5, tol=1e-6, generator=np.random.default_rng(0))
    assert warm.values.tolist() == [1.0]
    audited = follow_leading(product, start, 1.9, 5, tol=1e-6, generator=np.random.default_rng(0), cold=True)
    np.testing.assert_allclose(audited.values, [2, 2, 1], atol=1e-9)
    assert audited.above(1.9) == 2
    again = follow_leading(product, audited.vectors, 1.9, 5, tol=1e-6, generator=np.random.default_rng(0))
    assert again.products == 3


@pytest.mark.parametrize("optimizer", ["stable_flow", "central_flow", "constrained_gd"])
def test_flows_go_on_from_a_checkpoint_to_the_same_bytes(optimizer: str, tmp_path: Path) -> None:
    """At the edge, so that the vectors that the next search starts from are part of the state."""
    fields = {} if optimizer == "constrained_gd" else {"of": "rmsprop", "initial": 1e-3}
    lr = 0.3 if optimizer == "constrained_gd" else 0.015
    observe = {"parameters": {"at": [12]}, "self_stabilisation": {"every": 4}}
    run = make_run(STEEP, optimizer={"name": optimizer, **fields}, lr=lr, observe=observe)
    whole = train(run)
    group, pack = Group.start([run], torch.device("cpu")), Pack((run,))
    for _ in range(7):
        group.advance()
    write_checkpoint(group, pack, 0.0, tmp_path / "checkpoint.npz")
    resumed, _ = read_checkpoint(pack, tmp_path / "checkpoint.npz", torch.device("cpu"))
    record = resumed.lanes[0].record
    while resumed.lanes:
        resumed.advance()
    for name, values in whole.values.items():
        assert np.stack(record.values[name]).tobytes() == np.stack(values).tobytes(), name
