"""Numbers that may change only together with a version.

Twenty steps in float64, below the edge of stability, where rounding does not grow. If this fails and the change is
meant, raise the version of the member whose numbers changed (or `ENGINE_VERSION`), so that old runs keep their ids,
and write the file anew: `python -m tests.golden.test_numbers`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stepscape.datasets._root import use_data_root
from stepscape.registry import members
from stepscape.study.identity import ENGINE_VERSION
from stepscape.study.restore import restore_run
from stepscape.training.loop import train_run
from tests import stand_ins

FILE = Path(__file__).with_name("numbers.json")
TOLERANCE = 1e-10


def spec(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "dataset": {"name": "digits", "train_size": 60, "test_size": 30},
        "model": {"name": "mlp", "hidden": [5]},
        "loss": {"name": "mse"},
        "optimizer": {"name": "gd"},
        "lr": 0.05,
        "batch_size": 20,
        "seed": 3,
        "budget": {"steps": 20},
        "dtype": "float64",
    }
    return base | changes


IMAGES = {"name": "digits", "train_size": 60, "test_size": 30, "shape": "image"}
ACTIVATIONS = ("relu", "elu", "gelu", "softplus")
GENERATED = (
    "chebyshev",
    "gaussian_mixture",
    "heavy_tailed_classes",
    "mnist1d",
    "multi_index",
    "single_index",
    "sparse_parity",
)
PUBLISHED = ("cifar10", "fashion_mnist", "mnist", "sst2")
"""Datasets of archives: of their stand-ins, as are those of users' files."""

