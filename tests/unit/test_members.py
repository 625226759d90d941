"""Datasets, models, losses, schedules and observables: whatever is registered is held to what its kind promises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import astuple
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.special import erf
from scipy.stats import kstest
from sklearn.datasets import load_digits
from torch.optim import lr_scheduler as scheduling
from torch.utils.flop_counter import FlopCounterMode

from stepscape.curvature import ROUNDING_FLOOR
from stepscape.datasets import Data
from stepscape.errors import Mistaken
from stepscape.models.mlp import MLP
from stepscape.observables._tracking import LEAST_TOL
from stepscape.registry import find, make, members, names, settings
from stepscape.study.run import Run
from stepscape.training.loop import KeyedRandom
from stepscape.training.objective import SequentialObjective
from stepscape.training.problem import DTYPES, Problem
from stepscape.training.random import generator
from tests.factories import LEAST_SQUARES, SMALL_DIGITS, make_run, normal, train
from tests.references import dense_hessian, dense_top, difference_hessian
from tests.stand_ins import user_files

CPU = torch.device("cpu")
SHAPES = [((5,), 3), ((1, 4, 4), 2), ((3, 9, 7), 4), ((3, 8, 12), 2), ((6, 5), 3), ((4, 4), 2)]
CLOCK = {"every": 3}


def made(kind: str, name: str, **fields: Any) -> Any:
    return make(kind, {"name": name, **fields}, name)


# ---------------------------------------------------------------------------------------------------------- datasets


@pytest.mark.parametrize("name", names("dataset"))
def test_dataset_has_the_stated_sizes_and_the_same_bytes_each_time(name: str) -> None:
    dataset, again = (made("dataset", name, **user_files().get(name, {})) for _ in range(2))
    first, second = dataset.load(), again.load()
    for array, again in zip(astuple(first), astuple(second), strict=True):
        assert array.dtype == np.float64
        assert array.tobytes() == again.tobytes()
    assert first.train_inputs.shape == (dataset.train_size, *dataset.input_shape)
    assert first.test_inputs.shape == (dataset.test_size, *dataset.input_shape)
    assert first.train_targets.shape == (dataset.train_size, dataset.outputs)
    assert first.test_targets.shape == (dataset.test_size, dataset.outputs)
    if dataset.has_classes:
        targets = np.concatenate([first.train_targets, first.test_targets])
        assert set(np.unique(targets)) == {0, 1}
        assert (targets.sum(axis=1) == 1).all()


def _rows(array: np.ndarray) -> set[bytes]:
    return {hashlib.sha256(row.tobytes()).digest() for row in array}


@pytest.mark.parametrize(("train_size", "test_size"), [(1000, 500), (1297, 500), (1, 1)])
def test_digits_keep_test_images_out_of_the_training_set(train_size: int, test_size: int) -> None:
    data = made("dataset", "digits", train_size=train_size, test_size=test_size).load()
    assert len(_rows(load_digits().data)) == 1797, "two images are alike: the rows below would not tell them apart"
    assert len(_rows(data.train_inputs)) == train_size
    assert len(_rows(data.test_inputs)) == test_size
    assert not _rows(data.train_inputs) & _rows(data.test_inputs)


def test_digits_are_centred_and_scaled_over_all_images_and_keep_their_labels() -> None:
    images, labels = load_digits(return_X_y=True)
    data = made("dataset", "digits", train_size=1297, test_size=500).load()
    inputs = np.concatenate([data.train_inputs, data.test_inputs])
    assert np.abs(inputs.mean(axis=0)).max() < 1e-13
    back = inputs * images.std() + images.mean(axis=0)
    assert np.abs(back - np.rint(back)).max() < 1e-12, "another scale gives no whole grey values"
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    targets = np.concatenate([data.train_targets, data.test_targets])
    assert [label_of[(np.rint(row) + 0.0).tobytes()] for row in back] == targets.argmax(axis=1).tolist()


def test_digits_of_another_size_are_the_same_images_with_the_same_pixels() -> None:
    few, many = (made("dataset", "digits", train_size=size, test_size=100).load() for size in (50, 400))
    assert np.array_equal(few.train_inputs, many.train_inputs[:50])
    assert np.array_equal(few.test_inputs, many.test_inputs)
    other = made("dataset", "digits", train_size=50, test_size=100, subset_seed=1).load()
    assert not np.array_equal(few.train_inputs, other.train_inputs)


@pytest.mark.parametrize("eigenvalues", [(1.0, 0.5, 0.25, 0.1), (7.0,), tuple(np.geomspace(1e-6, 1e3, 9).tolist())])
@pytest.mark.parametrize("seed", [0, 5])
def test_hessian_of_quadratic_has_the_stated_spectrum(eigenvalues: tuple[float, ...], seed: int) -> None:
    dataset = {"name": "quadratic", "eigenvalues": list(eigenvalues), "subset_seed": seed}
    problem = Problem(make_run(dataset=dataset, dtype="float64"), CPU)
    hessian = dense_hessian(problem.loss_on(problem.train), problem.initial())
    found = dense_top(hessian, len(eigenvalues)).numpy()
    worst = np.abs(found - np.sort(eigenvalues)[::-1]).max() / max(eigenvalues)
    print(f"worst eigenvalue, relative to the largest: {worst:.1e}")
    assert worst < 1e-13


TEACHER: dict[str, Any] = {"inputs": 6, "hidden": [5, 4], "outputs": 2, "train_size": 400, "test_size": 300}


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_an_mlp_with_the_teacher_s_weights_leaves_nothing_but_the_noise(noise: float) -> None:
    dataset = {"name": "teacher", **TEACHER, "noise": noise}
    run = make_run(dataset=dataset, model={"name": "mlp", "hidden": [5, 4]}, dtype="float64")
    problem = Problem(run, CPU)
    layers = made("dataset", "teacher", **TEACHER, noise=noise).weights()
    theta = torch.from_numpy(np.concatenate([np.append(layer, np.zeros(len(layer))) for layer in layers]))
    train_loss, test_loss = (problem.loss_on(samples)(theta).item() for samples in (problem.train, problem.test))
    assert test_loss < 1e-28, "test targets are without noise"
    degrees = TEACHER["train_size"] * TEACHER["outputs"]  # train_loss is noise^2 chi^2 / (2 train_size)
    chi_squared = train_loss * 2 * TEACHER["train_size"] / noise**2 if noise else degrees
    assert abs(chi_squared - degrees) < 3.3 * (2 * degrees) ** 0.5, "exceeded by chance once in 1000"
    assert noise or train_loss < 1e-28


def test_a_linear_teacher_is_linear() -> None:
    dataset = made("dataset", "teacher", **{**TEACHER, "hidden": []})
    data = dataset.load()
    solved, *_ = np.linalg.lstsq(data.train_inputs, data.train_targets)
    (weights,) = dataset.weights()
    np.testing.assert_allclose(solved.T, weights, rtol=0, atol=1e-13)


def test_another_size_or_noise_leaves_teacher_and_samples_as_they_were() -> None:
    few, many = (
        made("dataset", "teacher", **{**TEACHER, "train_size": size, "test_size": size // 2, "noise": noise}).load()
        for size, noise in ((50, 0.1), (400, 0.2))
    )
    assert np.array_equal(few.train_inputs, many.train_inputs[:50])
    assert np.array_equal(few.test_inputs, many.test_inputs[:25])
    np.testing.assert_allclose(few.test_targets, many.test_targets[:25], rtol=1e-12, atol=1e-14)
    clean = made("dataset", "teacher", **TEACHER).load().train_targets[:50]
    np.testing.assert_allclose(2 * (few.train_targets - clean), many.train_targets[:50] - clean, rtol=1e-9, atol=1e-13)


def test_a_teacher_s_inputs_and_weights_follow_their_laws() -> None:
    big = {"inputs": 100, "hidden": [200], "train_size": 1000, "test_size": 100}
    dataset = made("dataset", "teacher", **big)
    data = dataset.load()
    for values in (data.train_inputs, data.test_inputs, *(w * w.shape[1] ** 0.5 for w in dataset.weights())):
        assert kstest(values.ravel(), "norm").pvalue > 1e-3
    assert not _rows(data.train_inputs) & _rows(data.test_inputs)
    other = made("dataset", "teacher", **big, subset_seed=1).load()
    assert not (data.train_inputs == other.train_inputs).any()
    assert not (data.train_targets == other.train_targets).any()


# ------------------------------------------------------------------------------------------------------------ models


ELEMENTWISE = {"student_neurons"}
"""Models without a product of matrices, which alone are counted."""
TAKEN = [(name, *sizes) for name in names("model") for sizes in SHAPES if not made("model", name).input_fault(sizes[0])]


def test_every_model_takes_one_of_the_shapes() -> None:
    assert {name for name, *_ in TAKEN} == set(names("model"))


@pytest.mark.parametrize(("name", "shape", "outputs"), TAKEN)
def test_model_counts_what_it_builds(name: str, shape: tuple[int, ...], outputs: int) -> None:
    model = made("model", name)
    module = model.build(shape, outputs)
    assert sum(value.numel() for value in module.parameters()) == model.parameter_count(shape, outputs)
    counted = []
    for samples in (1, 2):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            assert module(torch.ones(samples, *shape)).shape == (samples, outputs)
        counted.append(counter.get_total_flops())
    expected = 0 if name in ELEMENTWISE else 2 * model.multiplications(shape, outputs)
    assert counted[1] - counted[0] == expected


@pytest.mark.parametrize(("name", "shape", "outputs"), TAKEN)
def test_initialisation_is_a_function_of_the_generator_alone(name: str, shape: tuple[int, ...], outputs: int) -> None:
    model = made("model", name)
    drawn = []
    for seed, torch_seed in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(torch_seed)
        module = model.build(shape, outputs).double()
        for value in module.parameters():
            torch.nn.init.constant_(value, 7.0)
        model.initialise(module, generator(seed, "initialisation"))
        drawn.append(torch.cat([value.detach().flatten() for value in module.parameters()]))
    assert torch.equal(drawn[0], drawn[1]), "global random state leaks in"
    alike = drawn[0] == drawn[2]
    assert set(drawn[0][alike].tolist()) <= {0.0, 1.0}, "a parameter that is drawn does not depend on the seed"
    assert not alike.all()


UNIFORM_BY_FAN_IN: dict[str, dict[str, Any]] = {
    "linear": {},
    "mlp": {"hidden": [300, 40]},
    "cnn": {"channels": [30, 40]},
}
NORMAL_BY_FAN_IN: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "deep_linear": ({"hidden": [300, 40], "bias": True, "gain": 3.0}, {"": 9.0}),
    "residual": ({"channels": [30, 40], "blocks": 2}, {"": 2.0, "head": 1.0}),
    "transformer": ({"width": 60, "depth": 2}, {"": 1.0, "projection": 0.25, "contract": 0.25}),
}
"""Fields, and by parts of names the variance of weights times the fan in; the longest part that is there counts."""
STANDARD_NORMAL: dict[str, dict[str, Any]] = {
    "two_layer": {},
    "student_neurons": {"neurons": 300, "scale": 1.0},
    "matrix_factorisation": {"columns": 25, "symmetric": False, "scale": 5.0},
}


def test_every_model_has_a_tested_law_of_initialisation() -> None:
    assert {*UNIFORM_BY_FAN_IN, *NORMAL_BY_FAN_IN, *STANDARD_NORMAL} == set(names("model"))


def initialised(name: str, fields: dict[str, Any], shape: tuple[int, ...]) -> torch.nn.Module:
    model = made("model", name, **fields)
    shape = shape[-2:] if model.input_fault(shape) else shape
    module: torch.nn.Module = model.build(shape, 10).double()
    model.initialise(module, generator(0, "initialisation"))
    return module


@pytest.mark.parametrize(("name", "fields"), UNIFORM_BY_FAN_IN.items())
def test_initialisation_is_uniform_by_fan_in(name: str, fields: dict[str, Any]) -> None:
    """Kolmogorov's distance to the uniform law on +-1/sqrt(fan in), weights and biases of every layer."""
    module = initialised(name, fields, (1, 8, 8))
    layers = [layer for layer in module.modules() if hasattr(layer, "weight")]
    assert len(layers) == 1 + len(fields.get("hidden", fields.get("channels", [])))
    for layer in layers:
        for parameter in (layer.weight, layer.bias):
            fan_in = layer.weight[0].numel()
            share = np.sort((parameter.detach().flatten().numpy() * fan_in**0.5 + 1) / 2)
            assert 0 < share[0] < share[-1] < 1
            distance = np.abs(share - (np.arange(len(share)) + 0.5) / len(share)).max()
            assert distance < 1.9 / len(share) ** 0.5, "exceeded by chance once in 700"


