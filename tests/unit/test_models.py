"""Models: whatever is registered is the function it says it is, and has the derivatives of that function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax
from torch import Tensor

from stepscape.curvature import hvp
from stepscape.errors import Mistaken
from stepscape.models import Model
from stepscape.registry import make, names
from stepscape.training.network import Network, network_of
from stepscape.training.problem import Problem
from tests.factories import SMALL_DIGITS, make_run, normal, train
from tests.references import dense_hessian

CPU = torch.device("cpu")
OUTPUTS = 3
IMAGES = {**SMALL_DIGITS, "dataset": {**SMALL_DIGITS["dataset"], "shape": "image"}}  # type: ignore[dict-item]


# ----------------------------------------------------------------------------------------------------- what is tried


@dataclass(frozen=True)
class Case:
    """A small model on seven inputs of some shape."""

    name: str
    fields: dict[str, Any]
    input_shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}-{self.fields}-{'x'.join(map(str, self.input_shape))}"

    @property
    def model(self) -> Model:
        made = make("model", {"name": self.name, **self.fields}, "model")
        assert isinstance(made, Model)
        return made

    @property
    def network(self) -> Network:
        return network_of(self.model, self.input_shape, OUTPUTS)

    @property
    def theta(self) -> Tensor:
        """Initial parameters, moved so that none is 0 or 1."""
        initial = self.network.initial(0)
        return initial + 0.1 * normal(len(initial))

    @property
    def inputs(self) -> Tensor:
        return normal(7, *self.input_shape, seed=1)

    def loss(self, theta: Tensor) -> Tensor:
        """Cross entropy of theta (P,), in its dtype."""
        outputs = self.network.outputs(theta, self.inputs.to(theta.dtype))
        return torch.nn.functional.cross_entropy(outputs, torch.arange(7) % OUTPUTS)


CNN = {"channels": [2, 3], "activation": "softplus"}
RESIDUAL = {"channels": [2, 3], "activation": "tanh"}
TRANSFORMER = {"width": 6, "depth": 1, "heads": 2, "mlp_ratio": 2}
VARIANTS: dict[str, list[tuple[dict[str, Any], tuple[int, ...]]]] = {
    "linear": [({}, (5,))],
    "mlp": [({"hidden": [6, 4]}, (5,))],
    "deep_linear": [({"hidden": [4, 6]}, (5,)), ({"hidden": [4], "bias": True, "gain": 0.5}, (2, 3))],
    "two_layer": [
        ({"width": 9, "alpha": 3.0, "activation": "gelu"}, (5,)),
        ({"width": 9, "second_layer": "fixed", "activation": "tanh"}, (1, 2, 3)),
    ],
    "cnn": [
        *((CNN | {"norm": norm}, (2, 5, 4)) for norm in ("none", "batch", "layer")),
        (CNN | {"pooling": "max", "activation": "relu"}, (1, 8, 8)),
        ({"channels": [2, 2, 2, 2]}, (1, 16, 16)),
    ],
    "residual": [
        *((RESIDUAL | {"norm": norm}, (2, 5, 4)) for norm in ("none", "batch", "layer")),
        ({"channels": [2], "blocks": 2}, (1, 4, 4)),
    ],
    "matrix_factorisation": [({}, (4, 4)), ({"columns": 2, "symmetric": False}, (3, 5))],
    "student_neurons": [({"neurons": 1}, (5,)), ({"neurons": 3}, (5,))],
    "transformer": [
        (TRANSFORMER | {"patch": 2}, (2, 4, 6)),
        (TRANSFORMER | {"pooling": "last", "heads": 3}, (4, 5)),
        (TRANSFORMER | {"depth": 2, "heads": 1, "width": 4, "activation": "tanh"}, (5,)),
    ],
}
"""A model without variants is tried at its defaults on five numbers."""
CASES = [Case(name, fields, shape) for name in names("model") for fields, shape in VARIANTS.get(name, [({}, (5,))])]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


# ------------------------------------------------------------------------------------------------------- derivatives


def _assert_close(found: Tensor, expected: Tensor, bound: float) -> None:
    worst = ((found.double() - expected).abs().max() / expected.abs().max()).item()
    print(f"worst entry, relative to the largest: {worst:.1e}")
    assert worst < bound


def _differences(function: Callable[[Tensor], Tensor], theta: Tensor) -> tuple[Tensor, Tensor]:
    """Directions (3, P) of length 1 that hold every parameter, and derivatives along them, exact to fourth order."""
    directions = normal(3, len(theta), seed=3)
    directions /= directions.norm(dim=1, keepdim=True)

    def between(move: Tensor) -> Tensor:
        return function(theta + move) - function(theta - move)

    step = 1e-4
    found = [(8 * between(step * w) - between(2 * step * w)) / (12 * step) for w in directions]
    return directions, torch.stack(found)


def _gradient(function: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    point = theta.clone().requires_grad_()
    return torch.autograd.grad(function(point), point)[0]


@every_case
def test_gradients_are_those_of_differences(case: Case) -> None:
    directions, expected = _differences(case.loss, case.theta)
    _assert_close(directions @ _gradient(case.loss, case.theta), expected, 1e-8)


@every_case
def test_products_are_those_of_the_dense_hessian(case: Case) -> None:
    theta = case.theta
    multiply = hvp(case.loss, theta)
    _assert_close(multiply(torch.eye(len(theta), dtype=torch.float64)), dense_hessian(case.loss, theta), 1e-12)
    directions, expected = _differences(lambda point: _gradient(case.loss, point), theta)
    _assert_close(multiply(directions), expected, 1e-8)


@every_case
def test_third_derivatives_are_those_of_differences(case: Case) -> None:
    """The gradient of u'Hu."""
    u = normal(len(case.theta), seed=2)
    point = case.theta.requires_grad_()
    (grad,) = torch.autograd.grad(case.loss(point), point, create_graph=True)
    (product,) = torch.autograd.grad(grad @ u, point, create_graph=True)
    (found,) = torch.autograd.grad(product @ u, point)
    directions, expected = _differences(lambda theta: u @ hvp(case.loss, theta)(u), case.theta)
    _assert_close(directions @ found, expected, 1e-8)


