"""The loop and the job around it: what is trained on what, when it ends, and what a failure leaves behind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.branch_noise import differences
from stepscape.cli import main
from stepscape.errors import FileError, StepscapeError
from stepscape.observables.losses import Losses
from stepscape.optimizers.gd import GradientDescent
from stepscape.registry import names
from stepscape.store.runfile import as_dataset, open_run
from stepscape.study.identity import ENGINE_VERSION
from stepscape.study.paths import Paths
from stepscape.study.run import Run
from stepscape.training import pack as packing
from stepscape.training.batches import Batches
from stepscape.training.pack import train_pack
from stepscape.training.platform import platform_record, prepare
from stepscape.training.problem import GRAPH_BYTES, Problem
from stepscape.training.random import generator
from tests.factories import LEAST_SQUARES, SMALL_DIGITS, final_parameters, make_run, train, write_pack

CPU = torch.device("cpu")
KEEP = {"parameters": {"every": 1}}


# ----------------------------------------------------------------------------------------------------------- batches


def _indices(run: Run, steps: int) -> np.ndarray:
    batches = Batches([run])
    return np.stack([batches.indices(step)[0].numpy() for step in range(steps)])


def test_an_epoch_is_a_permutation_whose_rest_is_dropped() -> None:
    run = make_run(SMALL_DIGITS, batch_size=12)  # 40 images: three batches, four images left over
    epochs = _indices(run, 9).reshape(3, 36)
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 36
        assert set(epoch.tolist()) <= set(range(40))
    assert not np.array_equal(epochs[0], epochs[1])
    assert set(epochs.flatten().tolist()) == set(range(40)), "what is dropped differs between epochs"


def test_batches_depend_on_the_seed_and_not_on_what_is_trained() -> None:
    reference = _indices(make_run(SMALL_DIGITS, batch_size=8), 12)
    changes: list[dict[str, Any]] = [{"lr": 3.0}, {"optimizer": "adam"}, {"model": "linear"}, {"dtype": "float64"}]
    for changed in changes:
        assert np.array_equal(_indices(make_run(SMALL_DIGITS, batch_size=8, **changed), 12), reference), changed
    assert not np.array_equal(_indices(make_run(SMALL_DIGITS, batch_size=8, seed=1), 12), reference)


def test_batches_may_be_asked_for_in_any_order() -> None:
    run = make_run(SMALL_DIGITS, batch_size=8)
    forwards, batches = _indices(run, 15), Batches([run])
    for step in (14, 0, 7, 7, 3):
        assert np.array_equal(batches.indices(step)[0].numpy(), forwards[step])


def test_generators_differ_in_every_part_of_their_key() -> None:
    keys = [(0, "batches", 0), (1, "batches", 0), (0, "subset", 0), (0, "batches", 1), (10, "batches", 0)]
    draws = {key: generator(*key).standard_normal(4).tobytes() for key in keys}
    assert len(set(draws.values())) == len(keys)
    assert all(generator(*key).standard_normal(4).tobytes() == draw for key, draw in draws.items())


# ------------------------------------------------------------------------------------------------------- trajectories


def _gradient(run: Run, theta: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of 1/(2B) |X theta - y|^2, in closed form."""
    data = run.dataset.load()
    inputs, targets = data.train_inputs[rows], data.train_targets[rows, 0]
    return inputs.T @ (inputs @ theta - targets) / len(rows)


@pytest.mark.parametrize("batch_size", ["full", 2, 1])
def test_every_entry_is_of_its_step(batch_size: Any) -> None:
    """T + 1 entries; theta_{s+1} - theta_s is one step on batch s, and the loss at s is that of theta_s."""
    run = make_run(
        observe={**KEEP, "losses": {"every": 1}}, batch_size=batch_size, dtype="float64", budget={"steps": 9}
    )
    record, data = train(run), run.dataset.load()
    thetas = np.stack(record.values["parameters"])
    assert record.updates == 9
    assert record.steps["parameters"] == record.steps["losses"] == list(range(10))
    np.testing.assert_array_equal(thetas[0], Problem(run, CPU).initial().numpy())
    batches = Batches([run])
    for step in range(9):
        rows = np.arange(4) if batch_size == "full" else batches.indices(step)[0].numpy()
        expected = thetas[step] - run.lr * _gradient(run, thetas[step], rows)
        np.testing.assert_allclose(thetas[step + 1], expected, rtol=1e-12, atol=1e-14)
    losses = [0.5 * np.mean((data.train_inputs @ theta - data.train_targets[:, 0]) ** 2) for theta in thetas]
    np.testing.assert_allclose(record.values["train_loss"], losses, rtol=1e-6)


