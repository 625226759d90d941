"""Every optimizer against an independent implementation, its threshold against a quadratic that crosses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from stepscape.curvature import Expansion
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

    def expansion(self, theta: Tensor, lane: int) -> Expansion:
        return Expansion([self._loss], theta)


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
        rule = cls([theta], **{"lr": LR, **settings})
        for step in range(STEPS):
            rule.zero_grad()
            loss_on(BATCHES[batches][step % len(BATCHES[batches])])(theta).backward()
            rule.step()
        return theta.detach()

    return trajectory


def gradient_at(theta: np.ndarray, step: int, batches: str) -> np.ndarray:
    point = torch.from_numpy(theta).requires_grad_()
    rows = BATCHES[batches][step % len(BATCHES[batches])]
    return torch.autograd.grad(loss_on(rows)(point), point)[0].numpy()


def heavy_ball_by_positions(batches: str) -> Tensor:
    """Polyak 1964: theta' = theta - lr g + beta (theta - the theta before), which knows no velocity."""
    theta = previous = THETA.numpy().copy()
    for step in range(STEPS):
        moved = theta - LR * gradient_at(theta, step, batches) + 0.8 * (theta - previous)
        theta, previous = moved, theta
    return torch.from_numpy(theta)


def nesterov_by_positions(batches: str) -> Tensor:
    """Nesterov 1983 at a constant beta: y = theta + beta (theta - the theta before), theta' = y - lr g(y)."""
    theta = previous = THETA.numpy().copy()
    for step in range(STEPS):
        ahead = theta + 0.8 * (theta - previous)
        theta, previous = ahead - LR * gradient_at(ahead, step, batches), theta
    return torch.from_numpy(theta)


def nesterov_behind_torch(batches: str) -> Tensor:
    """PyTorch's parameters are theta + beta v with v = -lr buffer; this takes beta v off again."""
    theta = THETA.clone().requires_grad_()
    rule = torch.optim.SGD([theta], lr=LR, momentum=0.8, nesterov=True)
    for step in range(STEPS):
        rule.zero_grad()
        loss_on(BATCHES[batches][step % len(BATCHES[batches])])(theta).backward()
        rule.step()
    return theta.detach() + LR * 0.8 * rule.state[theta]["momentum_buffer"]


def ema_as_a_sum(batches: str) -> Tensor:
    """The mean written out: sum over the past of (1 - beta) beta^age g."""
    theta, gradients = THETA.numpy().copy(), []
    for step in range(STEPS):
        gradients.append(gradient_at(theta, step, batches))
        theta = theta - LR * sum(0.2 * 0.8**age * grad for age, grad in enumerate(reversed(gradients)))
    return torch.from_numpy(theta)


def adam_without_correction(batches: str) -> Tensor:
    """Kingma & Ba 2014, algorithm 1, line by line, without its lines on m_hat and v_hat."""
    theta, m, v = THETA.numpy().copy(), np.zeros(7), np.zeros(7)
    for step in range(STEPS):
        grad = gradient_at(theta, step, batches)
        m = 0.8 * m + 0.2 * grad
        v = 0.95 * v + 0.05 * grad * grad
        theta = theta - LR * m / (np.sqrt(v) + 1e-6)
    return torch.from_numpy(theta)


def scalar_rmsprop_by_hand(batches: str) -> Tensor:
    """One mean of |g|^2, corrected as Adam's is."""
    theta, v = THETA.numpy().copy(), 0.0
    for step in range(STEPS):
        grad = gradient_at(theta, step, batches)
        v = 0.9 * v + 0.1 * float(grad @ grad)
        theta = theta - LR * grad / (np.sqrt(v / (1 - 0.9 ** (step + 1))) + 1e-8)
    return torch.from_numpy(theta)


def rmsprop_from(initial: float) -> Callable[[str], Tensor]:
    """PyTorch's, whose mean of squares is set before the first update."""

    def trajectory(batches: str) -> Tensor:
        theta, v = THETA.numpy().copy(), np.full(7, initial)
        for step in range(STEPS):
            grad = gradient_at(theta, step, batches)
            v = 0.9 * v + 0.1 * grad * grad
            theta = theta - LR * grad / (np.sqrt(v) + 1e-8)
        return torch.from_numpy(theta)

    return trajectory