@every_case
def test_float32_products_differ_by_rounding_only(case: Case) -> None:
    theta = case.theta
    vectors = normal(3, len(theta))
    found = hvp(case.loss, theta.float())(vectors.float())
    assert found.dtype == torch.float32
    _assert_close(found, hvp(case.loss, theta.float().double())(vectors.float().double()), 1e-5)


# ---------------------------------------------------------------------------------------------------- closed forms

Parameters = dict[str, np.ndarray]
Function = Callable[[Any, Parameters, np.ndarray], np.ndarray]
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.logaddexp(0, x),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
}


def _affine(x: np.ndarray, p: Parameters, name: str) -> np.ndarray:
    result: np.ndarray = x @ p[f"{name}.weight"].T + p.get(f"{name}.bias", 0.0)
    return result


def _normalised(x: np.ndarray, axes: Any, p: Parameters, name: str) -> np.ndarray:
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    result: np.ndarray = (x - mean) / np.sqrt(variance + 1e-5) * p[f"{name}.scale"] + p[f"{name}.shift"]
    return result


def _convolution(x: np.ndarray, p: Parameters, name: str, norm: str) -> np.ndarray:
    weight = p[f"{name}.0.weight"]
    edge, (height, width) = weight.shape[-1] // 2, x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    total = np.zeros((len(x), len(weight), height, width))
    for i, j in np.ndindex(*weight.shape[2:]):
        total += np.einsum("nchw,oc->nohw", padded[:, :, i : i + height, j : j + width], weight[:, :, i, j])
    if norm == "none":
        return total + p[f"{name}.0.bias"][:, None, None]
    return _normalised(total, (0, 2, 3) if norm == "batch" else (1, 2, 3), p, f"{name}.1")