EVERYTHING = {
    "losses": {"every": 1},
    "gradient_norm": {"every": 1},
    "hessian_top": {"every": 2, "k": 2, "audit_every": 2},
    "preconditioned_top": {"every": 3},
    "hessian_subspace": {"every": 2, "k": 2, "tol": 1e-2, "audit_every": 2},
    "distance": {"every": 1},
    "noise_scale": {"every": 3},
    "gauss_newton_trace": {"at": [3]},
    "hessian_noise": {"at": [3], "probes": 2},
    "hessian_density": {"every": 6, "probes": 2, "nodes": 5},
    "batch_top": {"at": [3]},
    "gauss_newton_top": {"at": [3]},
    "residual_hessian": {"at": [3]},
    "hessian_diagonal": {"at": [3], "probes": 2},
    "hessian_spectrum": {"at": [3]},
    "tangent_kernel": {"at": [3], "samples": 3},
    "feature_kernel": {"at": [3]},
    "first_layer": {"at": [3], "k": 2},
    "layer_singular_values": {"at": [3]},
    "layer_blocks": {"at": [3]},
    "layer_diagonals": {"at": [3], "entries": 2},
    "per_class": {"at": [3]},
    "time_average": {"every": 3},
    "self_stabilisation": {"at": [3]},
    "parameters": {"at": [12]},
}


@pytest.mark.parametrize("optimizer", names("optimizer"))
@pytest.mark.parametrize("batch_size", ["full", 8])
def test_observing_changes_no_bit_of_a_trajectory(optimizer: str, batch_size: Any) -> None:
    assert set(EVERYTHING) == set(names("observable"))
    chosen = {"optimizer": optimizer, "batch_size": batch_size, "lr": 0.01}
    alone = final_parameters(train(make_run(SMALL_DIGITS, observe={"parameters": {"at": [12]}}, **chosen)))
    for name, clock in EVERYTHING.items():
        observe = {name: clock, "parameters": {"at": [12]}}
        assert final_parameters(train(make_run(SMALL_DIGITS, observe=observe, **chosen))).tobytes() == alone.tobytes()
    together = train(make_run(SMALL_DIGITS, observe=EVERYTHING, **chosen))
    assert final_parameters(together).tobytes() == alone.tobytes()


def test_a_trajectory_depends_on_no_global_random_state() -> None:
    run = make_run(SMALL_DIGITS, observe=EVERYTHING, batch_size=8, branch_noise=1e-3)
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (the point is that nothing looks at it)
        found.append(as_dataset(train(run), {}))
    assert found[0].identical(found[1])


def test_mini_batches_of_everything_are_full_batches() -> None:
    full, sized = (make_run(observe=KEEP, batch_size=size) for size in ("full", 4))
    assert full.id == sized.id
    assert final_parameters(train(full)).tobytes() == final_parameters(train(sized)).tobytes()


@pytest.mark.parametrize(
    ("batch_size", "budget", "updates"),
    [
        (12, {"steps": 7}, 7),
        (12, {"epochs": 2}, 6),
        (12, {"samples": 40}, 3),
        (12, {"samples": 47}, 3),
        ("full", {"steps": 2}, 2),
        ("full", {"epochs": 2}, 2),
        ("full", {"samples": 119}, 2),
        (40, {"samples": 120}, 3),
        (1, {"epochs": 1}, 40),
    ],
)
def test_budgets(batch_size: Any, budget: dict[str, int], updates: int) -> None:
    """Forty images: three batches of twelve an epoch, and four images left over."""
    record = train(make_run(SMALL_DIGITS, batch_size=batch_size, budget=budget))
    assert (record.status, record.updates, len(record.values["train_loss"])) == ("completed", updates, updates + 1)