@pytest.mark.parametrize("name", NORMAL_BY_FAN_IN)
def test_initialisation_is_normal_by_fan_in(name: str) -> None:
    fields, variances = NORMAL_BY_FAN_IN[name]
    seen = set()
    for path, parameter in initialised(name, fields, (1, 8, 8)).named_parameters():
        values = parameter.detach().numpy()
        if path.endswith("weight"):
            part = max((part for part in variances if part in path), key=len)
            seen.add(part)
            assert kstest((values * (values[0].size / variances[part]) ** 0.5).ravel(), "norm").pvalue > 1e-3, path
        elif path == "positions":
            assert kstest(values.ravel() / 0.02, "norm").pvalue > 1e-3
        else:
            assert (values == (1 if path.endswith("scale") else 0)).all(), path
    assert seen == set(variances)


@pytest.mark.parametrize(("name", "fields"), STANDARD_NORMAL.items())
def test_initialisation_is_standard_normal(name: str, fields: dict[str, Any]) -> None:
    for parameter in initialised(name, fields, (1, 8, 8)).parameters():
        assert kstest(parameter.detach().numpy().ravel(), "norm").pvalue > 1e-3


def test_initialisation_at_ntk_scaling_is_standard_normal() -> None:
    model = made("model", "mlp", hidden=[300, 40], scaling="ntk")
    module = model.build((64,), 10).double()
    model.initialise(module, generator(0, "initialisation"))
    parameters = [parameter.detach().flatten().numpy() for parameter in module.parameters()]
    assert [len(values) for values in parameters] == [64 * 300, 300, 300 * 40, 40, 40 * 10, 10]
    for values in parameters:
        assert kstest(values, "norm").pvalue > 1e-3


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "softplus": lambda x: np.logaddexp(0, x),
}


