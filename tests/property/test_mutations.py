"""Whatever is done to a study, its reader answers with a study or with what is wrong: never with a traceback."""

from __future__ import annotations

import copy
import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stepscape.errors import FileError
from stepscape.models.mlp import MLP
from stepscape.study.spec import Study, load_study

MUTATIONS = int(os.environ.get("STEPSCAPE_MUTATIONS", "900"))
"""How many studies are tried in all; `make fuzz` tries 10,000."""

STUDY = """\
title: All forms
question: What breaks?
sources: [arXiv:2103.00065]
defaults:
  dataset: {name: digits, train_size: 100, test_size: 20}
  loss: mse
  budget: {steps: 40}
  seed: [0, 1]
grid:
  - model: [{name: mlp, hidden: [4]}, {name: linear, bias: false, label: L}]
    optimizer: {name: adam, beta1: 0.5}
    optimizer.beta2: [0.9, 9.9e-1]
    lr: {geometric: [1e-3, 1e-1], factor: 10}
    batch_size: [10, full]
    exclude: [{lr: 1e-3, batch_size: full}, {model: L, lr: [1e-2, 1e-1]}]
    observe: {preconditioned_top: {every: 20}}
  - model: mlp
    optimizer: gd
    zip: {lr: [0.1, 0.2], stop: [{train_loss: 1e-2}, {train_accuracy: 1}]}
    dtype: float64
    branch_noise: 1e-6
  - points: points.csv
    model: {name: mlp, hidden: [8, 8]}
  - model: mlp
    optimizer: gd
    lr: 0.3
    dtype: float64
    start: [{run: {lr: 0.1, stop.train_loss: 0.01}, step: 40}, {run: {start.step: 40}, step: 0}, {file: theta.npz}]
  - model: mlp
    optimizer: gd
    lr: 0.3
    dtype: float64
    start: {run: 0123456789abcdef, step: 0}
    start.step: [1, 2]
observe:
  losses: {every: 1}
  hessian_top: {every: 20, k: 2, tol: 1e-2}
  parameters: {at: [0, 40]}
claims:
  - {id: edge, name: hovers_at_threshold, high: 1.2, where: {optimizer: gd, lr: [0.1, 0.2]}}
figures:
  - loss_curves
  - {id: sharpness, name: sharpness_over_threshold, where: {optimizer: [gd, adam], seed: [0, 1]}}
"""
POINTS = "lr,optimizer,seed,optimizer.beta1\n0.3,gd,,\n1e-3,adam,5,0.8\n"