def along(direction: Callable[[np.ndarray], np.ndarray]) -> Callable[[str], Tensor]:
    """Steps of lr times some function of the gradient."""

    def trajectory(batches: str) -> Tensor:
        theta = THETA.numpy().copy()
        for step in range(STEPS):
            theta = theta - LR * direction(gradient_at(theta, step, batches))
        return torch.from_numpy(theta)

    return trajectory


def without_memory(name: str) -> Callable[[str], Tensor]:
    """One of the RMSProps with a mean of squares that is the last square, and next to no eps."""

    def trajectory_of(batches: str) -> Tensor:
        rule: Any = make("optimizer", {"name": name, "beta2": 0.0, "eps": 1e-300}, name)
        return trajectory(rule, THETA[None], hyper_of([rule], [LR]), batches, STEPS)[0]

    return trajectory_of


@dataclass(frozen=True)
class Case:
    """An optimizer's fields, and who else implements that rule."""

    name: str
    settings: Mapping[str, Any]
    reference: Callable[[str], Tensor]

    def __str__(self) -> str:
        return f"{self.name} {dict(self.settings)} {self.reference.__name__}"

    @property
    def optimizer(self) -> Any:
        return make("optimizer", {"name": self.name, **self.settings}, self.name)


CASES = [
    Case("gd", {}, torch_rule(torch.optim.SGD)),
    Case("adam", {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6}, torch_rule(torch.optim.Adam, betas=(0.8, 0.95), eps=1e-6)),
    Case("adam", {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "bias_correction": False}, adam_without_correction),
    Case(
        "adamw",
        {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6, "weight_decay": 0.5},
        torch_rule(torch.optim.AdamW, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.5),
    ),
    Case("heavy_ball", {"beta": 0.8}, torch_rule(torch.optim.SGD, momentum=0.8)),
    Case("heavy_ball", {"beta": 0.8}, heavy_ball_by_positions),
    Case("ema_momentum", {"beta": 0.8}, torch_rule(torch.optim.SGD, lr=0.2 * LR, momentum=0.8)),
    Case("ema_momentum", {"beta": 0.8}, ema_as_a_sum),
    Case("nesterov", {"beta": 0.8}, nesterov_behind_torch),
    Case("nesterov", {"beta": 0.8}, nesterov_by_positions),
    Case("rmsprop", {"beta2": 0.9}, torch_rule(torch.optim.Adam, betas=(0.0, 0.9))),
    Case("rmsprop", {"beta2": 0.9, "bias_correction": False}, torch_rule(torch.optim.RMSprop, alpha=0.9)),
    Case("rmsprop", {"beta2": 0.9, "bias_correction": False, "initial": 0.1}, rmsprop_from(0.1)),
    Case("scalar_rmsprop", {"beta2": 0.9}, scalar_rmsprop_by_hand),
    Case("normalised_gd", {}, along(lambda grad: grad / np.sqrt(np.sum(grad**2)))),
    Case("normalised_gd", {}, without_memory("scalar_rmsprop")),
    Case("sign_descent", {}, along(lambda grad: np.where(grad > 0, 1.0, -1.0))),
    Case("sign_descent", {}, without_memory("rmsprop")),
]
AT_REST_NEVER = ("normalised_gd", "sign_descent")
"""Steps that do not shrink with the gradient: no quadratic is at rest under them."""
FLOWS = {"stable_flow", "central_flow", "constrained_gd"}
"""What looks at the loss between updates: test_flows.py, test_central_flow.py, test_self_stabilisation.py."""
NOISY = {"label_noise_sgd"}
"""What draws random numbers: test_label_noise.py."""
each_case = pytest.mark.parametrize("case", CASES, ids=str)


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
    assert {case.name for case in CASES} | FLOWS | NOISY == set(names("optimizer"))


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
    decays = [name for name in case.settings if name in ("beta", "beta1", "beta2", "weight_decay")]
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
    direction = -kept["velocity"] / LR if "velocity" in kept else kept.get("m", objective.gradient(theta))
    direction = direction.sign() if case.name == "sign_descent" else direction
    decay = case.settings.get("weight_decay", 0) * theta
    expected = LR * (direction / (1 if diagonal is None else diagonal) + decay)
    torch.testing.assert_close(theta - new, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in AT_REST_NEVER], ids=str)
