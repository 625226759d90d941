"""Labels: what members are called in tables, as short as tells them apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepscape.errors import Mistake
from stepscape.study.labels import spell
from tests.planning import edited, in_block, load, told

APART = "give each a `label`, or none: then the fields that differ tell them apart"


def labels(folder: Path, role: str, *edits: tuple[str, str]) -> list[str]:
    study = load(folder, edited(*edits).partition("claims:")[0])
    return [label for (of, _), label in study.labels.items() if of == role]


def models(value: str) -> tuple[str, str]:
    return "{name: mlp, hidden: [8]}", value


def optimizers(value: str) -> tuple[str, str]:
    return "optimizer: gd", f"optimizer: {value}"


@pytest.mark.parametrize(
    ("role", "edit", "expected"),
    [
        ("model", models("mlp"), ["mlp"]),
        ("model", models("{name: mlp, hidden: [8]}"), ["mlp"]),
        ("model", models("[mlp, linear]"), ["mlp", "linear"]),
        ("model", models("[mlp, {name: mlp, hidden: [8]}]"), ["mlp hidden=32-32", "mlp hidden=8"]),
        ("model", models("[linear, {name: linear, bias: false}]"), ["linear bias=true", "linear bias=false"]),
        ("model", models("{name: mlp, label: small net}"), ["small net"]),
        ("model", models("[{name: mlp, label: A}, {name: mlp, hidden: [8]}]"), ["A", "mlp hidden=8"]),
        ("optimizer", optimizers("[gd, adam]"), ["gd", "adam"]),
        ("optimizer", optimizers("[adam, {name: adam, eps: 1e-6}]"), ["adam eps=1e-08", "adam eps=1e-06"]),
        ("optimizer", optimizers("adam\n    optimizer.beta1: [0.5, 0.9]"), ["adam beta1=0.5", "adam beta1=0.9"]),
        (
            "optimizer",
            optimizers("[{name: adam, beta1: 0.5}, {name: adam, beta1: 0.5, beta2: 0.9}, rmsprop]"),
            ["adam beta2=0.999", "adam beta2=0.9", "rmsprop"],
        ),
        ("optimizer", optimizers("{name: adam, label: A}\n    optimizer.beta1: 0.5"), ["A"]),
    ],
)
def test_labels_name_what_differs(tmp_path: Path, role: str, edit: tuple[str, str], expected: list[str]) -> None:
    assert labels(tmp_path, role, edit) == expected


def test_every_member_of_every_run_has_a_label(tmp_path: Path) -> None:
    study = load(tmp_path, edited(models("[mlp, linear]"), optimizers("[gd, adam]")).partition("claims:")[0])
    for run in study.runs:
        for role in ("dataset", "model", "loss", "optimizer", "schedule"):
            assert study.labels[role, getattr(run, role)]


def test_a_label_may_stand_in_each_block_again(tmp_path: Path) -> None:
    extra = ("observe:\n", "  - {optimizer: {name: gd, label: plain}, lr: 0.3}\nobserve:\n")
    assert labels(tmp_path, "optimizer", optimizers("{name: gd, label: plain}"), extra) == ["plain"]


def test_a_label_is_no_part_of_the_run(tmp_path: Path) -> None:
    ids = [
        [run.id for run in load(tmp_path, edited(optimizers(value))).runs] for value in ("gd", "{name: gd, label: x}")
    ]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        (
            [models("[{name: mlp, label: m}, {name: linear, label: m}]")],
            Mistake("grid", "two models called 'm'", "each called otherwise", APART, 8),
        ),
        (
            [models("[{name: mlp, label: linear}, linear]")],
            Mistake("grid", "two models called 'linear'", "each called otherwise", APART, 8),
        ),
        (
            [optimizers("[{name: adam, eps: 1.0e-8}, {name: adam, eps: 1.0000001e-8}]")],
            Mistake("grid", "two optimizers called 'adam eps=1e-08'", "each called otherwise", APART, 8),
        ),
        (
            [optimizers("{name: adam, label: A}\n    optimizer.beta1: [0.5, 0.9]")],
            Mistake("grid", "two optimizers called 'A'", "each called otherwise", APART, 8),
        ),
        (
            [
                optimizers("{name: gd, label: a}"),
                ("observe:\n", "  - {optimizer: {name: gd, label: b}, lr: 0.3}\nobserve:\n"),
            ],
            Mistake("grid[1].optimizer.label", "'b'", "'a', as the study calls the same optimizer elsewhere", line=12),
        ),
        ([models("{name: mlp, label: 3}")], Mistake("defaults.model.label", "3", "text", line=5)),
        ([models("{name: mlp, label: ''}")], Mistake("defaults.model.label", "''", "text", line=5)),
        ([in_block("    label: x\n")], None),
    ],
)
def test_labels_that_collide_or_are_none_are_told(
    tmp_path: Path, edits: list[tuple[str, str]], expected: Mistake | None
) -> None:
    (mistake,) = told(tmp_path, edited(*edits).partition("claims:")[0])
    assert expected in (mistake, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.001"),
        (1e-8, "1e-08"),
        (2.0, "2"),
        (3, "3"),
        ((32, 32), "32-32"),
        ((), ""),
        (True, "true"),
        ("tanh", "tanh"),
    ],
)
def test_values_are_spelled_short(value: Any, text: str) -> None:
    assert spell(value) == text