def test_float64_follows_float32_to_rounding_and_keeps_its_own_digits() -> None:
    single, double = (
        final_parameters(train(make_run(SMALL_DIGITS, observe=KEEP, dtype=t))) for t in ("float32", "float64")
    )
    assert (str(single.dtype), str(double.dtype)) == ("float32", "float64")
    assert 0 < np.abs(single - double).max() < 1e-5
    assert (double != double.astype(np.float32)).any()


# -------------------------------------------------------------------------------------------------------- how it ends


def test_stop_rule_on_the_loss() -> None:
    losses = np.asarray(train(make_run(budget={"steps": 30})).values["train_loss"])
    limit = float(losses[11])
    record = train(make_run(budget={"steps": 30}, stop={"train_loss": limit}))
    assert (record.status, record.updates) == ("stopped", int(np.argmax(losses <= limit)))
    assert str(record.updates) in record.reason
    np.testing.assert_array_equal(record.values["train_loss"], losses[: record.updates + 1])


def test_stop_rule_is_looked_at_only_when_it_is_due() -> None:
    limit = float(np.asarray(train(make_run(budget={"steps": 30})).values["train_loss"])[11])
    record = train(make_run(budget={"steps": 30}, stop={"train_loss": limit, "every": 7}))
    assert (record.status, record.updates) == ("stopped", 14)


def test_stop_rule_that_is_never_met() -> None:
    record = train(make_run(stop={"train_loss": 1e-30}))
    assert (record.status, record.updates, record.reason) == ("not_reached", 10, "")


def test_stop_rule_that_is_met_at_once_and_at_the_end() -> None:
    assert train(make_run(stop={"train_loss": 1e9})).updates == 0
    last = float(train(make_run()).values["train_loss"][-1])
    record = train(make_run(stop={"train_loss": last}))
    assert (record.status, record.updates) == ("stopped", 10)


def test_stop_rule_on_the_accuracy() -> None:
    free = make_run(SMALL_DIGITS, lr=0.5, batch_size=8, budget={"steps": 60})
    accuracy = np.asarray(train(free).values["train_accuracy"])
    assert accuracy.max() > 0.6
    run = make_run(SMALL_DIGITS, lr=0.5, batch_size=8, budget={"steps": 60}, stop={"train_accuracy": 0.6})
    record = train(run)
    assert (record.status, record.updates) == ("stopped", int(np.argmax(accuracy >= np.float32(0.6))))


def test_an_accuracy_that_is_met_exactly_stops_and_a_larger_one_does_not() -> None:
    """At the largest share of forty images that is reached, and half an image above it."""
    free = {**SMALL_DIGITS, "lr": 0.1, "batch_size": 8, "budget": {"epochs": 4}}
    accuracy = np.rint(40 * np.asarray(train(make_run(free)).values["train_accuracy"]))
    most = int(accuracy.max())
    met = train(make_run(free, stop={"train_accuracy": most / 40}))
    assert (met.status, met.updates) == ("stopped", int(accuracy.argmax()))
    assert 20 < most < 40, "no room above"
    assert train(make_run(free, stop={"train_accuracy": (most + 0.5) / 40})).status == "not_reached"


def test_stop_rules_look_at_the_full_training_set_and_bind_no_observable() -> None:
    """On mini-batches, with the loss recorded rarely or never, the run ends where one that records every loss does."""
    free = {**SMALL_DIGITS, "lr": 0.3, "batch_size": 4, "budget": {"samples": 160}}
    losses = np.asarray(train(make_run(free)).values["train_loss"])
    limit = float(losses[20])
    expected = int(np.argmax(losses <= limit))
    for observe in ({"losses": {"every": 7}}, {"parameters": {"at": [0]}}):
        record = train(make_run(free, observe=observe, stop={"train_loss": limit}))
        assert (record.status, record.updates) == ("stopped", expected)


def test_a_run_that_diverges_before_its_stop_rule_is_met_has_diverged() -> None:
    record = train(make_run(lr=1e30, budget={"steps": 50}, stop={"train_loss": 1e-30}))
    assert record.status == "diverged"
    assert "not finite" in record.reason


