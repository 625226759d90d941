"""Lanes: a run's numbers are the same to the bit whatever trains beside it, and in whichever lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stepscape.models import Model
from stepscape.observables.losses import Losses
from stepscape.registry import find, names, settings
from stepscape.study.run import Run
from stepscape.training import lanes
from stepscape.training.lanes import SEQUENTIAL, lane_groups, lane_mode, sequential_because, vectorised
from stepscape.training.loop import Group, train_run
from stepscape.training.platform import prepare
from stepscape.training.problem import Problem
from stepscape.training.record import Record
from tests.factories import LEAST_SQUARES, SMALL_DIGITS, make_run

CPU = torch.device("cpu")
STUDENTS = {"name": "student_neurons", "neurons": 3}
FACTORS = {"name": "matrix_factorisation", "columns": 3}
MATRICES = {"loss": "mse", "dataset": {"name": "matrix_sensing", "size": 6, "train_size": 40, "test_size": 20}}
TEACHERS = {"loss": "mean_output", "dataset": {"name": "single_index", "inputs": 5, "train_size": 40, "test_size": 20}}
MODELS: list[Any] = [
    {"name": "mlp", "hidden": [5]},  # 385 parameters
    {"name": "mlp", "hidden": [7, 3], "activation": "gelu", "scaling": "ntk"},
    {"name": "mlp", "hidden": [9], "activation": "relu"},
    "linear",
    {"name": "linear", "bias": False},
    {"name": "deep_linear", "hidden": [7, 3]},
    {"name": "two_layer", "width": 11},
    {"name": "two_layer", "width": 6, "second_layer": "fixed", "activation": "tanh"},
    STUDENTS,
    FACTORS,
]
ALONE: list[Any] = [
    {"name": "cnn", "channels": [2, 3]},
    {"name": "cnn", "channels": [3], "norm": "batch", "pooling": "max"},
    {"name": "residual", "channels": [2]},
]
"""Models whose runs train by themselves, and say why."""
TRANSFORMER = {"name": "transformer", "width": 4, "depth": 1}
IMAGES = {**SMALL_DIGITS, "dataset": {"name": "digits", "train_size": 40, "test_size": 20, "shape": "image"}}
OBSERVED = {
    "losses": {"every": 1},
    "gradient_norm": {"every": 3},
    "parameters": {"every": 4},
    "hessian_top": {"at": [0, 9], "k": 2, "tol": 1e-3},
    "preconditioned_top": {"at": [9]},
    "batch_top": {"at": [3, 4]},
    "distance": {"every": 6},
}


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    prepare("cpu")


def _own(model: Any) -> dict[str, Any]:
    """The dataset and the loss of a model that is not for digits."""
    return {str(STUDENTS): TEACHERS, str(FACTORS): MATRICES}.get(str(model), {})


def _runs(count: int, **changed: Any) -> list[Run]:
    own = _own(changed.get("model")) or {"loss": "cross_entropy"}
    given = {"observe": OBSERVED, **own, **changed}
    rates = np.geomspace(0.02, 0.6, count)
    return [make_run(SMALL_DIGITS, **given, lr=float(rate), seed=index % 3) for index, rate in enumerate(rates)]


def _train(runs: list[Run]) -> dict[str, Record]:
    group = Group.start(runs, CPU)
    records = {lane.run.id: lane.record for lane in group.lanes}
    while group.lanes:
        assert all(lane.error is None for lane in group.advance())
    return records


def _bytes(record: Record) -> bytes:
    head = f"{record.status} {record.updates} {record.reason} {sorted(record.steps.items())}"
    return head.encode() + b"".join(np.stack(rows).tobytes() for _, rows in sorted(record.values.items()) if rows)


def _alone(run: Run) -> bytes:
    return _bytes(train_run(run, CPU))


def test_every_model_is_among_those_tried() -> None:
    tried = {model if isinstance(model, str) else model["name"] for model in [*MODELS, *ALONE, TRANSFORMER]}
    assert tried == set(names("model"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", ALONE, ids=str)
def test_the_same_bytes_whatever_trained_before_where_runs_train_alone(model: Any, dtype: str) -> None:
    given = {"model": model, "dtype": dtype, "observe": OBSERVED, "loss": "cross_entropy", "batch_size": 20}
    runs = [make_run(IMAGES, **given, lr=0.1 / (seed + 1), seed=seed) for seed in range(3)]
    assert lane_mode(runs[0], CPU) == SEQUENTIAL
    assert sequential_because(runs[0], CPU) == runs[0].model.sequential_because
    assert lane_groups(runs, CPU) == [[run] for run in runs]
    found = [_alone(run) for run in runs]
    assert [_alone(run) for run in reversed(runs)] == found[::-1]
    assert len(set(found)) == 3


@pytest.mark.parametrize("batch_size", ["full", 7, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_same_bytes_alone_and_in_groups_of_2_8_and_32_in_any_lane(model: Any, dtype: str, batch_size: Any) -> None:
    _assert_same_bytes(_runs(32, model=model, dtype=dtype, batch_size=batch_size))


@pytest.mark.parametrize("batch_size", ["full", 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bytes_in_groups_where_the_network_is_mapped(dtype: str, batch_size: Any) -> None:
    given = {"observe": OBSERVED, "loss": "cross_entropy", "dtype": dtype, "batch_size": batch_size}
    rates = np.geomspace(0.02, 0.6, 8)
    runs = [
        make_run(IMAGES, model=TRANSFORMER, **given, lr=float(rate), seed=index % 3) for index, rate in enumerate(rates)
    ]
    assert not runs[0].model.has_lane_form
    _assert_same_bytes(runs)


def _assert_same_bytes(runs: list[Run]) -> None:
    """All together, in another order, and some of them, down to one alone."""
    assert lane_mode(runs[0], CPU).name == "vectorised"
    found = {run_id: _bytes(record) for run_id, record in _train(runs).items()}
    order = np.random.default_rng(0).permutation(len(runs))
    for size in (len(runs), 8, 2, 1):
        chosen = [runs[index] for index in order[:size]]
        assert all(_bytes(record) == found[run_id] for run_id, record in _train(chosen).items()), size


@pytest.mark.parametrize("optimizer", names("optimizer"))
def test_lanes_of_every_optimizer_differ_in_their_numbers_alone(optimizer: str) -> None:
    scalars = [
        name for name in ("beta", "beta1", "beta2", "weight_decay", "kick", "std") if _has_field(optimizer, name)
    ]
    runs = [
        make_run(
            SMALL_DIGITS,
            observe=OBSERVED,
            optimizer={"name": optimizer, **dict.fromkeys(scalars, value)},
            lr=0.004,
            dtype="float64",
            batch_size=10,
            seed=index,
            schedule=schedule,
            budget={"steps": 10 + index},
            branch_noise=1e-6 * index,
        )
        for index, (value, schedule) in enumerate(
            [(0.5, "constant"), (0.9, "cosine"), (0.7, "linear_decay"), *[(0.6 + k / 50, "constant") for k in range(9)]]
        )
    ]
    assert scalars or optimizer in ("gd", "normalised_gd", "sign_descent"), "its hyper-parameters are tried"
    alone = bool(runs[0].optimizer.sequential_because)
    assert lane_groups(runs, CPU) == ([[run] for run in runs] if alone else [runs])
    together = _train(runs)
    assert [record.updates for record in together.values()] == list(range(10, 22))
    for run in runs:
        assert _alone(run) == _bytes(together[run.id])


def _has_field(optimizer: str, name: str) -> bool:
    return name in settings(find("optimizer", optimizer))


def test_lanes_that_diverge_or_stop_harm_no_neighbour() -> None:
    stop = {"train_loss": 2.0, "every": 2}
    runs = [
        make_run(SMALL_DIGITS, lr=1e20, seed=0, observe=OBSERVED),
        make_run(SMALL_DIGITS, lr=0.1, seed=1, observe=OBSERVED),
        make_run(SMALL_DIGITS, lr=0.2, seed=0, observe=OBSERVED, stop={**stop, "train_loss": 0.5}),
        make_run(SMALL_DIGITS, lr=1e4, seed=2, observe=OBSERVED),
    ]
    assert lane_groups(runs, CPU) == [runs]
    together = _train(runs)
    assert [record.status for record in together.values()] == ["diverged", "completed", "stopped", "diverged"]
    for run in runs:
        assert _alone(run) == _bytes(together[run.id])


def test_the_last_lane_left_is_computed_beside_a_copy_of_itself() -> None:
    group = Group.start(_runs(1), CPU)
    assert (len(group.lanes), len(group.theta)) == (1, 3)
    group.advance()
    assert torch.equal(group.theta[0], group.theta[2])


@pytest.mark.parametrize(
    ("batch_size", "dtype", "copies"), [("full", "float32", 2), (1, "float32", 32), (3, "float64", 6)]
)
def test_copies_hold_the_last_numbers_of_every_tensor(batch_size: Any, dtype: str, copies: int) -> None:
    assert lane_mode(make_run(SMALL_DIGITS, batch_size=batch_size, dtype=dtype), CPU).fill == copies


def test_an_observable_that_fails_ends_its_own_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _runs(3)
    expected = [_alone(run) for run in runs]
    measure = Losses.measure

    def failing(self: Losses, snapshot: Any, memory: Any) -> Any:
        if snapshot.run.id == runs[1].id and snapshot.step == 5:
            raise ZeroDivisionError("a defect of a member")
        return measure(self, snapshot, memory)

    monkeypatch.setattr(Losses, "measure", failing)
    group = Group.start(runs, CPU)
    lanes = list(group.lanes)
    ended = [lane for _ in range(13) for lane in group.advance()]
    assert [lane.run.id for lane in ended] == [runs[1].id, runs[0].id, runs[2].id]
    assert isinstance(ended[0].error, ZeroDivisionError)
    assert [_bytes(lane.record) for lane in (lanes[0], lanes[2])] == [expected[0], expected[2]]
    with pytest.raises(ZeroDivisionError, match="a defect"):
        train_run(runs[1], CPU)


@pytest.mark.parametrize("model", [*MODELS, {"name": "deep_linear", "hidden": [5], "bias": True}], ids=str)
def test_a_lane_form_is_the_network(model: Any) -> None:
    run = make_run(SMALL_DIGITS, model=model, dtype="float64", **_own(model))
    problem = Problem(run, CPU)
    theta = torch.stack([problem.initial(), 2 * problem.initial(), -problem.initial()])
    inputs = torch.stack([problem.train.inputs, problem.train.inputs.flip(0), problem.train.inputs + 1])
    each = torch.stack([problem.outputs(*pair) for pair in zip(theta, inputs, strict=True)])
    torch.testing.assert_close(problem.network.lane_outputs(theta, inputs), each, rtol=1e-12, atol=1e-13)


def test_models_without_a_lane_form_are_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _runs(4, model=MODELS[1], dtype="float64")
    expected = _train(runs)
    monkeypatch.setattr(Model, "has_lane_form", property(lambda self: False))
    for run_id, record in _train(runs).items():
        np.testing.assert_allclose(record.values["train_loss"], expected[run_id].values["train_loss"], rtol=1e-10)
    assert _bytes(_train(runs[:2])[runs[1].id]) == _alone(runs[1])


def test_both_ways_agree_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _runs(3, dtype="float64", batch_size=8, optimizer="adam")
    vectorised = _train(runs)
    monkeypatch.setitem(lanes.VECTORISED_BELOW, "cpu", 0.0)
    for run in runs:
        assert lane_mode(run, CPU) == SEQUENTIAL
        record = train_run(run, CPU)
        for name in ("train_loss", "gradient_norm", "hessian_eigenvalue", "preconditioned_eigenvalue"):
            np.testing.assert_allclose(record.values[name], vectorised[run.id].values[name], rtol=1e-6)


# -------------------------------------------------------------------------------------------------------------- rule


def test_the_rule_knows_what_is_trained_and_never_how_many() -> None:
    small, large = make_run(SMALL_DIGITS), make_run(SMALL_DIGITS, model={"name": "mlp", "hidden": [500, 500]})
    assert (lane_mode(small, CPU), lane_mode(large, CPU)) == (vectorised(small, CPU), SEQUENTIAL)
    changed = [make_run(SMALL_DIGITS, seed=seed, lr=lr, optimizer="adam") for seed in range(2) for lr in (1e-3, 1.0)]
    assert {lane_mode(run, CPU) for run in changed} == {vectorised(small, CPU)}


def test_groups_hold_every_run_once_and_only_what_can_share_a_computation() -> None:
    alike = [make_run(SMALL_DIGITS, lr=lr, seed=seed) for lr in (0.1, 0.2) for seed in range(2)]
    others = [
        make_run(SMALL_DIGITS, loss="cross_entropy"),
        make_run(SMALL_DIGITS, batch_size=8),
        make_run(SMALL_DIGITS, dtype="float64"),
        make_run(SMALL_DIGITS, model="linear"),
        make_run(SMALL_DIGITS, observe={"losses": {"every": 2}}),
        make_run(SMALL_DIGITS, optimizer="adam"),
        make_run(SMALL_DIGITS, optimizer={"name": "adam", "bias_correction": False}),
        make_run(LEAST_SQUARES),
        make_run(SMALL_DIGITS, model={"name": "mlp", "hidden": [500, 500]}),
        make_run(SMALL_DIGITS, model={"name": "mlp", "hidden": [500, 500]}, seed=1),
    ]
    groups = lane_groups([*alike[:2], *others, *alike[2:]], CPU)
    assert alike in groups
    assert sorted(run.id for group in groups for run in group) == sorted(run.id for run in [*alike, *others])
    assert len(groups) == 1 + len(others)


def test_a_gpu_computes_a_fixed_number_of_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode of a GPU, tried on the CPU: lanes that end leave copies behind, and no bit changes."""
    cuda, runs = torch.device("cuda"), _runs(40, stop={"train_loss": 1.5, "every": 3})
    mode = lane_mode(runs[0], cuda)
    assert (mode.name, mode.width, mode.copies(5), mode.copies(32)) == ("vectorised", 32, 27, 0)
    assert [len(group) for group in lane_groups(runs, cuda)] == [32, 8]
    expected = {run_id: _bytes(record) for run_id, record in _train(runs[:32]).items()}
    monkeypatch.setattr("stepscape.training.loop.lane_mode", lambda *_: mode)
    group = Group.start(runs[:32], CPU)
    every = list(group.lanes)
    while group.lanes:
        assert len(group.theta) == 32
        group.advance()
    assert {lane.record.status for lane in every} == {"stopped", "not_reached"}
    assert {lane.run.id: _bytes(lane.record) for lane in every} == expected


def test_a_group_is_bounded() -> None:
    groups = lane_groups(_runs(200), CPU)
    assert sum(map(len, groups)) == 200
    assert max(map(len, groups)) <= 64
