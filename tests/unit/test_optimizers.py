"""Every optimizer against an independent implementation, its threshold against a quadratic that crosses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stepscape.optimizers import Optimizer
from stepscape.registry import make, names
from tests.factories import make_run, normal, train

Loss = Callable[[Tensor], Tensor]
STEPS, LR = 100, 0.01
INPUTS, TARGETS, THETA = normal(24, 6, seed=1), normal(24, seed=2), normal(7, seed=3)
BATCHES = {"full": [slice(None)], "mini": [slice(0, 8), slice(8, 16), slice(16, 24)]}


def loss_on(rows: slice) -> Loss:
    """Mean squared error of one tanh unit, theta = (weights, scale); not quadratic, so that its curvature changes."""
    return lambda theta: (theta[6] * torch.tanh(INPUTS[rows] @ theta[:6]) - TARGETS[rows]).square().mean()


class Objective:
    """The protocol that optimizers are given, without any of the package's training."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def value(self, theta: Tensor) -> Tensor:
        return torch.stack([self._loss(row) for row in theta])

    def gradient(self, theta: Tensor) -> Tensor:
        points = [row.detach().clone().requires_grad_() for row in theta]
        return torch.stack([torch.autograd.grad(self._loss(point), point)[0] for point in points])

    def hessian_product(self, theta: Tensor, vectors: Tensor) -> Tensor:
        rows = zip(theta, vectors, strict=True)
        return torch.stack([torch.autograd.functional.hvp(self._loss, row, vector)[1] for row, vector in rows])


class NoRandom:
    """Random numbers for members that need none: asking for them fails the test."""

    def generators(self, purpose: str) -> list[np.random.Generator]:
        raise AssertionError(purpose)

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        raise AssertionError(purpose)


def torch_rule(cls: type[Any], **settings: Any) -> Callable[[str], Tensor]:
    """The same trajectory with one of PyTorch's optimizers."""

    def trajectory(batches: str) -> Tensor:
        theta = THETA.clone().requires_grad_()
        rule = cls([theta], lr=LR, **settings)
        for step in range(STEPS):
            rule.zero_grad()
            loss_on(BATCHES[batches][step % len(BATCHES[batches])])(theta).backward()
            rule.step()
        return theta.detach()

    return trajectory


def adam_without_correction(batches: str) -> Tensor:
    """Kingma & Ba 2014, algorithm 1, line by line, without its lines on m_hat and v_hat."""
    theta, m, v = THETA.numpy().copy(), np.zeros(7), np.zeros(7)
    for step in range(STEPS):
        point = torch.from_numpy(theta).requires_grad_()
        grad = torch.autograd.grad(loss_on(BATCHES[batches][step % len(BATCHES[batches])])(point), point)[0].numpy()
        m = 0.8 * m + 0.2 * grad
        v = 0.95 * v + 0.05 * grad * grad
        theta = theta - LR * m / (np.sqrt(v) + 1e-6)
    return torch.from_numpy(theta)


@dataclass(frozen=True)
class Case:
    """An optimizer's fields, and who else implements that rule."""

    name: str
    settings: Mapping[str, Any]
    reference: Callable[[str], Tensor]

    @property
    def optimizer(self) -> Any:
        return make("optimizer", {"name": self.name, **self.settings}, self.name)