def _pooled(x: np.ndarray, how: str) -> np.ndarray:
    height, width = x.shape[2] // 2, x.shape[3] // 2
    fields = x[:, :, : 2 * height, : 2 * width].reshape(*x.shape[:2], height, 2, width, 2)
    result: np.ndarray = fields.max((3, 5)) if how == "max" else fields.mean((3, 5))
    return result


def _deep_linear(model: Any, p: Parameters, x: np.ndarray) -> np.ndarray:
    x = x.reshape(len(x), -1)
    for number in range(1, len(model.hidden) + 2):
        x = _affine(x, p, str(number))
    return x


def _two_layer(model: Any, p: Parameters, x: np.ndarray) -> np.ndarray:
    x = x.reshape(len(x), -1)
    hidden = ACTIVATIONS[model.activation](x @ p["2.weight"].T / np.sqrt(x.shape[1]))
    second = p["4.weight"] if model.second_layer == "trained" else model.signs(OUTPUTS)
    result: np.ndarray = model.alpha / np.sqrt(model.width) * hidden @ second.T
    return result


def _cnn(model: Any, p: Parameters, x: np.ndarray) -> np.ndarray:
    for number in range(1, len(model.channels) + 1):
        x = ACTIVATIONS[model.activation](_convolution(x, p, f"convolution{number}", model.norm))
        x = _pooled(x, model.pooling)
    return _affine(x.reshape(len(x), -1), p, "head")


def _residual(model: Any, p: Parameters, x: np.ndarray) -> np.ndarray:
    act = ACTIVATIONS[model.activation]
    x = act(_convolution(x, p, "stem", model.norm))
    for stage in range(1, len(model.channels) + 1):
        x = x if stage == 1 else _pooled(x, "average")
        for block in range(1, model.blocks + 1):
            name = f"stage{stage}_block{block}"
            inner = act(_convolution(x, p, f"{name}.first", model.norm))
            has_skip = any(key.startswith(f"{name}.skip") for key in p)
            around = _convolution(x, p, f"{name}.skip", model.norm) if has_skip else x
            x = act(around + _convolution(inner, p, f"{name}.second", model.norm))
    return _affine(x.mean((2, 3)), p, "head")


def _tokens(model: Any, x: np.ndarray) -> np.ndarray:
    if x.ndim < 4:
        return x if x.ndim == 3 else x[:, :, None]
    s = model.patch
    rows, columns = range(0, x.shape[2], s), range(0, x.shape[3], s)
    return np.stack([x[:, :, i : i + s, j : j + s].reshape(len(x), -1) for i in rows for j in columns], axis=1)


def _transformer(model: Any, p: Parameters, x: np.ndarray) -> np.ndarray:
    x = _affine(_tokens(model, x), p, "embedding") + p["positions"]
    size = model.width // model.heads
    for block in (f"blocks.{number}" for number in range(model.depth)):
        mapped = _affine(_normalised(x, -1, p, f"{block}.norm1"), p, f"{block}.attention.query_key_value")
        query, key, value = np.split(mapped, 3, axis=-1)
        heads = []
        for head in (slice(first, first + size) for first in range(0, model.width, size)):
            scores = np.einsum("nid,njd->nij", query[..., head], key[..., head]) / np.sqrt(size)
            heads.append(np.einsum("nij,njd->nid", softmax(scores, axis=-1), value[..., head]))
        x = x + _affine(np.concatenate(heads, axis=-1), p, f"{block}.attention.projection")
        hidden = _affine(_normalised(x, -1, p, f"{block}.norm2"), p, f"{block}.perceptron.expand")
        x = x + _affine(ACTIVATIONS[model.activation](hidden), p, f"{block}.perceptron.contract")
    x = _normalised(x, -1, p, "norm")
    return _affine(x.mean(axis=1) if model.pooling == "mean" else x[:, -1], p, "head")