@pytest.mark.parametrize(("factor", "is_stable"), [(0.97, True), (1.03, False)])
def test_threshold_is_where_a_quadratic_turns_unstable(case: Case, factor: float, is_stable: bool) -> None:
    """The rule itself on 1/2 theta' H theta, its preconditioner held at P = `scale`.

    A decay next to 1 holds it; the bias correction would move it and is left out, as in the theory.
    """
    scale, top = 0.3, 4.0
    held = {"beta2": 1 - 2**-53, "bias_correction": False, "eps": 1e-300} if case.optimizer.preconditions else {}
    held |= {"initial": 0.0} if "initial" in case.settings else {}  # the mean of squares is put in the state
    rule = type(case.optimizer)(**{**case.settings, **held})
    sharpness = top / (scale if held else 1)
    lr = brentq(lambda lr: factor * rule.threshold(lr) - sharpness, 1e-3, 1e3, xtol=1e-14)
    hessian = torch.diag(torch.tensor([top, 1.0, 0.1], dtype=torch.float64))
    objective = Objective(lambda theta: 0.5 * theta @ hessian @ theta)
    theta = torch.full((1, 3), 1e-6, dtype=torch.float64)
    state = rule.init(theta)
    if held:
        state = {**state, "v": torch.full_like(theta, scale**2)}
    hyper = hyper_of([rule], [lr])
    torch.testing.assert_close(sharpness / rule.threshold(lr), factor)
    for _ in range(150):
        theta, state = rule.update(objective, theta, state, hyper, NoRandom())
    growth = abs(theta[0, 0].item()) / 1e-6
    print(f"{case.name}: {factor} of the threshold: the top coordinate grew by {growth:.1e}")
    assert growth < 1e-3 if is_stable else growth > 1e3


@pytest.mark.parametrize(("factor", "falls"), [(0.97, True), (1.03, False)])
def test_normalised_steps_reach_their_threshold_as_the_gradient_falls(factor: float, falls: bool) -> None:
    """On curvature / 2 x^2 a step of length lr goes uphill once curvature / |curvature x| is above 2 / lr."""
    curvature, lr = 4.0, 0.1
    rule: Any = make("optimizer", "normalised_gd", "normalised_gd")
    theta = torch.full((1, 1), lr / (2 * factor), dtype=torch.float64)
    objective, hyper = Objective(lambda x: 0.5 * curvature * x.square().sum()), hyper_of([rule], [lr])
    ratio = curvature / rule.preconditioner(objective, theta, {}, hyper) / rule.threshold(lr)
    torch.testing.assert_close(ratio.item(), factor)
    moved, _ = rule.update(objective, theta, {}, hyper, NoRandom())
    assert (objective.value(moved) < objective.value(theta)).item() == falls


@pytest.mark.parametrize("name", AT_REST_NEVER)
def test_without_a_gradient_there_is_no_step(name: str) -> None:
    rule: Any = make("optimizer", name, name)
    moved, _ = rule.update(Objective(lambda x: 0 * x.sum()), THETA[None], {}, hyper_of([rule], [LR]), NoRandom())
    assert torch.equal(moved[0], THETA)


