"""Loss, gradient and curvature of each class: against closed forms and dense Hessians."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stepscape.training.problem import Problem
from tests.factories import final_parameters, make_run, train

STEPS = 6
RUN: dict[str, Any] = {
    "dataset": {
        "name": "heavy_tailed_classes",
        "inputs": 6,
        "classes": 4,
        "train_size": 25,
        "test_size": 4,
        "spread": "uniform",
    },
    "loss": "cross_entropy",
    "optimizer": "gd",
    "lr": 0.05,
    "dtype": "float64",
    "budget": {"steps": STEPS},
}
KEPT = {"per_class": {"at": [STEPS]}, "parameters": {"at": [STEPS]}, "losses": {"at": [STEPS]}}
IMAGES = {"name": "digits", "train_size": 30, "test_size": 10, "shape": "image"}
MODELS: list[tuple[dict[str, Any], int]] = [
    ({"name": "linear"}, 6),
    ({"name": "linear", "bias": False}, 6),
    ({"name": "mlp", "hidden": [5]}, 5),
    ({"name": "mlp", "hidden": [5], "scaling": "ntk"}, 5),
    ({"name": "two_layer", "width": 5, "alpha": 3.0}, 5),
    ({"name": "deep_linear", "hidden": [3], "bias": True}, 3),
    ({"name": "transformer", "width": 4, "depth": 1}, 4),
]
"""Models, and what enters their last layer."""


def measured(**changed: Any) -> tuple[Any, Problem, torch.Tensor]:
    run = make_run({**RUN, **changed}, observe=KEPT)
    record = train(run)
    return record, Problem(run, torch.device("cpu")), torch.from_numpy(final_parameters(record))


def rows(problem: Problem, width: int) -> torch.Tensor:
    """Places in theta of each class's weights and bias in the last layer, (classes, width or width + 1)."""
    classes, count = problem.run.dataset.outputs, problem.run.parameter_count
    has_bias = problem.network.shapes[-1] == (classes,)
    first = count - classes * (width + has_bias)
    places = first + torch.arange(classes * width).view(classes, width)
    return torch.cat([places, count - classes + torch.arange(classes)[:, None]], dim=1) if has_bias else places


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize(("model", "width"), MODELS, ids=[str(model) for model, _ in MODELS])
def test_gradient_and_curvature_are_those_of_the_dense_hessian(model: dict[str, Any], width: int, loss: str) -> None:
    record, problem, theta = measured(model=model, loss=loss)
    gradient = torch.func.grad(problem.loss_on(problem.train))(theta)
    hessian = torch.autograd.functional.hessian(problem.loss_on(problem.train), theta)
    for c, places in enumerate(rows(problem, width)):
        trace = hessian[places, places].sum().item()
        assert record.values["class_hessian_trace"][0][c] == pytest.approx(trace, rel=1e-5)
        assert record.values["class_gradient_norm"][0][c] == pytest.approx(gradient[places].norm().item(), rel=1e-5)


def test_softmax_regression_has_a_closed_form() -> None:
    record, problem, theta = measured(model="linear")
    inputs = problem.train.inputs
    p = (inputs @ theta[:24].view(4, 6).T + theta[24:]).softmax(dim=1)
    expected = (p * (1 - p)).T @ (inputs.square().sum(dim=1) + 1) / len(inputs)
    np.testing.assert_allclose(record.values["class_hessian_trace"][0], expected, rtol=1e-5)
    targets = problem.train.targets
    losses = [-(p[targets[:, c] == 1, c].log().mean()) for c in range(4)]
    np.testing.assert_allclose(record.values["class_loss"][0], losses, rtol=1e-5)


@pytest.mark.parametrize("batch_size", ["full", 8])
def test_classes_add_up_to_the_whole(batch_size: Any) -> None:
    record, problem, theta = measured(model={"name": "mlp", "hidden": [5]}, batch_size=batch_size)
    shares, losses = (record.values[name][0] for name in ("class_share", "class_loss"))
    np.testing.assert_allclose(shares, problem.train.targets.mean(dim=0), rtol=1e-12)
    assert shares @ losses == pytest.approx(record.values["train_loss"][0], rel=1e-6)
    whole = torch.func.grad(problem.loss_on(problem.train))(theta)[rows(problem, 5).flatten()].norm().item()
    assert np.linalg.norm(record.values["class_gradient_norm"][0]) == pytest.approx(whole, rel=1e-6)


def test_features_are_gone_through_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, _ = measured(model={"name": "mlp", "hidden": [5]})
    monkeypatch.setattr("stepscape.observables.per_class._SAMPLES", 7)
    parted, _, _ = measured(model={"name": "mlp", "hidden": [5]})
    for name in ("class_hessian_trace", "class_loss"):
        np.testing.assert_allclose(parted.values[name], whole.values[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"dataset": "teacher", "model": "linear", "loss": "mse"}, "a dataset with classes"),
        (
            {"dataset": {"name": "digits", "train_size": 30, "targets": "sign"}, "model": "linear", "loss": "mse"},
            "a dataset with classes",
        ),
        ({"dataset": IMAGES, "model": {"name": "residual", "channels": [2], "norm": "batch"}}, "no `norm: batch`"),
        ({"model": {"name": "two_layer", "width": 4, "second_layer": "fixed"}}, "a trained linear layer"),
    ],
)
def test_runs_without_such_weights_are_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        make_run({**RUN, **changed}, observe=KEPT)