def _student_neurons(model: Any, p: Parameters, x: np.ndarray) -> np.ndarray:
    """By the usual form of the arc-cosine kernel, |a| |b| (sin t + (pi - t) cos t) / (2 pi)."""

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        lengths = np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
        cos = np.clip(a @ b.T / lengths, -1, 1)
        result: np.ndarray = lengths * (np.sqrt(1 - cos**2) + (np.pi - np.arccos(cos)) * cos) / (2 * np.pi)
        return result

    own = np.diag(kernel(x, x))
    risks = [(kernel(w, w).sum() - 2 * kernel(w, x).sum(0) + own) / 2 for w in p["weight"]]
    return np.stack(risks, axis=1)


FUNCTIONS: dict[str, Function] = {
    "linear": lambda model, p, x: x @ p["weight"].T + p["bias"],
    "deep_linear": _deep_linear,
    "two_layer": _two_layer,
    "cnn": _cnn,
    "residual": _residual,
    "transformer": _transformer,
    "student_neurons": _student_neurons,
    "matrix_factorisation": lambda model, p, x: np.einsum("nij,oik,ojk->no", x, p["left"], p.get("right", p["left"])),
}


def test_every_model_has_a_closed_form() -> None:
    assert set(FUNCTIONS) | {"mlp"} == set(names("model")), "that of mlp, with all activations, is in test_members"


@pytest.mark.parametrize("case", [case for case in CASES if case.name in FUNCTIONS], ids=str)
def test_networks_agree_with_their_closed_forms(case: Case) -> None:
    network, theta = case.network, case.theta
    pieces = zip(network.names, theta.split(network.sizes), network.shapes, strict=True)
    parameters = {name: piece.view(shape).numpy() for name, piece, shape in pieces}
    expected = FUNCTIONS[case.name](case.model, parameters, case.inputs.numpy())
    _assert_close(network.outputs(theta, case.inputs), torch.from_numpy(expected), 1e-13)


# -------------------------------------------------------------------------------------------------- what else they say


@every_case
def test_samples_are_coupled_where_the_model_says_so(case: Case) -> None:
    network, theta, inputs = case.network, case.theta, case.inputs
    together = network.outputs(theta, inputs)
    apart = torch.cat([network.outputs(theta, part) for part in inputs.split([3, 4])])
    assert ((together - apart).abs().max() > 1e-3) == case.model.couples_samples


@every_case
def test_gradients_of_samples_add_up_where_they_are_not_coupled(case: Case) -> None:
    """As `noise_scale` computes them: mapped over samples."""
    if case.model.couples_samples:
        return
    theta, targets = case.theta, torch.arange(7) % OUTPUTS

    def sample_loss(point: Tensor, row: Tensor, target: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(case.network.outputs(point, row[None]), target[None])

    rows = torch.vmap(torch.func.grad(sample_loss), in_dims=(None, 0, 0))(theta, case.inputs, targets)
    point = theta.clone().requires_grad_()
    _assert_close(rows.mean(dim=0), torch.autograd.grad(case.loss(point), point)[0], 1e-12)


def test_noise_scale_refuses_samples_that_are_coupled() -> None:
    model = {"name": "cnn", "channels": [2, 2]}
    observe = {"noise_scale": {"at": [0]}}
    make_run(IMAGES, model=model, observe=observe)
    with pytest.raises(AssertionError, match=r"no `norm: batch`"):
        make_run(IMAGES, model={**model, "norm": "batch"}, observe=observe)


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"name": "cnn"}, {}, "inputs of shape \\[64\\]; cnn takes images .* of at least 4 x 4 pixels, .*`shape: image`"),
    ({"name": "cnn", "channels": [2, 2, 2, 2]}, {"shape": "image"}, "at least 16 x 16 pixels"),
    ({"name": "residual"}, {}, "at least 2 x 2 pixels"),
    ({"name": "transformer", "patch": 3}, {"shape": "image"}, "that `patch: 3` divides"),
]


