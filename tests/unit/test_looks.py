"""The looks at studies, on runs of their own grids a few steps long: they run, and what they print is right."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from benchmarks.looks import (
    central_flows,
    class_imbalance,
    edge_of_stability,
    label_noise,
    momentum,
    self_stabilisation,
    spectral_evolution,
    step_size_batch_size,
)
from benchmarks.looks.__main__ import LOOKS, untold
from benchmarks.looks.__main__ import main as list_untold
from stepscape.analysis.batch_hessian import batch_sharpness
from stepscape.analysis.class_groups import best_runs
from stepscape.analysis.label_noise import NoisePath
from stepscape.claims.aligned_outlier import AlignedOutlier
from stepscape.claims.class_losses_closer import ClassLossesCloser
from stepscape.claims.flow_predicts import FlowPredicts
from stepscape.claims.gradient_follows_curvature import GradientFollowsCurvature
from stepscape.claims.loss_follows_rarity import LossFollowsRarity
from stepscape.claims.momentum_equivalent import MomentumEquivalent
from stepscape.claims.stays_closer import StaysCloser
from stepscape.store.collect import open_study
from stepscape.study.paths import DataPaths, Paths
from stepscape.study.spec import load_study
from tests.factories import collected, sharpness_dataset

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "config/studies"
SEEDS = 2
MOST = {"train_size": 40, "test_size": 20, "classes": 15, "hidden": 4}
SMALL: Mapping[str, Mapping[str, int]] = {
    "adaptive_geometry": {"faster": 40, "train_size": 100, "entries": 2, "width": 4},
    "central_flows": {"faster": 2, "hidden": 16, "blocks": 4},
    "class_imbalance": {"faster": 15},
    "edge_of_stability": {"faster": 20, "blocks": 11},
    "flatter_faster": {"faster": 60, "size": 8},
    "hessian_inertia": {"faster": 2, "hidden": 8, "k": 3, "blocks": 1},
    "label_noise": {"faster": 40},
    "momentum": {"faster": 16, "train_size": 160},
    "self_stabilisation": {"faster": 4, "hidden": 8},
    "spectral_evolution": {"faster": 10, "inputs": 40, "train_size": 80, "width": 60, "samples": 20, "k": 20},
}
"""What budgets and clocks are divided by, how many blocks the grid has, and sizes beside those in `MOST`."""


def look(name: str) -> Any:
    return importlib.import_module(f"benchmarks.looks.{name}")


def small(study: str, faster: int, blocks: int | None = None, **most: int) -> Any:
    """A study's content, small, which judges nothing."""
    content = shortened(read(study), faster, **most)
    return {**content, "grid": content["grid"][:blocks], "claims": [], "figures": []}


def shortened(given: Any, faster: int, **most: int) -> Any:
    """A part of a study with two seeds and few samples, its budgets and clocks divided by `faster`."""
    if isinstance(given, list):
        return [shortened(part, faster, **most) for part in given]
    if not isinstance(given, dict):
        return given
    found = {key: shortened(value, faster, **most) for key, value in given.items()}
    for key in found.keys() & {"seed", "dataset.subset_seed"}:
        found[key] = found[key][:SEEDS] if isinstance(found[key], list) else found[key]
    for key in found.keys() & {"steps", "every", "step", "at"}:
        found[key] = fewer(found[key], faster)
    found |= {key: at_most(found[key], size) for key, size in {**MOST, **most}.items() if key in found}
    if "path" in found:
        found["path"] = str((STUDIES / found["path"]).resolve())
    return found


def at_most(given: Any, size: int) -> Any:
    return [at_most(each, size) for each in given] if isinstance(given, list) else min(given, size)


def read(study: str) -> Any:
    return yaml.safe_load((STUDIES / f"{study}.yaml").read_text())


def small_scaling() -> Any:
    """The smoke size of the study of batch sizes, with the sweeps that it leaves out."""
    base, smoke = read("step_size_batch_size"), read("step_size_batch_size_smoke")
    rates, ends = {"geometric": [0.03125, 32], "factor": 4}, {"losses": {"at": [0, 20]}}
    optimizers = [{"name": "heavy_ball", "beta": 0.9}, {"name": "rmsprop", "beta2": 0.999}]
    epochs = {"optimizer": "gd", "lr": rates, "budget": {"epochs": 4}, "observe": {"losses": {"every": 4}}}
    more = [{"optimizer": each, "lr": rates, "budget": {"steps": 20}, "observe": ends} for each in optimizers]
    defaults = {**base["defaults"], **smoke["defaults"]}
    return {"title": "Small", "defaults": defaults, "grid": [*smoke["grid"], *more, epochs]}


def fewer(steps: Any, faster: int) -> Any:
    if isinstance(steps, list):
        return sorted({fewer(step, faster) for step in steps})
    return max(round(steps / faster), 1) if steps else 0


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, stand_in_root: Path) -> Paths:
    return Paths(tmp_path_factory.mktemp("looks") / "results", DataPaths(stand_in_root))


