"""The benchmarks at a size of milliseconds: they run, and what they compare with is right. No times."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import collect, eigenpairs, gpu_lanes, planning, products, run_files, trajectory
from benchmarks.eigenpairs import REFERENCE_TOL, main, measure, residuals, solve_reference
from benchmarks.followers import FOLLOWERS, Measurement, forward_over_reverse
from benchmarks.problem import CLASSES, PIXELS, Problem, make_problem
from benchmarks.solvers import PACKAGES, SOLVERS, Found
from stepscape import registry
from stepscape.curvature import hvp
from stepscape.study.spec import load_study
from tests.factories import normal
from tests.references import dense_hessian, dense_top

TINY = ["--samples", "30", "--hidden", "4", "--steps", "60", "-k", "2", "--repeats", "2"]
OWN = [solver for solver in SOLVERS if solver not in PACKAGES]


@pytest.fixture(scope="module")
def problem() -> Problem:
    """A network of 114 parameters, trained until its largest eigenvalues are also those of largest magnitude."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(15, 4), nn.Tanh(), nn.Linear(4, CLASSES))
    made = Problem(module, normal(30, 15).float(), torch.eye(CLASSES)[torch.arange(30) % CLASSES])
    made.descend(300, 0.1)
    return made


def test_it_runs_and_names_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(eigenpairs, "find_spec", lambda package: None)
    threads = torch.get_num_threads()
    main(TINY)
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr().out
    assert "30 images, generated, no real ones" in printed
    for solver in SOLVERS:
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{solver}  ")]
        assert line.endswith("not installed" if solver in PACKAGES else "  yes"), line
    assert re.search(r"^stepscape: \d+ products, the bar is at most 32: met$", printed, re.MULTILINE)


def test_the_reference_is_that_of_the_dense_matrix(problem: Problem) -> None:
    reference = solve_reference(problem, 3)
    exact = problem.double()
    assert torch.equal(exact.theta, problem.theta.double())
    expected = dense_top(dense_hessian(exact.loss, exact.theta), 3)
    worst = ((reference.values - expected).abs() / expected).max().item()
    print(f"worst eigenvalue of the reference, relative: {worst:.1e}")
    assert worst < REFERENCE_TOL


@pytest.mark.parametrize("solver", OWN)
def test_solvers_without_other_packages_keep_their_tolerance(problem: Problem, solver: str) -> None:
    row = measure(solver, problem, solve_reference(problem, 2), 1e-3, repeats=2)
    assert row.residual <= 1e-3
    assert row.error <= row.residual
    assert row.bounded
    assert row.products >= 2