def test_a_schedule_runs_over_the_budget_whether_or_not_a_rule_stops_the_run() -> None:
    chosen = {"observe": KEEP, "schedule": "linear_decay", "budget": {"steps": 30}}
    losses = train(make_run(**{**chosen, "observe": {"losses": {"every": 1}}})).values["train_loss"]
    whole, stopped = train(make_run(**chosen)), train(make_run(**chosen, stop={"train_loss": float(losses[5])}))
    assert stopped.updates == 5
    np.testing.assert_array_equal(stopped.values["parameters"], whole.values["parameters"][:6])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", ["full", 2])
@pytest.mark.parametrize("optimizer", ["gd", {"name": "rmsprop", "eps": 1.0}])
def test_divergence_is_a_result(dtype: str, batch_size: Any, optimizer: Any) -> None:
    top = {"every": 1, "k": 2, "audit_every": 2}
    lr = {"float32": 1e30, "float64": 1e200}[dtype]
    run = make_run(
        optimizer=optimizer,
        lr=lr,
        dtype=dtype,
        batch_size=batch_size,
        budget={"steps": 100},
        observe={"losses": {"every": 1}, "hessian_top": top, "preconditioned_top": top, **KEEP},
    )
    record = train(run)
    assert record.status == "diverged"
    assert 0 < record.updates < 100
    losses, thetas = np.asarray(record.values["train_loss"]), np.stack(record.values["parameters"])
    assert len(losses) == len(thetas) == record.updates + 1
    assert np.isfinite(thetas[:-1]).all()
    is_loss = np.isfinite(thetas[-1]).all()
    assert record.reason == f"{'the loss' if is_loss else 'a parameter'} is not finite after {record.updates} updates"
    if batch_size == "full" and dtype == "float64":  # the reference computes in float64
        assert not np.isfinite(_loss(run, thetas[-1]))
        assert np.isfinite([_loss(run, theta) for theta in thetas[:-1]]).all()
    if not is_loss:
        assert np.isnan(record.values["preconditioned_eigenvalue"][-1]).all()
        assert np.isnan(record.values["hessian_audit"][-1])


def _loss(run: Run, theta: np.ndarray) -> float:
    data = run.dataset.load()
    with np.errstate(over="ignore", invalid="ignore"):
        return float(0.5 * np.mean((data.train_inputs @ theta - data.train_targets[:, 0]) ** 2))


# ------------------------------------------------------------------------------------------------------------- chunks


def test_data_that_do_not_fit_are_gone_through_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(
        SMALL_DIGITS,
        observe={name: clock for name, clock in EVERYTHING.items() if name != "hessian_spectrum"},  # of few parameters
        dtype="float64",
        loss="cross_entropy",
        model={"name": "mlp", "hidden": [150, 100]},
        dataset={"name": "digits", "train_size": 500, "test_size": 20},
        budget={"steps": 12},
    )
    assert platform_record(run, CPU)["chunk"] is None
    whole = train(run)
    bytes_a_sample = Problem(run, CPU).network.bytes_a_sample(torch.float64)
    assert 8 * (64 + 2 * 250) < bytes_a_sample < 8 * 20 * (64 + 250)
    monkeypatch.setitem(GRAPH_BYTES, "cpu", 300 * bytes_a_sample)
    assert platform_record(run, CPU)["chunk"] == 256
    assert [len(part.inputs) for part, _ in Problem(run, CPU).shares(Problem(run, CPU).train)] == [256, 244]
    parted = train(run)
    for name in ("train_loss", "train_accuracy", "gradient_norm", "hessian_eigenvalue", "gauss_newton_eigenvalue"):
        np.testing.assert_allclose(parted.values[name], whole.values[name], rtol=1e-7, err_msg=name)
    sums = [np.stack(record.values["gradient_norm"]).tobytes() for record in (whole, parted)]
    assert sums[0] != sums[1], "added in another order"


# ------------------------------------------------------------------------------------------------------- branch noise


