"""The diagonal of the Hessian layer by layer, and two optimizers compared where their losses are equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from benchmarks.looks import adaptive_geometry
from stepscape.analysis.matched_loss import LEVELS, descent, matched
from stepscape.claims.more_uniform_curvature import MoreUniformCurvature
from stepscape.curvature import diagonal_entries
from stepscape.figures.curvature_uniformity import CurvatureUniformity
from stepscape.observables._layers import layers
from stepscape.study.paths import Paths
from stepscape.training.problem import Problem
from tests import references
from tests.factories import SMALL_DIGITS, final_parameters, make_run, normal, train

LOSSES = np.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.25])


def runs(ratio: Callable[[str, int, np.ndarray], np.ndarray], seeds: int = 3) -> xr.Dataset:
    """Runs of two optimizers, two learning rates each, of which the second is better; `ratio` is R_med (n, layers)."""
    rows = [(name, lr, seed) for name in ("adam", "heavy_ball") for lr in (0.1, 0.2) for seed in range(seeds)]
    losses = [LOSSES * (1 if lr == 0.2 else 2) for _, lr, _ in rows]
    ratios = [ratio(name, seed, held) for (name, _, seed), held in zip(rows, losses, strict=True)]
    measured, layered = ("run", "layer_diagonals_measurement"), ("run", "layer_diagonals_measurement", "layer")
    return xr.Dataset(
        {
            "layer_diagonal_loss": (measured, losses),
            "layer_diagonal_largest": (layered, 3.0 * np.stack(ratios)),
            "layer_diagonal_median": (layered, np.full_like(np.stack(ratios), 3.0)),
            "final_train_loss": ("run", [held[-1] for held in losses]),
        },
        {
            "run": [f"{index:02}" for index in range(len(rows))],
            "optimizer": ("run", [name for name, _, _ in rows]),
            "lr": ("run", [lr for _, lr, _ in rows]),
            "seed": ("run", [seed for _, _, seed in rows]),
            "model": ("run", ["mlp"] * len(rows)),
            "dataset": ("run", ["digits"] * len(rows)),
            "status": ("run", ["completed"] * len(rows)),
        },
    )


def times(factor: float) -> Callable[[str, int, np.ndarray], np.ndarray]:
    """R_med goes as 10 / loss in the first layer and as 20 / loss in the second, of momentum `factor` times that."""

    def ratio(name: str, seed: int, losses: np.ndarray) -> np.ndarray:
        scale = (factor if name == "heavy_ball" else 1.0) * (1 + 0.05 * seed * (name == "adam"))
        return scale * np.outer(1 / losses, [10, 20])

    return ratio


# ------------------------------------------------------------------------------------------------------ the observable


@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": [5]}, {"name": "deep_linear", "hidden": [4, 3]}], ids=str)
def test_entries_are_those_of_the_dense_hessian(model: Any) -> None:
    observe = {"layer_diagonals": {"at": [3], "entries": 10_000}, "parameters": {"at": [3]}}
    run = make_run(SMALL_DIGITS, model=model, dtype="float64", lr=0.05, observe=observe)
    record, problem = train(run), Problem(run, torch.device("cpu"))
    theta = torch.from_numpy(final_parameters(record))
    dense = references.dense_hessian(problem.loss_on(problem.train), theta).diagonal().numpy()
    for number, (place, _) in enumerate(layers(run)):
        expected = np.abs(dense[place])
        assert record.values["layer_diagonal_largest"][0][number] == pytest.approx(expected.max(), rel=1e-9)
        assert record.values["layer_diagonal_median"][0][number] == pytest.approx(np.median(expected), rel=1e-9)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_entries_of_a_sum_of_functions(rows: int) -> None:
    theta, places = normal(7), np.array([5, 0, 6])
    terms = [lambda at: at.pow(3).sum(), lambda at: at.sum(), lambda at: at[0] * at[5] + at[0] ** 2]
    found = diagonal_entries(terms, theta, places, rows=rows)
    np.testing.assert_allclose(found, 6 * theta.numpy()[places] + [0, 2, 0], rtol=1e-14)


def test_data_in_chunks_have_the_same_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(SMALL_DIGITS, dtype="float64", lr=0.05)
    problem, places = Problem(run, torch.device("cpu")), np.arange(40)
    whole = problem.hessian_entries(problem.initial(), places)
    monkeypatch.setattr("stepscape.training.problem.chunk_size", lambda *_: 7)
    np.testing.assert_allclose(problem.hessian_entries(problem.initial(), places), whole, rtol=1e-12, atol=1e-15)


def test_the_same_weights_at_all_times_for_all_optimizers_and_others_for_another_seed() -> None:
    from stepscape.observables.layer_diagonals import LayerDiagonals

    chosen = LayerDiagonals(every=1, entries=20)._chosen
    first, other = (make_run(SMALL_DIGITS, optimizer=name, lr=0.1) for name in ("gd", "adam"))
    parts, places = chosen(first), [place for place, _ in layers(first)]
    assert all(np.array_equal(*pair) for pair in zip(parts, chosen(other), strict=True))
    assert not np.array_equal(parts[0], chosen(make_run(SMALL_DIGITS, seed=1))[0])
    for part, place in zip(parts, places, strict=True):
        assert len(set(part.tolist())) == len(part) == min(20, place.stop - place.start)
        assert all(place.start <= entry < place.stop for entry in part)


# ------------------------------------------------------------------------------------------------------- equal losses


def test_power_laws_are_interpolated_exactly_at_equal_losses_of_the_best_learning_rates() -> None:
    found = matched(runs(times(2.0)), "heavy_ball", "adam")
    assert [pair.first.draw[0] for pair in found] == [0, 1, 2]
    for seed, pair in enumerate(found):
        assert (pair.levels[0], pair.levels[-1]) == pytest.approx((2**0.5, 0.25))
        np.testing.assert_allclose(pair.ratios, np.full((LEVELS, 2), 2 / (1 + 0.05 * seed)), rtol=1e-12)


def test_a_loss_that_rises_again_is_met_once() -> None:
    ds = runs(times(2.0))
    ds.layer_diagonal_loss[3, 3] = 9.0
    kept = descent(ds, 3)
    assert kept.losses.tolist() == [8.0, 4.0, 2.0, 0.5, 0.25]
    assert kept.ratios.shape == (5, 2)


def test_runs_that_never_meet_are_no_pair() -> None:
    ds = runs(times(2.0))
    ds["layer_diagonal_loss"] = ds.layer_diagonal_loss * xr.where(ds.optimizer == "adam", 1.0, 1000.0)
    assert matched(ds, "heavy_ball", "adam") == []
    judged = MoreUniformCurvature().judge(ds)
    assert (judged.verdict, judged.runs["pairs"]) == ("not_testable", 0)


@pytest.mark.parametrize(
    ("factor", "expected", "verdict"),
    [
        (2.0, "more uniform", "supported"),
        (1.0, "more uniform", "not_supported"),
        (0.5, "more uniform", "not_supported"),
        (1.05, "alike", "supported"),
        (2.0, "alike", "not_supported"),
        (0.5, "alike", "not_supported"),
        (1.25, "alike", "undecided"),
    ],
)
def test_verdicts(factor: float, expected: Any, verdict: str) -> None:
    judged = MoreUniformCurvature(expected=expected).judge(runs(times(factor)))
    assert judged.verdict == verdict
    assert judged.value == pytest.approx(factor / np.prod([1, 1.05, 1.1]) ** (1 / 3))
    assert judged.low is not None
    assert judged.high is not None
    assert judged.low < judged.value < judged.high


def test_a_wide_interval_leaves_it_undecided() -> None:
    def ratio(name: str, seed: int, losses: np.ndarray) -> np.ndarray:
        return np.outer(1 / losses, [1, 1]) * (8.0**seed if name == "heavy_ball" else 1.0)

    assert MoreUniformCurvature().judge(runs(ratio)).verdict == "undecided"


# ------------------------------------------------------------------------------------------------------------- figure


def test_the_figure_draws_paths_and_ratios() -> None:
    figure = CurvatureUniformity().draw(runs(times(2.0)))
    left, right = figure.axes
    assert len(left.lines) == 6
    assert left.xaxis_inverted()
    (points,) = right.containers
    np.testing.assert_allclose(points.lines[0].get_ydata(), [2 / 1.05] * 2)
    assert right.get_ylabel() == "R_med, heavy_ball / adam"


def test_the_figure_says_that_losses_never_meet() -> None:
    ds = runs(times(2.0))
    ds["layer_diagonal_loss"] = ds.layer_diagonal_loss * xr.where(ds.optimizer == "adam", 1.0, 1000.0)
    _, right = CurvatureUniformity().draw(ds).axes
    assert [text.get_text() for text in right.texts] == ["no equal losses"]


# --------------------------------------------------------------------------------------------------------------- look


def test_a_look_prints_what_is_judged_and_the_other_learning_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    def ratio(name: str, seed: int, losses: np.ndarray) -> np.ndarray:
        at_best = losses[0] == LOSSES[0]
        return np.full((len(losses), 2), 1.0 if name == "adam" else 2.0 + seed if at_best else 5.0) * [10, 30]

    ds = runs(ratio).assign_coords(dataset_name=("run", ["digits"] * 12), budget=("run", ["4 steps"] * 12))
    monkeypatch.setattr(adaptive_geometry, "opened", lambda paths, study: ds)
    heading, *told = adaptive_geometry.lines(Paths(Path("results")))
    assert heading == "mlp, digits, 4 steps: R_med of heavy_ball over that of adam"
    assert [line[-4:] for line in told[:3]] == ["2.00", "3.00", "4.00"]
    assert told[0] == "  seed 0, learning rates 0.2 and 0.2, losses 1.4 to 0.25: 2.00"
    mean = MoreUniformCurvature().judge(ds).value
    assert f"  heavy_ball 0.2, adam 0.2: {mean:.2f}, 2 to 4" in told
    assert "  heavy_ball 0.1, adam 0.2: 5.00, 5" in told
    assert "  by layer, from the input on: 2.9, 2.9" in told
    assert "  adam: 10, 30" in told
