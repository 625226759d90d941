"""Selections: which runs `where` and `exclude` pick, however a value is spelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stepscape.errors import Mistaken
from stepscape.study.run import Run
from stepscape.study.selection import Labels, Selection
from stepscape.study.spec import Study
from tests.planning import edited, in_block, load

GRID = edited(
    (
        "  - optimizer: gd\n    lr: [0.1, 0.2]\n    seed: [0, 1]\n",
        "  - optimizer: gd\n    lr: [0.1, 0.2]\n    batch_size: [10, full]\n"
        "  - optimizer: [{name: adam, label: slow}, {name: adam, beta1: 0.5}]\n    lr: 1e-3\n    seed: [0, 1]\n"
        "    model: [{name: mlp, hidden: [8, 4]}, linear]\n    stop: {train_loss: 0.1}\n    budget: {epochs: 5}\n",
    )
).partition("claims:")[0]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Four runs of gd, with two learning rates and batch sizes; eight of adam, with two models, betas and seeds."""
    return load(tmp_path, GRID)


def is_gd(run: Run) -> bool:
    return run.optimizer.name == "gd"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, lambda run: True),
        ({"optimizer": "gd"}, is_gd),
        ({"optimizer": ["gd", "adam"]}, lambda run: True),
        ({"optimizer": "adam"}, lambda run: not is_gd(run)),
        ({"optimizer": "slow"}, lambda run: not is_gd(run) and run.optimizer.beta1 == 0.9),
        ({"optimizer": "adam beta1=0.5"}, lambda run: not is_gd(run) and run.optimizer.beta1 == 0.5),
        ({"optimizer": {"name": "adam", "beta1": "5e-1"}}, lambda run: not is_gd(run) and run.optimizer.beta1 == 0.5),
        ({"optimizer": [{"name": "adam"}, "gd"]}, lambda run: is_gd(run) or run.optimizer.beta1 == 0.9),
        ({"optimizer.beta1": 0.5}, lambda run: not is_gd(run) and run.optimizer.beta1 == 0.5),
        ({"optimizer.beta1": ["0.5", 0.9]}, lambda run: not is_gd(run)),
        ({"lr": 0.1}, lambda run: run.lr == 0.1),
        ({"lr": "1e-1"}, lambda run: run.lr == 0.1),
        ({"lr": [0.2, "1e-3"]}, lambda run: run.lr in (0.2, 0.001)),
        ({"batch_size": "full"}, lambda run: run.batch_size == "full"),
        ({"batch_size": 100}, lambda run: run.batch_size == "full"),
        ({"batch_size": 10}, lambda run: run.batch_size == 10),
        ({"seed": 1}, lambda run: run.seed == 1),
        ({"model": "linear"}, lambda run: run.model.name == "linear"),
        ({"model.hidden": [8, 4]}, lambda run: getattr(run.model, "hidden", None) == (8, 4)),
        ({"model.hidden": [[8]]}, lambda run: getattr(run.model, "hidden", None) == (8,)),
        ({"model.hidden": [[8], [8, 4]]}, lambda run: run.model.name == "mlp"),
        ({"budget": {"steps": 40}}, is_gd),
        ({"budget.epochs": 5}, lambda run: not is_gd(run)),
        ({"stop.train_loss": 0.1}, lambda run: not is_gd(run)),
        ({"stop": None}, is_gd),
        ({"loss": "mse", "dtype": "float32"}, lambda run: True),
        (
            {"optimizer": "gd", "lr": 0.1, "batch_size": 10},
            lambda run: is_gd(run) and run.lr == 0.1 and run.batch == 10,
        ),
    ],
)
def test_runs_are_picked_by_what_they_are(study: Study, where: dict[str, Any], expected: Any) -> None:
    picked = Selection.parse(where, "where").pick(study.runs, study.labels)
    assert picked == [run for run in study.runs if expected(run)]
    assert picked


def unmatched(runs: Sequence[Run], labels: Labels, where: dict[str, Any]) -> tuple[str, str, str, str]:
    selection = Selection.parse(where, "where")
    assert not selection.pick(runs, labels)
    mistake = selection.unmatched(runs, labels, where, "where")
    return mistake.where, mistake.given, mistake.allowed, mistake.remedy


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"lr": 0.3}, ("where.lr", "0.3, which no run has", "what runs have: 0.1, 0.2, 0.001", "")),
        ({"lr": []}, ("where.lr", "[], which no run has", "what runs have: 0.1, 0.2, 0.001", "")),
        ({"optimizer": "gd", "lr": 0.3}, ("where.lr", "0.3, which no run has", "what runs have: 0.1, 0.2, 0.001", "")),
        (
            {"optimizer": "slwo"},
            (
                "where.optimizer",
                "'slwo', which no run has",
                "what runs have: gd, slow, adam beta1=0.5",
                "did you mean 'slow'?",
            ),
        ),
        ({"seed": [5, 6]}, ("where.seed", "[5, 6], which no run has", "what runs have: 0, 1", "")),
        (
            {"batch_size": 20},
            ("where.batch_size", "20, which no run has", "what runs have: 10, 'full'", ""),
        ),
        (
            {"model.hidden": [8, 8]},
            ("where.model.hidden", "[8, 8], which no run has", "what runs have: [8], [8, 4], no hidden", ""),
        ),
        (
            {"budget.steps": 5},
            ("where.budget.steps", "5, which no run has", "what runs have: 40, nothing", ""),
        ),
        (
            {"optimizer": "gd", "seed": 1},
            ("where", "{optimizer: 'gd', seed: 1}: no run has all of these at once", "what some run has", ""),
        ),
    ],
)
def test_what_picks_nothing_is_told_with_what_there_is(
    study: Study, where: dict[str, Any], expected: tuple[str, str, str, str]
) -> None:
    assert unmatched(study.runs, study.labels, where) == expected


def test_of_many_values_that_runs_have_some_are_told(tmp_path: Path) -> None:
    study = load(tmp_path, edited(("[0, 1]", "{linear: [0, 99], step: 1}")))
    _, _, allowed, _ = unmatched(study.runs, study.labels, {"seed": 100})
    assert allowed == "what runs have: 0, 1, 2, 3, 4, 5, 6, 7, ..."


@pytest.mark.parametrize(
    ("given", "place"),
    [
        (["gd"], "where"),
        ("gd", "where"),
        (None, "where"),
        ({"observe": "losses"}, "where.observe"),
        ({"optimiser": "gd"}, "where.optimiser"),
        ({3: "gd"}, "where.3"),
        ({"lr": ["fast"]}, "where.lr"),
        ({"lr": True}, "where.lr"),
        ({"optimizer": {"name": "gdd"}}, "where.optimizer.name"),
        ({"optimizer": 3}, "where.optimizer"),
        ({"dtype": "float16"}, "where.dtype"),
    ],
)
def test_what_is_no_selection_is_told(given: Any, place: str) -> None:
    with pytest.raises(Mistaken) as caught:
        Selection.parse(given, "where")
    assert [mistake.where for mistake in caught.value.mistakes] == [place]


def test_exclude_knows_the_labels_of_its_block(tmp_path: Path) -> None:
    text = edited(
        ("optimizer: gd", "optimizer: [{name: gd, label: plain}, adam]"),
        in_block("    exclude: [{optimizer: plain}]\n"),
    )
    assert {run.optimizer.name for run in load(tmp_path, text.partition("claims:")[0]).runs} == {"adam"}