def datasets(name: str, results: Paths) -> Mapping[str, xr.Dataset]:
    """Those of the studies that a look opens, short ones, trained when they are first asked for."""
    names, folder = look(name).STUDIES, results.root.parent / "studies"
    folder.mkdir(exist_ok=True)
    for study in names:
        content = small_scaling() if name == "step_size_batch_size" else small(study, **SMALL[name])
        (folder / f"{study}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    missing = [study for study in names if not (results.root / "studies" / study).exists()]
    for study in missing:
        collected(load_study(folder / f"{study}.yaml"), results)
    return {study: open_study(results.root / "studies" / study).load() for study in names}


@pytest.mark.parametrize("name", LOOKS)
def test_they_run(name: str, results: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    datasets(name, results)
    capsys.readouterr()
    look(name).main(["--results", str(results.root)])
    printed = capsys.readouterr().out.splitlines()
    headings = [line for line in printed if not line.startswith("  ")]
    assert headings
    assert len(printed) > 2 * len(headings)
    assert f"python -m benchmarks.looks.{name}" in (STUDIES / f"{name}.md").read_text(), "the page does not name it"


@pytest.mark.parametrize("name", LOOKS)
def test_what_is_missing_is_told_with_the_command_that_makes_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"--config studies={name}$"):
        look(name).main(["--results", str(tmp_path)])


def test_a_look_at_class_imbalance_averages_to_what_is_judged(results: Paths) -> None:
    ds = datasets("class_imbalance", results)["class_imbalance"]
    linear = ds.stepscape.runs(**class_imbalance.RARE)
    adam = linear.stepscape.runs(optimizer="adam")
    best = adam.isel(run=[each.run for each in best_runs(adam)])
    for measured, claim in (
        (class_imbalance.rarity(best), LossFollowsRarity(fewest=2)),
        (class_imbalance.curvature(best), GradientFollowsCurvature(fewest=2)),
    ):
        assert np.mean(measured) == pytest.approx(claim.judge(adam).value, rel=1e-12)
    ratios = [float(line.split(";")[0]) for line in class_imbalance.distances(linear)]
    assert np.exp(np.mean(np.log(ratios))) == pytest.approx(ClassLossesCloser(fewest=2).judge(linear).value, rel=0.01)


def test_perturbation_theory_is_that_of_the_points_and_of_a_dense_matrix(results: Paths) -> None:
    """The coupling adds up to what `hessian_noise` found, and the rise is that of a matrix with a little noise."""
    ds = datasets("step_size_batch_size", results)["step_size_batch_size"]
    still = ds.stepscape.runs(lr=step_size_batch_size.STILL).sortby("seed")
    point, whole = batch_sharpness(still)[0], still.isel(run=still.full_batch.values)
    values, coupling = step_size_batch_size.spectrum(str(whole.run.values[0]), results)
    assert values[0] == pytest.approx(point.sharpness, rel=1e-4)
    assert coupling[1:].sum() == pytest.approx(point.noise["top"], rel=1e-3)

    values, couplings, small = np.array([1.0, 0.8, 0.1, -0.2]), np.array([0.0, 3.0, 1.0, 2.0]), 1e-4
    noise = np.zeros((4, 4))
    noise[0] = noise[:, 0] = small * np.sqrt(couplings)
    rise = np.linalg.eigvalsh(np.diag(values) + noise)[-1] - values[0]
    simple = small**2 * couplings.sum() / values[0]
    assert step_size_batch_size.perturbed(values, couplings) == pytest.approx(rise / simple, rel=1e-4)


def noise_path(run: int, seed: int, trace: np.ndarray, top: np.ndarray) -> NoisePath:
    steps = 10 * np.arange(len(trace))
    return NoisePath(run, seed, "", 1.0, steps, steps, trace, top, np.zeros(len(trace)), np.zeros(len(trace)))


def test_slopes_at_equal_traces_are_not_those_of_the_pace() -> None:
    """Learning rates that lower the trace at different paces, and a share that depends on both as powers."""
    rates, paths = [0.1, 0.2, 0.4] * 2, []
    for run, lr in enumerate(rates):
        trace = np.exp(-np.linspace(0, 1 + 3 * lr, 41))
        paths.append(noise_path(run, run // 3, 2 * trace, 2 * trace * lr**0.3 * trace**-0.5))
    found = label_noise.slope_in(xr.Dataset({"lr": ("run", rates)}), paths, (0.3, 0.7))
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.3, 0.3), rel=1e-9)
    assert np.isnan(label_noise.slope_in(xr.Dataset({"lr": ("run", rates)}), paths, (1.5, 2)).value)
    assert label_noise.halved(noise_path(0, 0, np.array([8.0, 6.0, 3.0]), np.ones(3))) == pytest.approx(10 + 20 / 3)


def test_the_largest_difference_of_twins_is_what_is_judged(results: Paths) -> None:
    ds = datasets("momentum", results)["momentum"]
    told = [line for line in momentum.lines(results) if line.startswith("  B = 8") and " 1 of the best" in line]
    gaps = [float(gap) for line in told for gap in line.partition(": ")[2].split(";")[0].split(", ")]
    judged = MomentumEquivalent().judge(
        ds.stepscape.runs(batch_size=8, optimizer=["gd", "momentum 0.5", "momentum 0.9"])
    )
    assert len(told) == 2
    assert max(map(abs, gaps)) == pytest.approx(abs(judged.value), rel=0.01)


def test_outliers_run_by_run_are_those_that_are_judged(results: Paths) -> None:
    """Runs with one outlier and a cosine above a half, counted in the printed lines, and by the claim."""
    ds = datasets("spectral_evolution", results)["spectral_evolution"]
    every = ds.stepscape.runs(model=spectral_evolution.BOTH)
    told = [line for line in spectral_evolution.outliers(every) if ": 1 beyond" in line]
    aligned = sum(float(line.rpartition(" ")[2]) > 0.5 for line in told)
    judged = AlignedOutlier().judge(every)
    assert 0 < aligned < every.sizes["run"]
    assert judged.value == pytest.approx(aligned / judged.runs["judged"])


def test_distances_run_by_run_average_to_what_is_judged(results: Paths) -> None:
    ds = datasets("self_stabilisation", results)["self_stabilisation"]
    ratios = self_stabilisation.closeness(ds)
    judged = StaysCloser(near="constrained_gd", fewest=2).judge(self_stabilisation.longest(ds))
    assert list(ratios) == list(range(SEEDS))
    assert np.mean(list(ratios.values())) == pytest.approx(judged.value)


def test_errors_seed_by_seed_average_to_what_is_judged(results: Paths) -> None:
    ds = datasets("central_flows", results)["central_flows"].stepscape.runs(lr=0.5)
    told = [line for line in central_flows.lines(results) if "lr 0.5, averaged over 30 steps, 100 left out" in line]
    errors = [float(error) for line in told for error in line.partition(": ")[2].split(", ")]
    judged = FlowPredicts(quantity="squared_gradient", after=100, fewest=2).judge(ds)
    assert len(errors) == SEEDS
    assert np.mean(errors) == pytest.approx(judged.value, rel=0.02)


def test_medians_are_of_the_runs_that_reached_the_threshold_in_time() -> None:
    steps = range(0, 200, 10)
    rises = np.concatenate([np.linspace(0.2, 1.1, 10), np.full(10, 1.04)])
    ds = sharpness_dataset(np.stack([rises, rises / 2, rises]), steps=steps, updates=190, lr=[0.5, 0.5, 1.0])
    assert list(edge_of_stability.medians(ds, "gd")) == ["  gd, lr 0.5: 1.04", "  gd, lr 1: 1.04"]
    never = ds.isel(run=[1])
    assert list(edge_of_stability.medians(never, "gd")) == ["  gd, lr 0.5: none reached it in time"]


@pytest.mark.parametrize(
    ("page", "told", "missing"),
    [
        ("ratios of 0.65 to 0.77, in this one 3.5", "0.653, 0.7749; 3.5", []),
        ("at 0.1 [-0.21, 1e-5], 20 %", "0.1; -0.208, 9.6e-06; 0.2", []),
        ("at 0.651 or 0.66, 21 %, 2e-5", "0.65; 0.2; 1e-05", ["0.651", "0.66", "21", "2e-5"]),
        ("{{ claims.a.value }} and `lr 7`\n1. one of 12", "nothing", ["12"]),
        ("-0.3 is not 0.3, x2 and B8 are names", "0.3", ["-0.3"]),
    ],
)
def test_numbers_on_a_page_that_no_look_prints_are_listed(page: str, told: str, missing: list[str]) -> None:
    assert [line.partition(":")[0] for line in untold(page, told)] == missing


def test_pages_name_what_is_not_printed(results: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Numbers of a few short steps are not those of the page."""
    datasets("momentum", results)
    monkeypatch.setattr("benchmarks.looks.__main__.LOOKS", ["momentum"])
    capsys.readouterr()
    list_untold(["--results", str(results.root)])
    heading, *listed = capsys.readouterr().out.splitlines()
    assert heading == "config/studies/momentum.md"
    assert any(line.startswith("  0.45: ... ") for line in listed), listed


def test_a_reader_that_has_seen_enough_ends_a_look() -> None:
    words = "from benchmarks.looks import say; say(str(number) for number in range(10**6))"
    with subprocess.Popen(
        [sys.executable, "-c", words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as told:
        assert told.stdout is not None
        assert told.stderr is not None
        assert told.stdout.readline() == "0\n"
        told.stdout.close()
        assert told.stderr.read() == ""
    assert told.returncode == 0