def test_branch_noise_follows_its_law() -> None:
    quiet, noisy, other = (
        make_run(SMALL_DIGITS, observe=KEEP, dtype="float64", lr=1e-12, branch_noise=level, seed=seed)
        for level, seed in ((0.0, 0), (1e-3, 0), (1e-3, 1))
    )
    thetas = {run.id: np.stack(train(run).values["parameters"]) for run in (quiet, noisy, other)}
    assert len(thetas) == 3
    noise = np.diff(thetas[noisy.id], axis=0)  # the steps themselves are far smaller
    scale = 1e-3 * np.sqrt(np.mean(thetas[noisy.id][0] ** 2))
    expected = [
        scale * generator(0, "branch_noise", step).standard_normal(noise.shape[1]) for step in range(len(noise))
    ]
    np.testing.assert_allclose(noise, expected, rtol=0, atol=1e-9 * scale / 1e-3)
    share = np.sort((noise / scale).flatten())
    uniform = np.asarray([0.5 * (1 + math.erf(value / math.sqrt(2))) for value in share])
    distance = np.abs(uniform - (np.arange(len(share)) + 0.5) / len(share)).max()
    assert distance < 1.9 / math.sqrt(len(share)), "exceeded by chance once in 700"
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.2
    assert abs(np.corrcoef(noise[0], np.diff(thetas[other.id], axis=0)[0])[0, 1]) < 0.2


@pytest.mark.parametrize("optimizer", names("optimizer"))
def test_branch_noise_reaches_every_optimizer(optimizer: str) -> None:
    """The first update's noise is the whole difference to the run without, whatever the rule keeps of the past."""
    chosen = {"optimizer": optimizer, "dtype": "float64", "lr": 0.01, "budget": {"steps": 1}}
    quiet, noisy = (
        np.stack(train(make_run(SMALL_DIGITS, observe=KEEP, branch_noise=level, **chosen)).values["parameters"])
        for level in (0.0, 1e-3)
    )
    np.testing.assert_array_equal(quiet[0], noisy[0])
    scale = 1e-3 * np.sqrt(np.mean(quiet[0] ** 2))
    drawn = generator(0, "branch_noise", 0).standard_normal(quiet.shape[1])
    np.testing.assert_allclose(noisy[1] - quiet[1], scale * drawn, rtol=0, atol=1e-14)


@pytest.mark.slow
def test_branch_noise_makes_runs_agree_across_dtypes_past_the_edge() -> None:
    """Rounding chooses no branch where the noise is far larger than it: float32 stays with float64 for 500 steps."""
    (quiet, _), (noisy, sharpness) = differences(0.5, 0.0), differences(0.5, 1e-4)
    assert sharpness > 1, "past the edge"
    assert quiet[-1] > 3e-3, "without noise they part"
    assert noisy[-1] < 1e-3


def test_branch_noise_is_off_by_default() -> None:
    assert make_run().branch_noise == 0
    assert make_run().id == make_run(branch_noise=0.0).id != make_run(branch_noise=1e-9).id


# --------------------------------------------------------------------------------------------------------------- jobs


def _runs(count: int = 3, **changed: Any) -> list[Run]:
    return [make_run(seed=seed, **changed) for seed in range(count)]


def test_a_pack_leaves_run_files_and_a_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, runs = Paths(tmp_path), _runs()
    pack = write_pack(paths, runs)
    assert main(["train-pack", pack.id, "--results", str(tmp_path), "--device", "cpu"]) == 0
    receipt = json.loads(paths.receipt(pack.id).read_text())
    assert receipt["pack"] == pack.id
    assert list(receipt["runs"]) == [run.id for run in runs]
    for run in runs:
        said = receipt["runs"][run.id]
        assert (said["status"], said["updates"]) == ("completed", 10)
        assert set(said) == {"sha256", "status", "updates", "seconds", "mem_mb", "finished", "host", "versions"}
        assert open_run(paths.run(run.id)).attrs["run_id"] == run.id
    assert len(capsys.readouterr().out.splitlines()) == 1 + 3  # who trains, and each run
    assert not paths.failures(pack.id).exists()