CASES = {
    "gd": spec(),
    "gd with branch noise": spec(branch_noise=1e-3),
    "rmsprop": spec(optimizer={"name": "rmsprop"}, lr=1e-3),
    "adam": spec(optimizer={"name": "adam"}, lr=1e-3),
    "adamw": spec(optimizer={"name": "adamw"}, lr=1e-3),
    "heavy ball": spec(optimizer={"name": "heavy_ball"}, lr=0.01),
    "label noise": spec(optimizer={"name": "label_noise_sgd", "beta": 0.5}, lr=0.01),
    "label noise, gaussian": spec(optimizer={"name": "label_noise_sgd", "law": "gaussian"}),
    "ema momentum": spec(optimizer={"name": "ema_momentum"}),
    "nesterov": spec(optimizer={"name": "nesterov"}, lr=0.01),
    "normalised gd": spec(optimizer={"name": "normalised_gd"}, lr=0.02),
    "sign descent": spec(optimizer={"name": "sign_descent"}, lr=1e-3),
    "scalar rmsprop": spec(optimizer={"name": "scalar_rmsprop"}, lr=1e-2),
    "stable flow": spec(optimizer={"name": "stable_flow"}, lr=0.2),
    "stable flow of rmsprop": spec(optimizer={"name": "stable_flow", "of": "rmsprop", "initial": 1e-3}, lr=0.01),
    "central flow": spec(optimizer={"name": "central_flow"}, lr=0.6, batch_size=60),
    "central flow of rmsprop": spec(
        optimizer={"name": "central_flow", "of": "rmsprop", "initial": 1e-3}, lr=0.015, batch_size=60
    ),
    "constrained gd": spec(optimizer={"name": "constrained_gd"}, lr=0.3, batch_size=60),
    "digits, two halves": spec(dataset={"name": "digits", "train_size": 60, "test_size": 30, "targets": "sign"}),
    "linear decay": spec(schedule={"name": "linear_decay"}),
    "cosine": spec(schedule={"name": "cosine"}),
    "warm-up": spec(schedule={"name": "warm_up", "steps": 5}),
    "warm-up, then linear decay": spec(schedule={"name": "warm_up", "steps": 5, "then": "linear_decay", "end": 0.1}),
    "warm-up, then cosine": spec(schedule={"name": "warm_up", "steps": 5, "then": "cosine"}),
    **{f"mlp, {name}": spec(model={"name": "mlp", "hidden": [5], "activation": name}) for name in ACTIVATIONS},
    "mlp, ntk scaling": spec(model={"name": "mlp", "hidden": [5], "scaling": "ntk"}, lr=0.2),
    "teacher": spec(dataset={"name": "teacher", "train_size": 60, "test_size": 30, "noise": 0.1}),
    **{name: spec(dataset={"name": name, "train_size": 60, "test_size": 60}) for name in (*GENERATED, *PUBLISHED)},
    "heavy_tailed_classes, uniform": spec(
        dataset={"name": "heavy_tailed_classes", "train_size": 60, "test_size": 60, "spread": "uniform"}
    ),
    "file": spec(dataset={"name": "file"}),
    "text": spec(dataset={"name": "text", "context": 4}),
    "mnist, by pixel": spec(dataset={"name": "mnist", "scale": "pixel", "take": "random"}),
    "multi_index, additive": spec(dataset={"name": "multi_index", "link": "additive"}),
    "cross entropy, full batch": spec(loss={"name": "cross_entropy"}, batch_size=60),
    "linear": spec(model={"name": "linear"}),
    "deep linear": spec(model={"name": "deep_linear", "hidden": [5, 4]}),
    "two layers": spec(model={"name": "two_layer", "width": 9, "activation": "gelu"}, lr=0.02),
    "cnn": spec(model={"name": "cnn", "channels": [2, 3]}, dataset=IMAGES),
    "residual": spec(model={"name": "residual", "channels": [2, 3], "norm": "layer"}, dataset=IMAGES),
    "transformer": spec(model={"name": "transformer", "width": 4, "depth": 1}, dataset=IMAGES),
    "student neurons": spec(
        model={"name": "student_neurons", "neurons": 3, "scale": 1.0},
        dataset={"name": "teacher_neuron"},
        loss={"name": "mean_output"},
        batch_size=1,
    ),
    "matrix factorisation": spec(
        model={"name": "matrix_factorisation", "columns": 3},
        dataset={"name": "matrix_sensing", "size": 6, "train_size": 60, "test_size": 30, "noise": 0.1},
        lr=0.01,
    ),
    "quadratic": spec(dataset={"name": "quadratic"}, model={"name": "linear", "bias": False}, lr=0.5, batch_size=4),
}
OBSERVED = {
    "losses": {"every": 5},
    "gradient_norm": {"every": 5},
    "hessian_top": {"every": 10, "k": 2, "tol": 1e-10},
    "preconditioned_top": {"at": [20], "tol": 1e-10},
    "batch_top": {"at": [10], "tol": 1e-10},
    "hessian_subspace": {"every": 20, "k": 2, "tol": 1e-10, "references": [0], "sketch": 16, "shuffles": 3},
    "distance": {"at": [10, 20]},
    "noise_scale": {"at": [20]},
    "hessian_noise": {"at": [20], "probes": 2, "tol": 1e-10},
    "hessian_density": {"at": [20], "probes": 2, "nodes": 4},
    "gauss_newton_top": {"at": [20], "tol": 1e-10},
    "gauss_newton_trace": {"at": [20]},
    "residual_hessian": {"at": [20], "tol": 1e-10},
    "hessian_diagonal": {"at": [20], "probes": 2},
    "hessian_spectrum": {"at": [20]},
    "tangent_kernel": {"at": [20], "samples": 3, "k": 2},
    "feature_kernel": {"at": [20], "samples": 3, "k": 2},
    "first_layer": {"at": [20]},
    "layer_singular_values": {"at": [20], "k": 1},
    "layer_blocks": {"at": [20], "tol": 1e-10},
    "layer_diagonals": {"at": [20], "entries": 3},
    "per_class": {"at": [20]},
    "time_average": {"every": 10},
    "self_stabilisation": {"at": [20], "tol": 1e-10},
    "parameters": {"at": [20]},
}