def test_every_activation_has_a_closed_form() -> None:
    assert set(ACTIVATIONS) == set(get_args(settings(MLP)["activation"].annotation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("scaling", "bias_scale"), [("standard", 1.0), ("ntk", 0.1)])
def test_mlp_agrees_with_its_closed_form(activation: str, scaling: str, bias_scale: float) -> None:
    """With hidden units driven past 20, where PyTorch's softplus would be x, and past -20."""
    module = made("model", "mlp", hidden=[30, 7], activation=activation, scaling=scaling).build((6,), 3).double()
    parameters = [normal(*value.shape, seed=seed) for seed, value in enumerate(module.parameters())]
    torch.nn.utils.vector_to_parameters(torch.cat([value.flatten() for value in parameters]), module.parameters())
    inputs = 20 * normal(50, 6, seed=9).numpy()
    expected, driven = inputs, np.zeros(0)
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        if expected is not inputs:
            driven = np.append(driven, expected)
            expected = ACTIVATIONS[activation](expected)
        factor = weight.shape[1] ** -0.5 if scaling == "ntk" else 1.0
        expected = factor * expected @ weight.numpy().T + bias_scale * bias.numpy()
    found = module(torch.from_numpy(inputs)).detach().numpy()
    assert ((driven > 20) & (driven < 25)).any()
    assert driven.min() < -20
    assert np.abs(found - expected).max() < 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("scaling", ["standard", "ntk"])
def test_hessian_of_every_mlp_is_that_of_differences(activation: str, scaling: str) -> None:
    model = {"name": "mlp", "hidden": [4, 3], "activation": activation, "scaling": scaling}
    dataset = {"name": "teacher", "inputs": 3, "train_size": 20, "test_size": 1}
    problem = Problem(make_run(dataset=dataset, model=model, dtype="float64"), CPU)
    theta = problem.initial()
    hvp = problem.hessian(theta)
    found = torch.stack([hvp(row) for row in torch.eye(len(theta), dtype=theta.dtype)])
    expected = difference_hessian(problem.loss_on(problem.train), theta)
    worst = ((found - expected).abs().max() / expected.abs().max()).item()
    print(f"{activation}, {scaling}: worst entry, relative to the largest: {worst:.1e}")
    assert worst < 1e-7


def test_initial_parameters_depend_on_the_seed_and_on_nothing_else_that_is_trained_with() -> None:
    def initial(**changed: Any) -> torch.Tensor:
        return Problem(make_run(SMALL_DIGITS, **changed), CPU).initial()

    reference = initial()
    for changed in ({"lr": 0.7}, {"optimizer": "adam"}, {"batch_size": 8}, {"budget": {"steps": 3}}):
        assert torch.equal(initial(**changed), reference), changed
    assert torch.equal(initial(dtype="float64").float(), reference)
    assert not torch.equal(initial(seed=1), reference)


# ---------------------------------------------------------------------------------------------- losses and schedules


def _mse(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float(np.mean([np.sum((f - y) ** 2) / 2 for f, y in zip(outputs, targets, strict=True)]))


def _cross_entropy(outputs: np.ndarray, targets: np.ndarray) -> float:
    shares = [np.exp(row - np.logaddexp.reduce(row)) for row in outputs]
    return float(np.mean([-np.log(share[row.argmax()]) for share, row in zip(shares, targets, strict=True)]))


def _mean_output(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float(outputs.sum()) / len(outputs)


CLOSED_FORMS = {"mse": _mse, "cross_entropy": _cross_entropy, "mean_output": _mean_output}


def test_every_loss_has_a_closed_form() -> None:
    assert set(CLOSED_FORMS) == set(names("loss"))


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_loss_agrees_with_its_closed_form(name: str) -> None:
    outputs, targets = normal(30, 4), torch.eye(4, dtype=torch.float64)[torch.arange(30) % 4]
    found = made("loss", name)(outputs, targets)
    assert found.shape == ()
    assert abs(found.item() - CLOSED_FORMS[name](outputs.numpy(), targets.numpy())) < 1e-14


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_loss_of_a_set_is_the_mean_of_its_samples(name: str) -> None:
    outputs, targets = normal(6, 3), torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0, 1, 2]]
    loss = made("loss", name)
    singles = torch.stack([loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(loss(outputs, targets), singles.mean())


def test_cross_entropy_survives_outputs_that_overflow_exp() -> None:
    outputs = torch.tensor([[1000.0, -1000.0]])
    loss = made("loss", "cross_entropy")
    assert loss(outputs, torch.tensor([[0.0, 1.0]])).item() == 2000
    assert loss(outputs, torch.tensor([[1.0, 0.0]])).item() == 0


Scheduler = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


def warm(then: Scheduler) -> Scheduler:
    """Three updates of warm-up, and another of PyTorch's schedulers."""

    def made(rule: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        rise = scheduling.LinearLR(rule, start_factor=1 / 4, total_iters=3)
        return scheduling.SequentialLR(rule, [rise, then(rule)], milestones=[3])  # type: ignore[list-item]

    return made


CONSTANT: Scheduler = lambda rule: scheduling.ConstantLR(rule, factor=1.0)  # noqa: E731
SCHEDULES: list[tuple[dict[str, Any], Scheduler]] = [
    ({"name": "constant"}, CONSTANT),
    ({"name": "linear_decay"}, lambda rule: scheduling.LinearLR(rule, 1.0, 0.0, 10)),
    ({"name": "linear_decay", "end": 0.3}, lambda rule: scheduling.LinearLR(rule, 1.0, 0.3, 10)),
    ({"name": "cosine"}, lambda rule: scheduling.CosineAnnealingLR(rule, 10)),
    ({"name": "cosine", "end": 0.3}, lambda rule: scheduling.CosineAnnealingLR(rule, 10, 0.3)),
    ({"name": "warm_up", "steps": 3}, warm(CONSTANT)),
    (
        {"name": "warm_up", "steps": 3, "then": "linear_decay", "end": 0.1},
        warm(lambda rule: scheduling.LinearLR(rule, 1.0, 0.1, 7)),
    ),
    ({"name": "warm_up", "steps": 3, "then": "cosine"}, warm(lambda rule: scheduling.CosineAnnealingLR(rule, 7))),
]
"""A schedule over ten updates at lr 1, and the same of PyTorch's."""


def test_every_schedule_has_a_reference() -> None:
    assert {fields["name"] for fields, _ in SCHEDULES} == set(names("schedule"))


@pytest.mark.parametrize(
    ("fields", "scheduler"), SCHEDULES, ids=lambda given: str(given) if type(given) is dict else ""
)
def test_schedule_agrees_with_torch(fields: dict[str, Any], scheduler: Scheduler) -> None:
    rule = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule, expected = scheduler(rule), []
    for _ in range(10):
        expected.append(rule.param_groups[0]["lr"])
        rule.step()
        schedule.step()
    found = [make("schedule", fields, "schedule").factor(step, 10) for step in range(10)]  # type: ignore[attr-defined]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    assert min(found) > 0
    assert max(found) == 1


def test_a_warm_up_longer_than_the_budget_ends_on_the_rise() -> None:
    schedule = made("schedule", "warm_up", steps=4, then="cosine")
    assert [schedule.factor(step, 4) for step in range(4)] == [0.2, 0.4, 0.6, 0.8]
    assert [schedule.factor(step, 2) for step in range(2)] == [0.2, 0.4]


def test_a_warm_up_to_a_constant_has_no_end() -> None:
    with pytest.raises(Mistaken, match="no `end`, or `then: linear_decay`"):
        made("schedule", "warm_up", steps=4, end=0.1)


@pytest.mark.parametrize("fields", [fields for fields, _ in SCHEDULES], ids=str)
def test_a_run_takes_the_learning_rates_of_its_schedule(fields: dict[str, Any]) -> None:
    """Read off the updates of gradient descent and off the thresholds; at T the last update's stands."""
    every = {"every": 1}
    run = make_run(
        schedule=fields, dtype="float64", observe={"parameters": every, "hessian_top": {**every, "tol": 1e-6}}
    )
    record, data = train(run), run.dataset.load()
    thetas = np.stack(record.values["parameters"])
    taken = [
        np.linalg.norm(after - before) / np.linalg.norm(_least_squares_gradient(data, before))
        for before, after in pairwise(thetas)
    ]
    stated = [run.lr * run.schedule.factor(step, 10) for step in range(10)]  # type: ignore[operator]
    np.testing.assert_allclose(taken, stated, rtol=1e-9)
    np.testing.assert_allclose(record.values["hessian_threshold"], 2 / np.asarray([*stated, stated[-1]]), rtol=1e-12)


def _least_squares_gradient(data: Data, theta: np.ndarray) -> np.ndarray:
    residuals = data.train_inputs @ theta - data.train_targets[:, 0]
    return np.asarray(data.train_inputs.T @ residuals / len(residuals))


# ------------------------------------------------------------------------------------------------------- observables


FIELDS: dict[str, dict[str, Any]] = {
    "hessian_top": {"bottom": 1},
    "preconditioned_top": {"bottom": 2},
    "batch_top": {"bottom": 1},
    "hessian_subspace": {"k": 2, "references": [0, 3], "vectors": True},
}
"""Fields that make an observable record all it can, of four parameters too."""


OF_CLASSES = {"per_class"}
ON = [
    pytest.param(name, base, id=f"{on}-{name}")
    for on, base in (("least_squares", LEAST_SQUARES), ("digits", SMALL_DIGITS))
    for name in names("observable")
    if base is SMALL_DIGITS or name not in OF_CLASSES
]
"""Each observable, and what it is tried on."""


def observed(name: str, base: dict[str, Any], **changed: Any) -> Run:
    return make_run(base, observe={name: {**CLOCK, **FIELDS.get(name, {})}}, **changed)


@pytest.mark.parametrize(("name", "base"), ON)
@pytest.mark.parametrize("optimizer", names("optimizer"))
def test_observable_records_exactly_what_it_declares(name: str, optimizer: str, base: dict[str, Any]) -> None:
    run = observed(name, base, optimizer=optimizer, lr=0.01)
    record = train(run)
    (observable,) = run.observe
    assert record.steps == {name: observable.steps(run.updates)}
    assert len(record.steps[name]) == observable.measurements(run.updates) == run.updates // 3 + 1
    assert set(record.values) == {variable.name for variable in observable.variables(run)}
    for variable in observable.variables(run):
        for value in record.values[variable.name]:
            assert value.shape == variable.shape
            assert value.dtype == np.dtype(variable.dtype)
        assert len(variable.dims) == len(variable.shape)


@pytest.mark.parametrize("name", names("observable"))
@pytest.mark.parametrize("batch_size", ["full", 8])
def test_observing_costs_nothing_or_more(name: str, batch_size: Any) -> None:
    run = observed(name, SMALL_DIGITS, batch_size=batch_size)
    (observable,) = run.observe
    assert 0 <= observable.gradients(run) < float("inf")


@pytest.mark.parametrize(("name", "base"), ON)
def test_a_run_that_diverges_is_observed_to_its_end(name: str, base: dict[str, Any]) -> None:
    run = make_run(base, observe={name: {"every": 1, **FIELDS.get(name, {})}}, lr=1e300)
    record = train(run)
    assert record.status == "diverged"
    assert record.steps[name][-1] == record.updates > 0
    finite = {key: np.isfinite(values[-1]).all() for key, values in record.values.items()}
    counts = {key for key in finite if key.endswith(("_products", "_threshold", "_accuracy", "class_share"))}
    units, inputs = next(iter(run.model.parameter_shapes(run.dataset.input_shape, run.dataset.outputs).values()))
    constant = {"mean_step_size": run.lr, "mean_squared_preconditioner": 1.0}  # of gd, which keeps no mean of squares
    constant["first_layer_ratio"] = inputs / units
    held = {key: constant.get(key, 0.0) for key in finite if key in constant or key.startswith("oscillation_")}
    assert {key: record.values[key][-1] for key in held} == held
    counts |= held.keys()
    if base is SMALL_DIGITS:  # the Hessian of least squares is the same everywhere
        assert not any(finite[key] for key in finite.keys() - counts), finite


def test_a_record_refuses_what_was_not_declared() -> None:
    record = train(make_run())
    (losses,) = record.run.observe
    with pytest.raises(ValueError, match="declared"):
        record.add(losses, 3, {"train_loss": 1.0})
    with pytest.raises(ValueError, match="declared"):
        record.add(losses, 3, {"train_loss": 1.0, "test_loss": np.zeros(2)})


@pytest.mark.parametrize(
    ("clock", "steps"),
    [
        ({"every": 1}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"every": 3}, [0, 3, 6]),
        ({"at": [5, 2]}, [2, 5]),
        ({"pairs": 4}, [0, 1, 4, 5]),
        ({"pairs": 1}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({"every": 5, "at": [7], "pairs": 6}, [0, 1, 5, 6, 7]),
        ({"every": 100}, [0]),
    ],
)
def test_clocks(clock: dict[str, Any], steps: list[int]) -> None:
    observable = made("observable", "losses", **clock)
    assert observable.steps(7) == steps
    assert observable.measurements(7) == len(steps)


def test_losses_and_gradient_norm_are_those_of_the_kept_parameters() -> None:
    """Recomputed with ordinary modules and PyTorch's own losses, at every step of a run on mini-batches."""
    every = {"every": 1}
    run = make_run(
        SMALL_DIGITS,
        loss="cross_entropy",
        batch_size=8,
        dtype="float64",
        observe={"losses": every, "gradient_norm": every, "parameters": every},
    )
    record, data = train(run), run.dataset.load()
    module = torch.nn.Sequential(torch.nn.Linear(64, 5), torch.nn.Tanh(), torch.nn.Linear(5, 10)).double()
    for step in range(run.updates + 1):
        torch.nn.utils.vector_to_parameters(torch.from_numpy(record.values["parameters"][step]), module.parameters())
        for subset, inputs, targets in (
            ("train", data.train_inputs, data.train_targets),
            ("test", data.test_inputs, data.test_targets),
        ):
            outputs, classes = module(torch.from_numpy(inputs)), torch.from_numpy(targets).argmax(dim=1)
            loss = torch.nn.functional.cross_entropy(outputs, classes)
            assert record.values[f"{subset}_loss"][step] == pytest.approx(loss.item(), rel=1e-6)
            share = (outputs.argmax(dim=1) == classes).double().mean().item()
            assert record.values[f"{subset}_accuracy"][step] == pytest.approx(share, rel=1e-6)
            if subset == "train":
                gradients = torch.autograd.grad(loss, list(module.parameters()))
                norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
                assert record.values["gradient_norm"][step] == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("batch_size", ["full", 8])
@pytest.mark.parametrize("optimizer", names("optimizer"))
def test_sharpness_is_that_of_the_dense_matrix(optimizer: str, batch_size: Any) -> None:
    """Largest eigenvalues of H and, from the unsymmetric product, of P^-1 H, at the same kept parameters."""
    top = {"every": 4, "k": 2, "tol": 1e-9, "bottom": 1}
    run = make_run(
        SMALL_DIGITS,
        optimizer=optimizer,
        lr=0.003,
        batch_size=batch_size,
        dtype="float64",
        model={"name": "mlp", "hidden": [2]},
        observe={"hessian_top": top, "preconditioned_top": top, "parameters": {"every": 1}},
    )
    record, problem = train(run), Problem(run, CPU)
    worst = 0.0
    batches = _batches(run, problem)
    kept = [torch.from_numpy(theta)[None] for theta in record.values["parameters"]]
    scalars = {"lr": 0.003, **{name: value for name, value in vars(run.optimizer).items() if type(value) is float}}
    hyper = {name: torch.full((1, 1), value, dtype=torch.float64) for name, value in scalars.items()}
    state = run.optimizer.init(kept[0])
    for step, theta in enumerate(kept):
        if step % 4 == 0:
            hessian = dense_hessian(problem.loss_on(problem.train), theta[0])
            diagonal = run.optimizer.preconditioner(batches[step], theta, state, hyper)
            inverse = torch.eye(len(hessian)) if diagonal is None else torch.diag(1 / diagonal[0])
            expected = {
                "hessian": dense_top(hessian, len(hessian)),
                "preconditioned": torch.linalg.eigvals(inverse.double() @ hessian).real.sort(descending=True)[0],
            }
            for prefix, values in expected.items():
                top, bottom = (record.values[f"{prefix}_{end}"][step // 4] for end in ("eigenvalue", "bottom"))
                found = torch.from_numpy(np.concatenate((top, bottom)))
                worst = max(worst, ((found - values[[0, 1, -1]]).abs().max() / values[0]).item())
        _, state = run.optimizer.update(batches[step], theta, state, hyper, KeyedRandom([run.seed], step))
    print(f"{optimizer}, batch {batch_size}: worst eigenvalue, relative to the largest: {worst:.1e}")
    assert worst < 1e-8
    stated = run.optimizer.threshold(0.003)
    if stated is None:
        assert np.isnan(record.values["preconditioned_threshold"]).all()
    else:
        assert {float(value) for value in record.values["preconditioned_threshold"]} == {stated}
    without = run.optimizer.preconditions or stated is None
    assert np.isnan(record.values["hessian_threshold"]).all() == without


@pytest.mark.parametrize("batch_size", ["full", 8])
def test_sharpness_of_the_batch_is_that_of_its_dense_matrix(batch_size: Any) -> None:
    run = make_run(
        SMALL_DIGITS,
        batch_size=batch_size,
        dtype="float64",
        model={"name": "mlp", "hidden": [2]},
        observe={"batch_top": {"every": 4, "k": 2, "tol": 1e-9}, "parameters": {"every": 1}},
    )
    record, problem = train(run), Problem(run, CPU)
    worst = 0.0
    for step, batch in enumerate(_batches(run, problem)):
        if step % 4 == 0:
            theta = torch.from_numpy(record.values["parameters"][step])
            expected = dense_top(dense_hessian(problem.loss_on(batch.samples(0)), theta), 2)
            found = torch.from_numpy(record.values["batch_hessian_eigenvalue"][step // 4])
            worst = max(worst, ((found - expected).abs().max() / expected[0]).item())
    print(f"batch {batch_size}: worst eigenvalue, relative to the largest: {worst:.1e}")
    assert worst < 1e-8
    assert {float(value) for value in record.values["batch_hessian_threshold"]} == {2 / 0.1}


def _batches(run: Run, problem: Problem) -> list[SequentialObjective]:
    """The batch of every update, the one that would follow the last included, from the stated law alone."""
    if run.batch_size == "full":
        return [SequentialObjective([problem], [problem.train])] * (run.updates + 1)
    epoch = run.train_size // run.batch
    chosen = []
    for step in range(run.updates + 1):
        order = generator(run.seed, "batches", step // epoch).permutation(run.train_size)
        start = step % epoch * run.batch
        chosen.append(
            SequentialObjective([problem], [problem.train.pick(torch.from_numpy(order[start : start + run.batch]))])
        )
    return chosen


@pytest.mark.parametrize("clock", [{"every": 4}, {"at": [8]}])
@pytest.mark.parametrize("optimizer", names("optimizer"))
def test_distance_is_from_the_start_whenever_it_is_first_measured(optimizer: str, clock: dict[str, Any]) -> None:
    run = make_run(
        SMALL_DIGITS, optimizer=optimizer, lr=0.01, branch_noise=1e-3,
        observe={"distance": clock, "parameters": {"every": 1}},
    )  # fmt: skip
    record = train(run)
    thetas = np.stack(record.values["parameters"]).astype(float)
    expected = [np.sqrt(np.sum((thetas[step] - thetas[0]) ** 2)) for step in record.steps["distance"]]
    np.testing.assert_allclose(record.values["distance"], expected, rtol=1e-6)
    assert record.values["distance"][-1] > 0


def test_members_state_a_version_and_a_docstring() -> None:
    for kind in ("dataset", "model", "loss", "optimizer", "schedule", "observable", "claim", "figure"):
        for cls in members(kind):
            assert cls.version >= 1
            assert (cls.__doc__ or "").strip(), cls
            assert find(kind, cls.name) is cls


@pytest.mark.parametrize("clock", [{"every": 1}, {"every": 7}, {"pairs": 2}, {"pairs": 5}, {"at": [3, 0, 3]}])
@pytest.mark.parametrize("updates", [3, 4, 5, 6, 21])
def test_measurements_are_counted_without_walking_the_steps(clock: dict[str, Any], updates: int) -> None:
    observable = make("observable", {"name": "losses", **clock}, "")
    assert observable.measurements(updates) == len(observable.steps(updates))
    assert observable.measurements(10**15) > 0


def test_one_clock_has_one_spelling() -> None:
    assert make("observable", {"name": "losses", "at": [9, 0, 9]}, "").at == (0, 9)


def test_tolerances_refused_in_a_study_are_those_that_the_solver_refuses() -> None:
    assert {DTYPES[name]: least for name, least in LEAST_TOL.items()} == ROUNDING_FLOOR