def iteration_matrix(name: str, lr: float, curvature: float, beta: float, decay: float) -> np.ndarray:
    """One update of (theta, m) or (theta, v) on curvature / 2 theta^2, at P = 1, by the rules in the literature."""
    velocity = {"heavy_ball": [beta, -lr * curvature], "nesterov": [beta * (1 - lr * curvature), -lr * curvature]}
    if name in velocity:
        kept, pulled = velocity[name]
        return np.array([[1 + pulled, kept], [pulled, kept]])
    mean = np.array([(1 - beta) * curvature, beta])
    return np.array([np.array([1 - lr * decay, 0]) - lr * mean, mean])


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("name", "decay"),
    [
        *((name, 0.0) for name in ("heavy_ball", "ema_momentum", "nesterov", "adam")),
        *(("adamw", decay) for decay in (0.0, 0.1, 20.0)),
    ],
)
def test_threshold_is_where_the_iteration_matrix_reaches_the_unit_circle(name: str, decay: float, beta: float) -> None:
    settings = {"beta1" if name.startswith("adam") else "beta": beta}
    settings |= {"weight_decay": decay} if name == "adamw" else {}
    rule: Any = make("optimizer", {"name": name, **settings}, name)
    lr = 0.01
    for factor, is_stable in ((0.999, True), (1.001, False)):
        moves = iteration_matrix(name, lr, factor * rule.threshold(lr), beta, decay)
        assert (np.abs(np.linalg.eigvals(moves)).max() < 1) == is_stable


def test_adamw_without_decay_is_adam_to_the_bit() -> None:
    fields = {"beta1": 0.8, "beta2": 0.95, "eps": 1e-6}
    adam, adamw = (make("optimizer", {"name": name, **fields}, name) for name in ("adam", "adamw"))
    plain = trajectory(adam, THETA[None], hyper_of([adam], [LR]), "mini", STEPS)  # type: ignore[arg-type]
    rule = replace(adamw, weight_decay=0.0)  # type: ignore[type-var]
    assert torch.equal(trajectory(rule, THETA[None], hyper_of([rule], [LR]), "mini", STEPS), plain)


def test_adamw_keeps_the_digits_of_a_small_decay_in_float32() -> None:
    """At a gradient of zero, a thousand updates take lr weight_decay off a thousand times."""
    rule = make("optimizer", {"name": "adamw", "weight_decay": 0.01}, "adamw")
    theta = torch.linspace(1, 2, 400)[None]
    start, state, hyper = theta.double(), rule.init(theta), hyper_of([rule], [1e-4])  # type: ignore[attr-defined]
    objective = Objective(lambda row: 0 * row.sum())
    for _ in range(1000):
        theta, state = rule.update(objective, theta, state, hyper, NoRandom())  # type: ignore[attr-defined]
    share = (theta.double() / start).log().mean().item() / (1000 * np.log1p(-1e-6))
    print(f"decay over what was asked for: {share:.4f}")
    assert abs(share - 1) < 5e-3, "a factor 1 - 1e-6, rounded to float32, is off by 1.5e-2"


def test_a_schedule_weighs_the_gradients_of_a_velocity_with_their_own_learning_rates() -> None:
    """Two updates on a constant gradient 1, lr 1 and then 0: the heavy ball rolls on, the mean of gradients stops."""
    moved = {}
    for name in ("heavy_ball", "nesterov", "ema_momentum"):
        rule: Any = make("optimizer", {"name": name, "beta": 0.5}, name)
        theta = torch.zeros(1, 1, dtype=torch.float64)
        state = rule.init(theta)
        for lr in (1.0, 0.0):
            theta, state = rule.update(Objective(torch.sum), theta, state, hyper_of([rule], [lr]), NoRandom())
        moved[name] = theta.item()
    assert moved == {"heavy_ball": -1.5, "nesterov": -1.5, "ema_momentum": -0.5}


@pytest.mark.parametrize(("factor", "is_stable"), [(0.97, True), (1.03, False)])
@pytest.mark.parametrize("name", ["gd", "heavy_ball", "ema_momentum", "nesterov"])
def test_a_trained_run_crosses_at_its_threshold(name: str, factor: float, is_stable: bool) -> None:
    """The largest eigenvalue of the quadratic is 1, so lr = threshold(1) is the edge."""
    rule: Any = make("optimizer", name, name)
    lr = factor * rule.threshold(1.0)
    losses = train(make_run(optimizer=name, lr=lr, budget={"steps": 400}, dtype="float64")).values["train_loss"]
    print(f"{name} at {factor} of its threshold: loss {losses[0]:.1e} to {losses[-1]:.1e}")
    assert losses[-1] < 1e-3 * losses[0] if is_stable else losses[-1] > 1e6 * losses[0]