def versioned(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    version = next(cls.version for cls in members(kind) if cls.name == given["name"])
    return {"version": version, **given}


def numbers(case: dict[str, Any]) -> dict[str, Any]:
    whole = {
        key: versioned(key, value) if isinstance(value, dict) and "name" in value else value
        for key, value in case.items()
    }
    whole["dataset"] = {**stand_ins.user_files().get(case["dataset"]["name"], {}), **whole["dataset"]}
    observe = {name: versioned("observable", {"name": name, **fields}) for name, fields in OBSERVED.items()}
    for fields in observe.values():
        fields.pop("name")
    run = restore_run({**whole, "observe": observe, "engine": ENGINE_VERSION})
    observe = {member.name: observe[member.name] for member in run.observe if member.fault(run) is None}
    if run.parameter_count >= 1000:  # a dense Hessian of so many takes too long
        observe.pop("hessian_spectrum", None)
    run = restore_run({**whole, "observe": observe, "engine": ENGINE_VERSION})
    record = train_run(run, torch.device("cpu"))
    kept = ("train_loss", "test_loss", "gradient_norm", "hessian_eigenvalue", "preconditioned_eigenvalue")
    kept += ("batch_hessian_eigenvalue",)
    kept += ("hessian_trace", "hessian_frobenius", "density_node", "density_weight")
    kept += ("average_loss", "average_squared_gradient", "mean_step_size", "mean_squared_preconditioner")
    kept += ("oscillation_modes", "oscillation_variance")
    kept += ("distance", "noise_scale", "hessian_noise", "gauss_newton_eigenvalue", "gauss_newton_trace")
    kept += ("tangent_kernel_eigenvalue",)
    if "hessian_spectrum" in observe:
        kept += ("spectrum_trace", "spectrum_top")
        if case["optimizer"]["name"] == "label_noise_sgd":  # others may have no threshold, and no known weight
            kept += ("label_noise_regulariser", "label_noise_loss", "implicit_weight")
    if "feature_kernel" in observe:
        kept += ("tangent_kernel_alignment", "feature_kernel_eigenvalue")
    if "per_class" in observe:
        kept += ("class_loss", "class_gradient_norm", "class_hessian_trace")
    kept += ("layer_singular_value", "layer_block_eigenvalue", "layer_diagonal_largest", "layer_diagonal_median")
    if case["model"]["name"] != "linear":  # its eigenvalues repeat, and rounding chooses among their eigenvectors
        kept += ("residual_hessian_eigenvalue",)  # of a linear one, it is rounding
        kept += ("hessian_noise_top", "hessian_noise_along")
        kept += ("progressive_sharpening", "stabilisation", "path_second")
        kept += ("subspace_eigenvalue", "subspace_reference_overlap", "subspace_null", "gradient_share")
    found = {name: np.asarray(record.values[name]).ravel().astype(float).tolist() for name in kept}
    if "first_layer" in observe:
        found["first_layer"] = [
            *record.values["first_layer_eigenvalue"][0][:3],
            *record.values["first_layer_alignment"][0],
        ]
    for name in ("parameters", "hessian_diagonal"):
        row = record.values[name][0]
        found[name] = [float(row.sum()), float(np.abs(row).sum()), float(row @ np.cos(np.arange(len(row))))]
    return {"versions": _versions(run.spec), "numbers": found}


def _versions(spec: dict[str, Any]) -> dict[str, int]:
    held = {key: value["version"] for key, value in spec.items() if isinstance(value, dict) and "version" in value}
    observed = {f"observe.{name}": value["version"] for name, value in spec["observe"].items()}
    return {**held, **observed, "engine": spec["engine"]}


def test_numbers_change_only_with_a_version() -> None:
    golden = json.loads(FILE.read_text())
    assert set(golden) == set(CASES), "cases were added or removed: write the file anew"
    for name, case in CASES.items():
        found = numbers(case)
        assert found["versions"] == golden[name]["versions"], f"{name}: a version changed: write the file anew"
        for quantity, expected in golden[name]["numbers"].items():
            worst = np.max(np.abs(np.subtract(found["numbers"][quantity], expected)) / np.maximum(np.abs(expected), 1))
            assert worst < TOLERANCE, f"{name}: {quantity} is off by {worst:.1e} and no version changed"


def test_every_member_that_makes_numbers_is_in_a_case() -> None:
    kinds = ("dataset", "model", "loss", "optimizer", "schedule")
    used = {case[kind]["name"] for case in CASES.values() for kind in kinds if kind in case}
    used |= set(OBSERVED) | {"constant"}
    assert {cls.name for kind in (*kinds, "observable") for cls in members(kind)} <= used


if __name__ == "__main__":
    use_data_root(stand_ins.data_root())
    FILE.write_text(json.dumps({name: numbers(case) for name, case in CASES.items()}, indent=1) + "\n")