def test_the_same_run_gives_the_same_bytes_alone_in_a_pack_and_in_another_process(tmp_path: Path) -> None:
    runs = [make_run(SMALL_DIGITS, observe=EVERYTHING, seed=seed, batch_size=8) for seed in range(2)]
    for folder, chosen in (("pack", runs), ("alone", runs[1:]), ("process", runs[1:])):
        paths = Paths(tmp_path / folder)
        pack = write_pack(paths, chosen)
        if folder == "process":
            subprocess.run(_command(pack.id, paths), check=True, capture_output=True, timeout=120)
        else:
            assert train_pack(pack.id, paths, "cpu")
    files = [Paths(tmp_path / folder).run(runs[1].id).read_bytes() for folder in ("pack", "alone", "process")]
    assert files[0] == files[1] == files[2]


def _command(pack_id: str, paths: Paths) -> list[str]:
    job = ["train-pack", pack_id, "--results", str(paths.root), "--device", "cpu"]
    return [sys.executable, "-m", "stepscape.cli", *job]


def test_a_pack_whose_runs_all_exist_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, runs = Paths(tmp_path), _runs()
    pack = write_pack(paths, runs)
    assert train_pack(pack.id, paths, "cpu")
    told = paths.receipt(pack.id).read_bytes()
    other = write_pack(paths, runs[:2])
    monkeypatch.setattr(packing, "Group", None)  # whatever trains
    assert train_pack(pack.id, paths, "cpu")
    assert paths.receipt(pack.id).read_bytes() == told
    assert train_pack(other.id, paths, "cpu")
    assert json.loads(paths.receipt(other.id).read_text())["runs"] == {
        run.id: json.loads(told)["runs"][run.id] for run in runs[:2]
    }


def test_a_failure_harms_no_neighbour_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, runs = Paths(tmp_path), _runs()
    pack = write_pack(paths, runs)
    update = GradientDescent.update

    def broken(self: GradientDescent, objective: Any, theta: Any, state: Any, hyper: Any, random: Any) -> Any:
        if 1 in random._seeds:
            raise ZeroDivisionError("a defect of a member")
        return update(self, objective, theta, state, hyper, random)

    with monkeypatch.context() as patch:
        patch.setattr(GradientDescent, "update", broken)
        assert main(["train-pack", pack.id, "--results", str(tmp_path), "--device", "cpu"]) == 1
    assert [paths.run(run.id).exists() for run in runs] == [True, False, True]
    assert not paths.receipt(pack.id).exists()
    told = json.loads(paths.failures(pack.id).read_text())
    (failure,) = told["failures"]
    assert failure["run"] == runs[1].id
    assert "seed=1" in failure["fields"]
    assert failure["error"] == "ZeroDivisionError: a defect of a member"
    assert failure["log_tail"][-1] == failure["error"]
    assert any("broken" in line for line in failure["log_tail"])
    place = f"--results {tmp_path} --data-root data --device cpu"
    assert told["command"] == f"stepscape train-pack {pack.id} {place}"
    assert told["log"] == str(paths.log("train_pack", pack.id))
    assert "ZeroDivisionError: a defect of a member" in capsys.readouterr().err
    before = paths.run(runs[0].id).stat().st_mtime_ns
    assert train_pack(pack.id, paths, "cpu"), "mended, it goes on with what is missing"
    assert paths.run(runs[0].id).stat().st_mtime_ns == before
    assert not paths.failures(pack.id).exists()
    assert all(json.loads(paths.receipt(pack.id).read_text())["runs"].values()) is False, (
        "no receipt told of two of them"
    )


def test_an_observable_that_breaks_its_declaration_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, runs = Paths(tmp_path), _runs(1)
    pack = write_pack(paths, runs)
    monkeypatch.setattr(Losses, "measure", lambda *_: ({"train_loss": 0.0}, {}))
    assert not train_pack(pack.id, paths, "cpu")
    assert "declared" in json.loads(paths.failures(pack.id).read_text())["failures"][0]["error"]