CASES = [
    Case("gd", {}, torch_rule(torch.optim.SGD)),
    Case("adam", {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6}, torch_rule(torch.optim.Adam, betas=(0.8, 0.95), eps=1e-6)),
    Case("adam", {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "bias_correction": False}, adam_without_correction),
    Case("rmsprop", {"beta2": 0.9}, torch_rule(torch.optim.Adam, betas=(0.0, 0.9))),
    Case("rmsprop", {"beta2": 0.9, "bias_correction": False}, torch_rule(torch.optim.RMSprop, alpha=0.9)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {dict(case.settings)}")


def hyper_of(optimizers: list[Any], rates: list[float]) -> dict[str, Tensor]:
    """(lanes, 1) of the learning rate and every field of type float."""
    scalars = [entry.name for entry in fields(optimizers[0]) if isinstance(getattr(optimizers[0], entry.name), float)]
    columns = {name: [getattr(optimizer, name) for optimizer in optimizers] for name in scalars} | {"lr": rates}
    return {name: torch.tensor(column, dtype=torch.float64)[:, None] for name, column in columns.items()}


def trajectory(rule: Optimizer, theta: Tensor, hyper: Mapping[str, Tensor], batches: str, steps: int) -> Tensor:
    state = rule.init(theta)
    for step in range(steps):
        objective = Objective(loss_on(BATCHES[batches][step % len(BATCHES[batches])]))
        theta, state = rule.update(objective, theta, state, hyper, NoRandom())
    return theta


def test_every_optimizer_has_an_independent_reference() -> None:
    assert {case.name for case in CASES} == set(names("optimizer"))


@each_case
@pytest.mark.parametrize("batches", BATCHES)
def test_agrees_with_the_reference(case: Case, batches: str) -> None:
    hyper = hyper_of([case.optimizer], [LR])
    found = trajectory(case.optimizer, THETA[None], hyper, batches, STEPS)[0]
    expected = case.reference(batches)
    worst = ((found - expected).abs() / expected.abs()).max().item()
    print(f"{case.name} {batches}: worst relative difference after {STEPS} steps {worst:.1e}")
    assert worst < 1e-6
    assert (expected - THETA).abs().max() > 0.1, "nothing moved"


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_lanes_are_each_lane_alone_to_the_bit(case: Case, dtype: torch.dtype) -> None:
    lanes = 9  # more than a vector register holds, and not a multiple of it
    decays = [name for name in ("beta1", "beta2") if name in case.settings]
    settings = [{name: case.settings[name] - 0.037 * lane for name in decays} for lane in range(lanes)]
    rules = [replace(case.optimizer, **fields) for fields in settings]
    rates = [LR * (1 + lane / 3) for lane in range(lanes)]
    theta = normal(lanes, 7, seed=4).to(dtype)
    together = trajectory_in(dtype, rules[0], theta, hyper_of(rules, rates))
    for lane, rule in enumerate(rules):
        alone = trajectory_in(dtype, rule, theta[lane : lane + 1], hyper_of([rule], [rates[lane]]))
        assert torch.equal(together[lane], alone[0]), (lane, (together[lane] - alone[0]).abs().max())


def trajectory_in(dtype: torch.dtype, rule: Optimizer, theta: Tensor, hyper: Mapping[str, Tensor]) -> Tensor:
    objective = Objective(lambda row: loss_on(slice(None))(row.double()).to(dtype))
    state = rule.init(theta)
    for _ in range(60):
        theta, state = rule.update(objective, theta, state, hyper, NoRandom())
        assert theta.dtype == dtype
    return theta


@each_case
def test_nothing_changes_in_place(case: Case) -> None:
    rule, objective, theta = case.optimizer, Objective(loss_on(slice(None))), THETA[None].clone()
    hyper = hyper_of([rule], [LR])
    state = rule.update(objective, theta, rule.init(theta), hyper, NoRandom())[1]
    given = [theta, *state.values(), *hyper.values()]
    before = [(value.clone(), value._version) for value in given]
    rule.init(theta)
    rule.preconditioner(objective, theta, state, hyper)
    new, kept = rule.update(objective, theta, state, hyper, NoRandom())
    assert all(
        torch.equal(value, old) and value._version == version
        for value, (old, version) in zip(given, before, strict=True)
    )
    again, _ = rule.update(objective, theta, state, hyper, NoRandom())
    assert torch.equal(new, again)
    assert new.data_ptr() != theta.data_ptr()
    assert set(kept) == set(state)


@each_case
@pytest.mark.parametrize("updates", [0, 1, 30])
def test_preconditioner_is_that_of_the_update_about_to_be_taken(case: Case, updates: int) -> None:
    rule, objective = case.optimizer, Objective(loss_on(slice(None)))
    hyper, theta = hyper_of([rule], [LR]), THETA[None]
    state = rule.init(theta)
    for _ in range(updates):
        theta, state = rule.update(objective, theta, state, hyper, NoRandom())
    diagonal = rule.preconditioner(objective, theta, state, hyper)
    assert (diagonal is not None) == rule.preconditions
    new, kept = rule.update(objective, theta, state, hyper, NoRandom())
    direction = kept.get("m", objective.gradient(theta))
    expected = LR * direction / (1 if diagonal is None else diagonal)
    torch.testing.assert_close(theta - new, expected, rtol=1e-9, atol=1e-15)


@each_case
@pytest.mark.parametrize(("factor", "is_stable"), [(0.97, True), (1.03, False)])
def test_threshold_is_where_a_quadratic_turns_unstable(case: Case, factor: float, is_stable: bool) -> None:
    """The rule itself on 1/2 theta' H theta, its preconditioner held at P = `scale`.

    A decay next to 1 holds it; the bias correction would move it and is left out, as in the theory.
    """
    scale, top = 0.3, 4.0
    held = {"beta2": 1 - 2**-53, "bias_correction": False, "eps": 1e-300} if case.optimizer.preconditions else {}
    rule = type(case.optimizer)(**{**case.settings, **held})
    lr = factor * rule.threshold(1.0) * (scale if held else 1) / top
    hessian = torch.diag(torch.tensor([top, 1.0, 0.1], dtype=torch.float64))
    objective = Objective(lambda theta: 0.5 * theta @ hessian @ theta)
    theta = torch.full((1, 3), 1e-6, dtype=torch.float64)
    state = rule.init(theta)
    if held:
        state = {**state, "v": torch.full_like(theta, scale**2)}
    hyper = hyper_of([rule], [lr])
    torch.testing.assert_close(top / (scale if held else 1) / rule.threshold(lr), factor)
    for _ in range(150):
        theta, state = rule.update(objective, theta, state, hyper, NoRandom())
    growth = abs(theta[0, 0].item()) / 1e-6
    print(f"{case.name}: {factor} of the threshold: the top coordinate grew by {growth:.1e}")
    assert growth < 1e-3 if is_stable else growth > 1e3


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
def test_threshold_of_adam_is_where_the_iteration_matrix_reaches_the_unit_circle(beta: float) -> None:
    rule: Any = make("optimizer", {"name": "adam", "beta1": beta}, "adam")
    lr = 0.01
    for factor, is_stable in ((0.999, True), (1.001, False)):
        curvature = factor * rule.threshold(lr)
        moves = np.array([[1 - lr * (1 - beta) * curvature, -lr * beta], [(1 - beta) * curvature, beta]])
        assert (np.abs(np.linalg.eigvals(moves)).max() < 1) == is_stable


@pytest.mark.parametrize(("factor", "is_stable"), [(0.97, True), (1.03, False)])
def test_a_trained_run_of_gd_crosses_at_its_threshold(factor: float, is_stable: bool) -> None:
    losses = train(make_run(lr=factor * 2, budget={"steps": 400}, dtype="float64")).values["train_loss"]
    print(f"{factor} of 2 / lr: loss {losses[0]:.1e} to {losses[-1]:.1e}")
    assert losses[-1] < 1e-3 * losses[0] if is_stable else losses[-1] > 1e6 * losses[0]