@pytest.mark.parametrize(("model", "dataset", "told"), REFUSED, ids=str)
def test_inputs_that_a_model_cannot_take_are_told(model: dict[str, Any], dataset: dict[str, Any], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        make_run({**SMALL_DIGITS, "dataset": {**SMALL_DIGITS["dataset"], **dataset}}, model=model)  # type: ignore[dict-item]


def test_heads_divide_the_width() -> None:
    with pytest.raises(Mistaken, match="heads that divide the width 32"):
        make("model", {"name": "transformer", "heads": 3}, "model")


def _scaled(case: Case, chosen: str, factor: float) -> Tensor:
    pieces = zip(case.network.names, case.theta.split(case.network.sizes), strict=True)
    return torch.cat([piece * (factor if name == chosen else 1.0) for name, piece in pieces])


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_normalised_convolutions_have_no_scale(norm: str) -> None:
    case = Case("cnn", {**CNN, "norm": norm}, (2, 8, 8))
    outputs = [
        case.network.outputs(_scaled(case, "convolution1.0.weight", factor), case.inputs) for factor in (1.0, 100.0)
    ]
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)
    assert not torch.equal(*outputs), "1e-5 is added to the variance"


def test_one_test_image_more_changes_no_loss_but_that_of_the_test_set() -> None:
    """Statistics are of the samples that a loss is taken over, and nothing is carried from update to update."""
    run = make_run(IMAGES, model={"name": "cnn", "norm": "batch"}, dtype="float64")
    problem = Problem(run, CPU)
    theta = problem.initial()
    before = problem.loss_on(problem.train)(theta)
    problem.loss_on(problem.test)(theta)
    assert torch.equal(problem.loss_on(problem.train)(theta), before)


def test_images_of_digits_are_the_same_pixels() -> None:
    flat, image = (
        make("dataset", {"name": "digits", "train_size": 5, "test_size": 3, "shape": shape}, "").load()  # type: ignore[attr-defined]
        for shape in ("flat", "image")
    )
    assert image.train_inputs.shape == (5, 1, 8, 8)
    assert image.test_inputs.shape == (3, 1, 8, 8)
    np.testing.assert_array_equal(image.train_inputs.reshape(5, 64), flat.train_inputs)
    np.testing.assert_array_equal(image.test_inputs.reshape(3, 64), flat.test_inputs)


def test_a_fixed_second_layer_is_one_for_all_runs_and_has_both_signs() -> None:
    model: Any = make("model", {"name": "two_layer", "width": 200, "second_layer": "fixed"}, "model")
    assert set(np.unique(model.signs(2))) == {-1.0, 1.0}
    assert np.array_equal(model.signs(2), model.signs(2))
    assert abs(model.signs(2).mean()) < 0.2


# ------------------------------------------------------------------------------------------------------------ training

TRAINED: dict[str, dict[str, Any]] = {
    "cnn": {"channels": [4, 4], "norm": "layer"},
    "residual": {"channels": [4, 6]},
    "transformer": {"width": 8, "depth": 1},
    "two_layer": {"alpha": 2.0},
    "deep_linear": {},
}


@pytest.mark.parametrize(("name", "fields"), TRAINED.items())
def test_runs_descend_where_their_sharpness_allows_it(name: str, fields: dict[str, Any]) -> None:
    run = make_run(
        IMAGES, model={"name": name, **fields}, loss="cross_entropy", lr=0.1, budget={"steps": 30},
        observe={"losses": {"at": [0, 30]}, "hessian_top": {"at": [0], "tol": 1e-3}},
    )  # fmt: skip
    record = train(run)
    first, last = record.values["train_loss"]
    assert record.values["hessian_eigenvalue"][0][0] < record.values["hessian_threshold"][0]
    assert last < 0.95 * first