def test_a_killed_job_loses_the_run_in_progress_alone(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    runs = [*_runs(2), make_run(seed=2, budget={"steps": 6000})]
    pack = write_pack(paths, runs)
    job = subprocess.Popen(_command(pack.id, paths), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not paths.run(runs[1].id).exists():
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(job.pid, signal.SIGKILL)
    finally:
        job.kill()
        assert job.wait(timeout=60) == -signal.SIGKILL
    assert [paths.run(run.id).exists() for run in runs] == [True, True, False]
    assert not paths.receipt(pack.id).exists()
    kept = [paths.run(run.id).stat().st_mtime_ns for run in runs[:2]]
    assert train_pack(pack.id, paths, "cpu")
    assert [paths.run(run.id).stat().st_mtime_ns for run in runs[:2]] == kept
    assert open_run(paths.run(runs[2].id)).attrs["updates"] == 6000
    assert paths.receipt(pack.id).exists()


@pytest.mark.parametrize("shared", ["a pack", "runs"])
def test_two_jobs_at_once_train_each_run_once(tmp_path: Path, shared: str) -> None:
    paths = Paths(tmp_path)
    runs = [make_run(seed=seed, budget={"steps": 300}) for seed in range(8)]
    parts = [runs, runs] if shared == "a pack" else [runs[:6], runs[2:]]
    packs = [write_pack(paths, part) for part in parts]
    jobs = [subprocess.Popen(_command(pack.id, paths), stdout=subprocess.PIPE, text=True) for pack in packs]
    outputs = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    trained = [line.split()[1] for output in outputs for line in output.splitlines() if "completed" in line]
    assert sorted(trained) == sorted(run.id for run in runs), outputs
    for pack in packs:
        assert json.loads(paths.receipt(pack.id).read_text())["runs"].keys() == {run.id for run in pack.runs}
    assert list(paths.leases.iterdir()) == list(paths.live_logs.iterdir()) == []


def test_a_pack_without_a_plan_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train-pack", "0" * 16, "--results", str(tmp_path)]) == 1
    assert "no plan of a pack" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"lr": 0.5', '"lr": 0.25'),
        lambda text: text.replace('"lr": 0.5', '"lr": NaN'),
        lambda text: text.replace(f'"engine": {ENGINE_VERSION}', '"engine": "?"'),
        lambda text: '{"pack": "x", "runs": [{}]}',
        lambda text: '{"pack": "x", "runs": [3]}',
        lambda text: '{"pack": "x", "runs": []}',
        lambda text: "[]",
    ],
)
def test_a_damaged_plan_is_refused(tmp_path: Path, damage: Any, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs(1))
    plan = paths.pack_plan(pack.id)
    given = plan.read_text()
    plan.write_text(damage(given))
    assert plan.read_text() != given
    assert main(["train-pack", pack.id, "--results", str(tmp_path), "--device", "cpu"]) == 1
    told = capsys.readouterr().err
    assert str(plan) in told
    assert "start Snakemake again" in told
    assert not paths.runs.exists()


def test_a_plan_of_another_member_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs(1))
    monkeypatch.setattr(GradientDescent, "version", 2)
    with pytest.raises(FileError, match=r"version 1 of .*gd[\s\S]*version 2, the one installed") as caught:
        train_pack(pack.id, paths, "cpu")
    assert str(paths.pack_plan(pack.id)) in str(caught.value)
    assert not paths.runs.exists()


# ------------------------------------------------------------------------------------------------------------ devices


def test_a_gpu_that_cannot_be_used_is_an_error_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs(1))
    assert main(["train-pack", pack.id, "--results", str(tmp_path), "--device", "cuda"]) == 1
    assert "cannot use a GPU" in capsys.readouterr().err
    assert not paths.runs.exists()
    for variable in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "3")
            with pytest.raises(StepscapeError, match="granted GPU 3"):
                prepare("auto")
            assert prepare("cpu") == CPU


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert prepare("auto") == CPU


def test_the_platform_record_names_neither_host_nor_clock() -> None:
    first, second = (platform_record(make_run(LEAST_SQUARES), CPU) for _ in range(2))
    assert first == second
    assert set(first) == {"torch", "device", "capability", "lanes", "chunk", "dtype", "threads"}
    assert (first["dtype"], first["threads"], first["torch"]) == ("float32", 1, torch.__version__)