# fmt: off
NASTY = [
    None, True, False, 0, 1, -1, 3, 10**18, 2**63, -(10**30), 0.5, -0.0, float("nan"), float("inf"),
    "", " ", "full", "1e-3", "1e400", "nan", "gd", "mlp", "losses", "name", "lr", "lr.x", "optimizer.beta1",
    "optimizer.name", "model.", ".", "/", "points.csv", "a: b", "\n", "é", "\U0001f600", "x" * 500, b"bytes",
    datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, 12),
    [], [[]], [None], [[8]], {}, {1: 2}, {None: 1}, {"a": {"b": {"c": []}}}, {"lr": 0.1}, {"every": 1}, {"at": [0]},
    {"name": None}, {"name": "mlp"}, {"name": "mlp", "label": ""}, {"name": "adam", "beta1": "x"},
    {"run": {}, "step": 0}, {"run": {"start": {}}, "step": 0}, {"file": "theta.npz"}, "theta.npz", "f" * 16,
    {"linear": [0, 1], "step": 1}, {"linear": [0, 1], "step": None}, {"geometric": [1, 2]},
]
SYNTAX = [
    b"&a ", b"*a", b"<<: *a\n", b"!!set ", b"!x ", b"? ", b"- ", b": ", b"\t", b"'", b'"', b"[", b"]", b"{", b"}", b"#",
    b"---\n", b"...\n", b"|\n", b">\n", b"%YAML 3.0\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"0x", b"1:30", b"~",
]
CSV_SYNTAX = [
    b",", b"\n", b"\r\n", b'"', b"'", b"[", b"{", b"&a", b"*a", b"#", b"\x00", b"lr", b"model.hidden",
]
# fmt: on


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the points that the study names."""
    made = tmp_path_factory.mktemp("mutations")
    (made / "points.csv").write_text(POINTS)
    shapes = MLP().parameter_shapes((64,), 10)
    np.savez(made / "theta.npz", **{name: np.ones(shape) for name, shape in shapes.items()})
    return made


def outcome(folder: Path, content: bytes) -> Study | FileError:
    """What reading a study gives; its message must be one that can be read."""
    path = folder / "probe.yaml"
    path.write_bytes(content)
    try:
        read: Study | FileError = load_study(path)
    except FileError as error:
        read = error
    if isinstance(read, Study):
        assert len({run.id for run in read.runs}) == len(read.runs) > 0
    else:
        assert str(read).startswith(f"{path}: ")
        assert read.mistakes
        for mistake in read.mistakes:
            assert mistake.given
            assert mistake.allowed
            assert "object at 0x" not in str(mistake)
            assert "function" not in mistake.where
    return read


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in items:
        yield (*path, key)
        yield from places(entry, (*path, key))


PLACES = list(places(yaml.safe_load(STUDY)))
nasty = st.sampled_from(NASTY)
mutations = st.tuples(
    st.sampled_from(["delete", "replace", "insert", "rename", "wrap"]), st.sampled_from(PLACES), nasty, nasty
)


def mutate(study: Any, kind: str, path: tuple[Any, ...], value: Any, other: Any) -> None:
    """Changes a study in place; where an earlier change took away what stood at `path`, nothing."""
    holder = study
    for key in path[:-1]:
        if not isinstance(holder, dict | list) or (isinstance(holder, dict) and key not in holder):
            return
        if isinstance(holder, list) and not (isinstance(key, int) and key < len(holder)):
            return
        holder = holder[key]
    key = path[-1]
    value = copy.deepcopy(value)
    if isinstance(holder, dict) and key in holder:
        if kind == "delete":
            del holder[key]
        elif kind == "replace":
            holder[key] = value
        elif kind == "wrap":
            holder[key] = [holder[key], value]
        else:
            name = other if isinstance(other, str | int | float | bool | None) else str(other)
            holder[name] = holder.pop(key) if kind == "rename" else value
    elif isinstance(holder, list) and isinstance(key, int) and key < len(holder):
        if kind == "delete":
            del holder[key]
        elif kind == "insert":
            holder.insert(key, value)
        else:
            holder[key] = [holder[key], value] if kind == "wrap" else value


def test_the_study_that_is_mutated_is_valid(folder: Path) -> None:
    study = outcome(folder, STUDY.encode())
    assert isinstance(study, Study)
    assert len(study.runs) == 48 - 8 - 16 + 4 + 3 + 6 + 4


@settings(max_examples=MUTATIONS // 3, deadline=None)
@given(changes=st.lists(mutations, min_size=1, max_size=4))
def test_studies_whose_values_are_changed(folder: Path, changes: list[tuple[str, tuple[Any, ...], Any, Any]]) -> None:
    study = yaml.safe_load(STUDY)
    for change in changes:
        mutate(study, *change)
    outcome(folder, yaml.safe_dump(study, allow_unicode=True).encode())


def edits(length: int, syntax: list[bytes]) -> st.SearchStrategy[list[tuple[int, int, bytes]]]:
    """Replacements of some bytes in a text of `length`: where, how many, and by what."""
    replacement = st.one_of(st.binary(max_size=4), st.sampled_from(syntax))
    return st.lists(st.tuples(st.integers(0, length), st.integers(0, 8), replacement), min_size=1, max_size=4)


def edit(text: str, changes: list[tuple[int, int, bytes]]) -> bytes:
    content = text.encode()
    for start, length, replacement in changes:
        content = content[:start] + replacement + content[start + length :]
    return content


@settings(max_examples=MUTATIONS // 3, deadline=None)
@given(changes=edits(len(STUDY), SYNTAX))
def test_studies_whose_bytes_are_changed(folder: Path, changes: list[tuple[int, int, bytes]]) -> None:
    outcome(folder, edit(STUDY, changes))


@settings(max_examples=MUTATIONS * 2 // 9, deadline=None)
@given(changes=edits(len(POINTS), CSV_SYNTAX))
def test_points_whose_bytes_are_changed(folder: Path, changes: list[tuple[int, int, bytes]]) -> None:
    (folder / "points.csv").write_bytes(edit(POINTS, changes))
    try:
        outcome(folder, STUDY.encode())
    finally:
        (folder / "points.csv").write_text(POINTS)


texts = st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))


@settings(max_examples=MUTATIONS - 2 * (MUTATIONS // 3) - MUTATIONS * 2 // 9, deadline=None)
@given(content=st.one_of(st.binary(max_size=60), texts))
def test_any_bytes_at_all(folder: Path, content: bytes) -> None:
    assert isinstance(outcome(folder, content), FileError)