def test_a_wrong_eigenvalue_is_not_within_its_residual(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a solver that skips the largest eigenvalue returns: good pairs, and not the ones asked for."""
    reference = solve_reference(problem, 2)
    found = SOLVERS["stepscape"](problem, 3, 1e-3, 0)
    assert residuals(reference.operator, found).max() <= 1e-3
    monkeypatch.setitem(SOLVERS, "skips", lambda *_: Found(found.values[1:], found.vectors[1:], found.products))
    row = measure("skips", problem, reference, 1e-3, repeats=1)
    assert row.residual <= 1e-3
    assert not row.bounded


def test_images_of_a_file_are_standardised_pixel_by_pixel(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(256, size=(12, 32, 32, 3), dtype=np.uint8), random.integers(10, size=12)
    images[:, 0, 0, 0] = 7
    np.savez(tmp_path / "images.npz", x_train=images, y_train=labels.astype(np.uint8))
    made = make_problem(tmp_path / "images.npz", 10, [2])
    assert made.inputs.shape == (10, PIXELS)
    assert made.targets.argmax(dim=1).tolist() == labels[:10].tolist()
    assert made.targets.sum().item() == 10
    assert made.targets.shape == (10, CLASSES)
    torch.testing.assert_close(made.inputs.mean(dim=0), torch.zeros(PIXELS), atol=1e-6, rtol=0)
    torch.testing.assert_close(made.inputs[:, 1:].std(dim=0, correction=0), torch.ones(PIXELS - 1))
    assert not made.inputs[:, 0].any(), "a pixel that is the same everywhere"
    with pytest.raises(ValueError, match="holds 12 images; allowed: at least 13"):
        make_problem(tmp_path / "images.npz", 13, [2])


def test_followers_run_and_every_bar_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--nets", "small", "--samples", "40", "--hidden", "3", "--steps", "20", "-k", "2", "--repeats", "2"]
    trajectory.main(arguments)
    printed = capsys.readouterr().out
    for name in FOLLOWERS:
        (line,) = [line for line in printed.splitlines() if line.startswith(f"{name}  ")]
        assert line.split()[-1] == "0", f"eigenvalues missed: {line}"
    assert printed.count("start without the first eigenvector, drift") == len(trajectory.DRIFTS)
    assert printed.count("with an audit 2 of 2 times") == len(trajectory.DRIFTS)
    assert printed.count("0 eigenvalues missed, the bar is none: met") == 2
    for name in trajectory.LEAST_RATIOS:
        assert re.search(rf"^{name}: [\d.]+ times the CPU seconds, the bar is at least \d+: ", printed, re.MULTILINE)


@pytest.mark.parametrize("name", FOLLOWERS)
def test_followers_agree_with_the_dense_matrix_cold_and_warm(problem: Problem, name: str) -> None:
    exact = problem.double()
    expected = dense_top(dense_hessian(exact.loss, exact.theta), 2)
    cold = FOLLOWERS[name](problem, 0, 2, 1e-3, None)
    warm = FOLLOWERS[name](problem, 1, 2, 1e-3, cold.memory)
    for measured in (cold, warm):
        assert ((measured.found.values.double() - expected).abs() <= 1e-4 * expected).all()
    assert (cold.audit_products > 0) == (name == "stepscape, audited")


def test_a_trajectory_is_that_of_gradient_descent(problem: Problem) -> None:
    points = list(trajectory.trajectory(Problem(problem.copy().module, problem.inputs, problem.targets), 0.1, 4, 2))
    point = problem.theta.requires_grad_()
    for _ in range(4):
        point = (point - 0.1 * torch.autograd.grad(problem.loss(point), point)[0]).detach().requires_grad_()
    assert len(points) == 3
    assert torch.equal(points[0].theta, problem.theta)
    torch.testing.assert_close(points[-1].theta, point.detach(), rtol=1e-5, atol=1e-6)


def test_forward_over_reverse_products_are_those_of_the_graph(problem: Problem) -> None:
    block = normal(3, len(problem.theta)).float()
    torch.testing.assert_close(forward_over_reverse(problem)(block), hvp(problem.loss, problem.theta)(block))


def test_what_follows_a_missed_eigenvalue_is_counted(problem: Problem) -> None:
    exact = trajectory.reference(problem, 2)
    found = SOLVERS["stepscape"](problem, 3, 1e-3, 0)
    skips = Measurement(Found(found.values[1:], found.vectors[1:], found.products))
    row = trajectory.judge([skips], 1.0, [exact])
    assert row.missed == 2
    assert row.residual <= 1e-3


def test_run_files_are_the_same_by_both_ways(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = ["--arrays", "2", "--steps", "30", "--files", "3"]
    run_files.main(tiny)
    assert capsys.readouterr().out.endswith("same bytes: yes\n")
    monkeypatch.setattr(run_files, "encoded", lambda ds: {"zarr.json": b""})
    run_files.main(tiny)
    assert capsys.readouterr().out.endswith("same bytes: no\n")


def test_collecting_prints_every_row_and_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "_members", dict(registry._members))
    collect.main(["--runs", "40", "--more", "20", "--small", "20", "--steps", "200"])
    printed = capsys.readouterr().out
    for row in (r"xarray\S+ to_zarr +20", r"stepscape +40", "stepscape, nothing new +40", "stepscape, 20 more +60"):
        assert re.search(rf"^{row} ", printed, re.MULTILINE), row
    for bar in ("collecting", "peak memory", "more runs", "open_study", *collect.ASKED):
        assert re.search(rf"^{bar}: [\d.]+ .*, the bar is at most [\d.]+: (met|NOT MET)$", printed, re.MULTILINE), bar


@pytest.mark.parametrize("net", gpu_lanes.NETS)
def test_lanes_of_the_device_benchmark_are_its_networks(net: str) -> None:
    work = gpu_lanes.workload(net, 3, torch.device("cpu"))
    theta, rates = work.start(2), torch.tensor([0.01, 0.02])
    together = gpu_lanes.update(work, theta, rates)
    for lane in range(2):
        alone = gpu_lanes.update_one(work, {name: value[lane] for name, value in theta.items()}, rates[lane].item())
        for name, value in alone.items():
            torch.testing.assert_close(together[name][lane], value, rtol=1e-4, atol=1e-5)


def test_the_device_benchmark_prints_a_row_for_each_number_of_lanes(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cpu", "--lanes", "2", "3", "--samples", "2", "--budget", "0.001"]
    gpu_lanes.main([*arguments, "--nets", "cnn 16-32"])
    printed = capsys.readouterr().out
    for row in ("one after another", "2 lanes", "3 lanes"):
        assert row in printed


def test_products_of_every_architecture_are_timed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [replace(each, input_shape=(*each.input_shape[:-2], 8, 8)) for each in products.ARCHITECTURES]
    monkeypatch.setattr(products, "ARCHITECTURES", tiny)
    products.main(["--samples", "4", "--repeats", "2"])
    rows = capsys.readouterr().out.splitlines()[3:]
    assert [row.split()[0] for row in rows] == [each.model["name"] for each in tiny]
    assert sum("the bar is at most" in row for row in rows) == 4
    assert {each.model["name"] for each in tiny} == {"mlp", "cnn", "residual", "transformer"}


def test_the_studies_that_are_planned_have_the_runs_that_are_said(tmp_path: Path) -> None:
    for name, text, runs in (("few", planning.trivial(), 4), ("many", planning.large(4000), 4000)):
        (tmp_path / f"{name}.yaml").write_text(text)
        assert len({run.id for run in load_study(tmp_path / f"{name}.yaml").runs}) == runs


def test_planning_takes_what_its_commands_take(tmp_path: Path) -> None:
    """Of a study of four runs: planned, asked of Snakemake twice, and parsed as in a job, which makes nothing."""
    folder = planning.checkout(tmp_path / "checkout", planning.trivial())
    found = planning.measure(folder)
    assert len(found) == 4
    assert all(taken.cpu > 0.05 and taken.megabytes > 10 for taken in found.values()), found
    assert not (folder / "results/runs").exists()
    with pytest.raises(RuntimeError, match=r"stepscape plan nowhere failed:[\s\S]*nowhere"):
        planning.take(folder, "stepscape", "plan", "nowhere")


def test_planning_prints_every_row_and_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(folder: Path) -> dict[str, planning.Taken]:
        (folder / "results/packs").mkdir(parents=True)
        slower = 40.0 if folder.name == "many" else 1.0
        rows = ("plan", "the first", "another", "in a job")
        return {row: planning.Taken(slower, 100) for row in rows}

    monkeypatch.setattr(planning, "measure", measure)
    planning.main(["--runs", "2000"])
    printed = capsys.readouterr().out
    assert printed.startswith("2000 runs in 0 packs\n")
    for row in ("plan", "the first", "another", "in a job"):
        assert re.search(rf"^{row} +1\.00 s 100 MB +40\.00 s 100 MB +40\.0$", printed, re.MULTILINE), row
    for row in ("plan", "the first", "another"):
        assert f"{row}: 40.00 CPU s, the bar is at most 15: NOT MET\n" in printed
        assert f"{row}: 100.00 MB, the bar is at most 500: met\n" in printed
    assert printed.endswith("in a job, more than for 4 runs: 39.00 CPU s, the bar is at most 0.5: NOT MET\n")
