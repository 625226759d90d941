"""Runs that start from runs, or from a file: what a study may say, what is planned, what is trained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stepscape.cli import main
from stepscape.errors import DamagedFileError, Mistake, Mistaken, StepscapeError
from stepscape.models import Model
from stepscape.registry import make, names
from stepscape.store.files import sha256
from stepscape.store.receipts import PLAN_KEYS, keep_up, packs_before
from stepscape.store.runfile import as_dataset, open_run, write_run
from stepscape.store.seals import unsealed_json
from stepscape.study.config import load_plan
from stepscape.study.parameters import content_hash, read_parameters
from stepscape.study.paths import Paths
from stepscape.study.plan import Plan, make_plan
from stepscape.study.restore import restore_run
from stepscape.study.run import Run
from stepscape.study.spec import Study, load_study
from stepscape.training.loop import train_run
from stepscape.training.pack import train_pack
from stepscape.training.platform import platform_record, prepare
from stepscape.training.problem import Problem
from stepscape.training.starts import start_parameters
from tests.factories import train_plan
from tests.planning import ROOT, run_python, told, write

STUDY = """\
title: Two generations
defaults:
  dataset: quadratic
  model: {name: linear, bias: false}
  loss: mse
  optimizer: gd
  budget: {steps: 10}
  seed: [0, 1]
grid:
  - lr: [0.5, 0.8]
    observe: {parameters: {at: [0, 6, 10]}}
  - lr: 0.3
    start: START
    observe: {parameters: {every: 1}}
observe:
  losses: {every: 1}
"""
FROM_A_RUN = "{run: {lr: 0.5}, step: 6}"


def text(start: str = FROM_A_RUN, *edits: tuple[str, str]) -> str:
    content = STUDY.replace("START", start)
    for old, new in edits:
        assert content.count(old) == 1
        content = content.replace(old, new)
    return content


def study_of(folder: Path, start: str = FROM_A_RUN, *edits: tuple[str, str], name: str = "probe") -> Study:
    path = folder / f"{name}.yaml"
    path.write_text(text(start, *edits))
    return load_study(path)


def started(study: Study) -> list[Run]:
    return [run for run in study.runs if run.start]


def parents(study: Study) -> list[Run]:
    known = {run.id: run for run in study.runs}
    return [known[run.parent or ""] for run in started(study)]


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


# ---------------------------------------------------------------------------------------------------- what is selected


def test_each_seed_starts_from_its_own(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    assert [(run.seed, run.lr) for run in parents(study)] == [(0, 0.5), (1, 0.5)]
    for child, parent in zip(started(study), parents(study), strict=True):
        assert child.seed == parent.seed
        assert child.spec["start"] == {"run": parent.id, "step": 6}


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("{run: {lr: 0.8, seed: 1}, step: 6}", [(0.8, 1), (0.8, 1)]),
        ("[{run: {lr: 0.5}, step: 6}, {run: {lr: 0.8}, step: 0}]", [(0.5, 0), (0.5, 1), (0.8, 0), (0.8, 1)]),
        ("{run: {lr: 0.5}, step: 0}\n    start.step: [0, 6]", [(0.5, 0), (0.5, 1)] * 2),
        ("{run: {lr: 0.5, start: null}, step: 6}", [(0.5, 0), (0.5, 1)]),
        ("{run: {lr: 5e-1, optimizer: gd, model.bias: false}, step: '6'}", [(0.5, 0), (0.5, 1)]),
    ],
)
def test_what_a_selection_selects(tmp_path: Path, start: str, expected: list[tuple[float, int]]) -> None:
    assert sorted((run.lr, run.seed) for run in parents(study_of(tmp_path, start))) == sorted(expected)


def test_model_dataset_and_dtype_are_those_of_the_child_unless_said(tmp_path: Path) -> None:
    wide = ("dataset: quadratic\n", "dataset: [quadratic, {name: quadratic, eigenvalues: [1, 2, 3]}]\n")
    double = ("  seed: [0, 1]\n", "  seed: 0\n  dtype: [float32, float64]\n")
    study = study_of(tmp_path, FROM_A_RUN, wide, double)
    assert len(started(study)) == 4
    for child, parent in zip(started(study), parents(study), strict=True):
        assert (child.dataset, child.dtype) == (parent.dataset, parent.dtype)
    said = study_of(tmp_path, "{run: {lr: 0.5, dtype: float64}, step: 6}", wide, double)
    assert {parent.dtype for parent in parents(said)} == {"float64"}


def test_a_chain_is_selected_by_its_starts(tmp_path: Path) -> None:
    third = ("observe:\n  losses", "  - lr: 0.1\n    start: {run: {start.step: 6}, step: 4}\nobserve:\n  losses")
    study = study_of(tmp_path, FROM_A_RUN, third)
    child, grandchild = (run for run in started(study) if run.seed == 0)
    assert grandchild.parent == child.id
    assert [{run.lr for run in pack.runs} for pack in make_plan([study]).packs] == [{0.5, 0.8}, {0.3}, {0.1}]
    assert study.packs == list(make_plan([study]).packs)


def test_a_run_of_the_study_may_be_named_by_its_id(tmp_path: Path) -> None:
    selected = study_of(tmp_path)
    named = study_of(tmp_path, f"{{run: '{selected.runs[0].id}', step: 6}}")
    assert {run.parent for run in started(named)} == {selected.runs[0].id}
    assert started(named)[0].id == started(selected)[0].id


def test_an_identity_hashes_the_reference(tmp_path: Path) -> None:
    first = started(study_of(tmp_path))[0]
    others = [
        study_of(tmp_path, "{run: {lr: 0.5}, step: 0}"),
        study_of(tmp_path, "{run: {lr: 0.8}, step: 6}"),
        study_of(tmp_path, FROM_A_RUN, ("at: [0, 6, 10]", "at: [0, 5, 6, 10]")),
        study_of(tmp_path, FROM_A_RUN, ("steps: 10", "steps: 11")),
    ]
    assert len({first.id, *(started(other)[0].id for other in others)}) == 5
    restored = restore_run(json.loads(json.dumps(first.spec)))
    assert (restored.id, restored.parent) == (first.id, first.parent)


# ------------------------------------------------------------------------------------------------------------- mistakes

PARENT = "gd lr=0.5 batch_size=full seed=0 linear mse quadratic"
ID = "0123456789abcdef"
PLACE = "grid[1].start"

WRONG: dict[str, tuple[str, list[tuple[str, str]], str, str, str, str]] = {
    "neither": ("{step: 3}", [], PLACE, "{step: 3}", "exactly one of `run`, `file`", ""),
    "both": (f"{{run: '{ID}', step: 1, file: a}}", [], PLACE, "", "exactly one of `run`, `file`", ""),
    "no step": ("{run: {lr: 0.5}}", [], PLACE, "{run: {lr: 0.5}}", "a `step` with `run`, and none with `file`", ""),
    "step of a file": ("{file: a, step: 1}", [], PLACE, "", "a `step` with `run`, and none with `file`", ""),
    "no id": ("{run: abc, step: 1}", [], f"{PLACE}.run", "'abc'", "a run id (16 hex digits", ""),
    "a number": ("{run: 1234567890123456, step: 1}", [], f"{PLACE}.run", "", "in quotes if they may be a number", ""),
    "unknown key": ("{run: {lrr: 0.5}, step: 6}", [], f"{PLACE}.run.lrr", "unknown key 'lrr'", "lr", "'lr'?"),
    "none": (
        "{run: {lr: 0.7}, step: 6}",
        [],
        f"{PLACE}.run.lr",
        "0.7, which no run has",
        "what runs have: 0.5, 0.8",
        "",
    ),
    "none alike": (
        FROM_A_RUN,
        [("    start:", "    seed: [0, 2]\n    start:")],
        f"{PLACE}.run",
        "{lr: 0.5}: 2 runs, none of the same dataset, dtype, model, seed",
        "seed=2",
        "say which of them, too",
    ),
    "several": (
        "{run: {optimizer: gd}, step: 6}",
        [],
        f"{PLACE}.run",
        f"{{optimizer: 'gd'}}: 2 runs ({PARENT}; {PARENT.replace('0.5', '0.8')})",
        "fields that select one run for gd lr=0.3",
        "say more of lr",
    ),
    "nothing kept then": (
        "{run: {lr: 0.5}, step: 7}",
        [],
        f"{PLACE}.step",
        f"7, when {PARENT} keeps no parameters",
        "a step at which the run it starts from keeps its parameters",
        "add `parameters: {at: [0, 6, 7, 10]}` to what that run observes",
    ),
    "nothing kept": (
        FROM_A_RUN,
        [("    observe: {parameters: {at: [0, 6, 10]}}\n", "")],
        f"{PLACE}.step",
        "6, when",
        "keeps its parameters",
        "add `parameters: {at: [6]}`",
    ),
    "after the end": (
        "{run: {lr: 0.5}, step: 11}",
        [],
        f"{PLACE}.step",
        "11",
        f"steps up to 10, the last of {PARENT}",
        "",
    ),
    "another size": (
        "{run: {lr: 0.5, model: linear}, step: 6}",
        [("    start:", "    model: {name: linear}\n    start:")],
        f"{PLACE}.run",
        f"{PARENT}, of 4 parameters",
        "a run of 5, as gd lr=0.3",
        "",
    ),
    "itself": (
        "{run: {start.step: 6}, step: 6}",
        [],
        PLACE,
        "a circle: gd lr=0.3 batch_size=full seed=0 start={start.step: 6}@6 linear mse quadratic -> gd lr=0.3",
        "runs that start from others",
        "say `start: null` for the runs to begin with",
    ),
    "no beginning": (
        FROM_A_RUN,
        [("  - lr: [0.5, 0.8]\n", f"  - lr: [0.5, 0.8]\n    start: {FROM_A_RUN}\n")],
        "grid[0].start.run",
        "{lr: 0.5}, where every run has a start",
        "runs that start from model and seed",
        "say `start: null`",
    ),
    "no file": ("{file: lost.npz}", [], f"{PLACE}.file: lost.npz", "no such file", "a file, its path as seen from", ""),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_start_is_told(tmp_path: Path, case: str) -> None:
    start, edits, *expected = WRONG[case]
    mistake = told(tmp_path, text(start, *edits))[0]
    line = text(start, *edits).splitlines().index(f"    start: {start}") + 1
    assert mistake.line == (line if "grid[1]" in expected[0] else 11)
    assert mistake.where == expected[0]
    for said, words in zip((mistake.given, mistake.allowed, mistake.remedy), expected[1:], strict=True):
        assert words in said, f"{words!r} is not in {said!r}"
    assert "Raw" not in str(mistake)


def test_runs_that_start_from_each_other_are_told(tmp_path: Path) -> None:
    start = "{run: {start.step: 4}, step: 6}"
    other = "  - lr: 0.1\n    start: {run: {start.step: 6}, step: 4}\n    observe: {parameters: {every: 1}}\nobserve:\n"
    mistakes = told(tmp_path, text(start, ("observe:\n  losses", f"{other}  losses")))
    assert [mistake.where for mistake in mistakes] == [PLACE, "grid[2].start"]
    assert [mistake.given.count("->") for mistake in mistakes] == [2, 2]


def test_one_start_is_told_once(tmp_path: Path) -> None:
    assert len(told(tmp_path, text("{run: {optimizer: gd}, step: 6}"))) == 1
    several = "[{run: {optimizer: gd}, step: 6}, {run: {lr: 0.5}, step: 7}, {run: {lr: 0.5}, step: 12}]"
    assert len(told(tmp_path, text(several))) == 1, "what is kept is asked once all are found"
    assert len(told(tmp_path, text("[{run: {lr: 0.5}, step: 7}, {run: {lr: 0.5}, step: 12}]"))) == 2


# ---------------------------------------------------------------------------------------------------------------- files


def test_a_file_is_identified_by_what_it_holds(tmp_path: Path) -> None:
    values = np.asarray([[0.5, -0.0, 3, 4]])
    one, other = {"a": values, "b": np.ones(2)}, {"b": np.ones(2, np.int8), "a": values.astype(np.float32)}
    first = content_hash(read_parameters(save(tmp_path / "one.npz", **one), ""))
    np.savez_compressed(tmp_path / "other.npz", **other)  # type: ignore[arg-type]
    assert content_hash(read_parameters(tmp_path / "other.npz", "")) == first
    different: Sequence[Mapping[str, Any]] = [
        {"a": values, "c": np.ones(2)},
        {"a": values.T, "b": np.ones(2)},
        {"a": np.nextafter(values, 9), "b": np.ones(2)},
        {"a": values},
        {},
    ]
    hashes = {content_hash(read_parameters(save(tmp_path / "x.npz", **arrays), "")) for arrays in different}
    assert len(hashes | {first}) == 6


def test_a_study_that_starts_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    save(tmp_path / "sub/theta.npz", weight=np.asarray([[1, 2, 3, 4]]))
    study = study_of(tmp_path, "{file: sub/theta.npz}")
    (content,) = study.start_files.values()
    assert {run.spec["start"]["file"] for run in started(study)} == {content}
    assert study.start_files == {tmp_path / "sub/theta.npz": content}
    save(tmp_path / "sub/theta.npz", weight=np.asarray([[1, 2, 3, 5]]))
    assert not {run.id for run in started(study)} & {
        run.id for run in started(study_of(tmp_path, "{file: sub/theta.npz}"))
    }


def _pickled(path: Path) -> None:
    save(path, weight=np.asarray([[{}, 1, 2, 3]], object))


def _one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((1, 4)))


def _truncated(path: Path) -> None:
    path.write_bytes(save(path, weight=np.ones((1, 4))).read_bytes()[:-30])


def _altered(path: Path) -> None:
    content = bytearray(save(path, weight=np.ones((1, 4))).read_bytes())
    content[content.index(np.ones(4).tobytes())] ^= 1
    path.write_bytes(content)


def _folder(path: Path) -> None:
    path.mkdir()


def _arrays(**arrays: Any) -> Callable[[Path], Any]:
    return lambda path: save(path, **arrays)


FILES: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "text": (lambda path: path.write_text("0.1 0.2"), "cannot be read", "as `numpy.savez` writes them"),
    "nothing": (lambda path: path.write_bytes(b""), "cannot be read", "by name"),
    "one array": (_one_array, "cannot be read", "by name"),
    "pickle": (_pickled, "allow_pickle=False", "by name"),
    "truncated": (_truncated, "cannot be read", "by name"),
    "altered": (_altered, "cannot be read", "by name"),
    "folder": (_folder, "no such file", "a file"),
    "words": (_arrays(weight=np.asarray(["a"])), "weight (<U1)", "real numbers"),
    "complex": (_arrays(weight=np.ones((1, 4), complex)), "weight (complex128)", "real numbers"),
    "truth": (_arrays(weight=np.ones((1, 4), bool)), "weight (bool)", "real numbers"),
    "other names": (_arrays(w=np.ones((1, 4))), "no weight, w, which the model has not", "weight [1, 4]"),
    "one more": (_arrays(weight=np.ones((1, 4)), bias=[0.0]), "bias, which the model has not", "weight [1, 4]"),
    "another shape": (_arrays(weight=np.ones((4, 1))), "weight of shape [4, 1], not [1, 4]", "weight [1, 4]"),
    "flat": (_arrays(weight=np.ones(4)), "weight of shape [4], not [1, 4]", "weight [1, 4]"),
    "no number": (_arrays(weight=[[1, 2, 3, np.nan]]), "not finite in weight", "finite float32 numbers"),
    "infinite": (_arrays(weight=[[1, 2, 3, np.inf]]), "not finite in weight", "finite float32 numbers"),
    "too large": (_arrays(weight=[[1, 2, 3, 1e39]]), "not finite in weight", "finite float32 numbers"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_cannot_be_started_from_is_told(tmp_path: Path, case: str) -> None:
    prepare_file, given, allowed = FILES[case]
    folder = tmp_path / "study"
    folder.mkdir()
    prepare_file(tmp_path / "theta.npz")
    (mistake,) = told(folder, text("{file: ../theta.npz}"))
    assert (mistake.line, mistake.where) == (13, f"{PLACE}.file: ../theta.npz")
    assert given in mistake.given
    assert allowed in mistake.allowed


def test_a_number_that_float64_holds_suffices_there(tmp_path: Path) -> None:
    save(tmp_path / "theta.npz", weight=[[1, 2, 3, 1e39]])
    assert started(study_of(tmp_path, "{file: theta.npz}\n    dtype: float64"))


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in names("model")),
    ("linear", {"bias": False}),
    ("deep_linear", {"bias": True}),
    ("two_layer", {"second_layer": "fixed"}),
    ("cnn", {"norm": "layer"}),
    ("residual", {"norm": "none", "blocks": 2}),
]


@pytest.mark.parametrize("shape", [(5,), (3, 4, 4)])
@pytest.mark.parametrize(("name", "fields"), VARIANTS)
def test_models_know_their_parameters_by_name(name: str, fields: dict[str, Any], shape: tuple[int, ...]) -> None:
    model: Any = make("model", {"name": name, **fields}, "model")
    if model.input_fault(shape):
        return
    built = [(name, tuple(value.shape)) for name, value in model.build(shape, 3).named_parameters()]
    assert list(model.parameter_shapes(shape, 3).items()) == built
    assert list(Model.parameter_shapes(model, shape, 3).items()) == built


def test_a_start_from_a_file_is_planned_without_torch(tmp_path: Path) -> None:
    save(tmp_path / "theta.npz", weight=np.ones((1, 4)))
    write(tmp_path, text("{file: theta.npz}"))
    code = "import sys, stepscape\nprint(len(stepscape.load_study('probe.yaml').packs), 'torch' in sys.modules)"
    assert run_python(code, cwd=tmp_path) == "1 False\n"


# ---------------------------------------------------------------------------------------------------------------- plans


def test_children_change_nothing_of_the_packs_of_their_parents(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    alone = study_of(tmp_path, "null", ("  - lr: 0.3\n    start: null\n    observe: {parameters: {every: 1}}\n", ""))
    assert [pack.id for pack in alone.packs] == [pack.id for pack in study.packs[:1]]
    plan = make_plan([study])
    before, after = plan.packs
    assert (plan.packs_before(before), plan.packs_before(after)) == ([], [before.id])


def waits(plan: Plan) -> dict[str, int]:
    """Pack to how many others it waits for, one behind the other; a circle never ends."""
    found: dict[str, int] = {}

    def depth(pack_id: str, above: tuple[str, ...]) -> int:
        assert pack_id not in above, "packs wait for each other"
        if pack_id not in found:
            pack = next(pack for pack in plan.packs if pack.id == pack_id)
            found[pack_id] = 1 + max((depth(other, (*above, pack_id)) for other in plan.packs_before(pack)), default=-1)
        return found[pack_id]

    for pack in plan.packs:
        depth(pack.id, ())
    return found


def test_two_studies_that_start_from_each_other_make_no_circle(tmp_path: Path) -> None:
    second = ("lr: [0.5, 0.8]", "lr: [0.6]")
    first_child = started(study_of(tmp_path, name="one"))[0]
    both = f"[{{run: {{lr: 0.6}}, step: 6}}, {{run: '{first_child.id}', step: 2}}]"
    other_child = next(
        run for run in started(study_of(tmp_path, both, second, name="two")) if run.parent != first_child.id
    )
    study_of(tmp_path, f"[{FROM_A_RUN}, {{run: '{other_child.id}', step: 2}}]", name="one")
    plan = load_plan([str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")])
    assert max(waits(plan).values()) == 2
    assert sorted(plan.runs) == sorted({run.id for study in plan.studies for run in study.runs})


def test_a_plan_says_what_a_pack_waits_for_and_ordinary_plans_say_nothing(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "results")
    plan = make_plan([study_of(tmp_path)])
    keep_up(plan, paths)
    first, second = (unsealed_json(paths.pack_plan(pack.id).read_bytes(), PLAN_KEYS) for pack in plan.packs)
    assert set(first) == {"pack", "runs"}
    assert second == {
        "pack": plan.packs[1].id,
        "runs": [run.spec for run in plan.packs[1].runs],
        "before": [first["pack"]],
    }
    assert [packs_before(paths, pack.id) for pack in plan.packs] == [[], [plan.packs[0].id]]
    assert packs_before(paths, ID) == []


def test_a_plan_is_renewed_while_it_is_to_be_trained_and_kept_afterwards(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "results")
    one, grown = study_of(tmp_path), study_of(tmp_path, FROM_A_RUN, ("[0.5, 0.8]", "[0.5, 0.8, 0.9]"))
    keep_up(make_plan([one]), paths)
    old, child = (pack.id for pack in one.packs)
    keep_up(make_plan([grown]), paths)
    new = grown.packs[0].id
    assert packs_before(paths, child) == [new] != [old]
    train_plan(make_plan([grown]), paths)
    train_plan(make_plan([one]), paths)
    assert packs_before(paths, child) == [new]
    paths.pack_plan(child).unlink()
    keep_up(make_plan([one]), paths)
    assert packs_before(paths, child) == [old], "a job that Snakemake may start finds its plan"
    for file in (paths.receipt(old), paths.pack_plan(old)):
        file.unlink()
    assert packs_before(paths, child) == [], "nothing is left to wait for"


# ------------------------------------------------------------------------------------------ runs of other studies, ids


@pytest.fixture
def outside(tmp_path: Path) -> tuple[Path, Path, Run]:
    """A study of parents, one that starts from a run of it by id, and that run."""
    first = study_of(tmp_path, "null", name="parents")
    parent = first.runs[1]
    study_of(tmp_path, f"{{run: '{parent.id}', step: 6}}", ("lr: [0.5, 0.8]", "lr: 0.1"), name="children")
    return tmp_path / "parents.yaml", tmp_path / "children.yaml", parent


def only_mistake(error: Mistaken) -> Mistake:
    (mistake,) = error.mistakes
    return mistake


def test_a_run_of_another_selected_study(outside: tuple[Path, Path, Run]) -> None:
    first, second, parent = outside
    for order in ((first, second), (second, first)):
        plan = load_plan([str(path) for path in order])
        children = [run for run in plan.runs.values() if run.start]
        assert {run.parent for run in children} == {parent.id}
        assert sorted(waits(plan).values()) == [0, 0, 1]


def test_a_run_of_no_selected_study(outside: tuple[Path, Path, Run], tmp_path: Path) -> None:
    first, second, parent = outside
    paths = Paths(tmp_path / "results")
    for results in (None, paths):
        with pytest.raises(Mistaken) as caught:
            load_plan([str(second)], results)
        mistake = only_mistake(caught.value)
        assert (mistake.where, mistake.line) == ("grid[1].start.run", 13)
        assert parent.id in mistake.given
        assert mistake.remedy == "select its study too"
        assert str(caught.value).startswith(f"{second}: 1 mistake")
    train_plan(load_plan([str(first)]), paths)
    plan = load_plan([str(second)], paths)
    assert all(plan.packs_before(pack) == [] for pack in plan.packs)
    train_plan(plan, paths)
    paths.run(parent.id).unlink()
    assert load_plan([str(second)], paths).runs == plan.runs, "what is trained needs no parent"
    for child in (run for run in plan.runs.values() if run.start):
        kept = paths.run(child.id).read_bytes()
        paths.run(child.id).unlink()
        with pytest.raises(Mistaken, match="which is no such run"):
            load_plan([str(second)], paths)
        paths.run(child.id).write_bytes(kept)


@pytest.mark.parametrize(
    ("edit", "told"), [(("step: 6", "step: 7"), "keeps no parameters"), (("step: 6", "step: 12"), "12")]
)
def test_another_study_s_run_is_held_to_the_same(
    outside: tuple[Path, Path, Run], tmp_path: Path, edit: tuple[str, str], told: str
) -> None:
    first, second, _ = outside
    second.write_text(second.read_text().replace(*edit))
    paths = Paths(tmp_path / "results")
    with pytest.raises(Mistaken) as caught:
        load_plan([str(first), str(second)])
    assert told in only_mistake(caught.value).given
    train_plan(load_plan([str(first)]), paths)
    with pytest.raises(Mistaken) as caught:
        load_plan([str(second)], paths)
    assert told in only_mistake(caught.value).given


def test_a_file_of_results_that_is_no_run_of_this_version(outside: tuple[Path, Path, Run], tmp_path: Path) -> None:
    first, second, parent = outside
    paths = Paths(tmp_path / "results")
    train_plan(load_plan([str(first)]), paths)
    whole = paths.run(parent.id).read_bytes()
    paths.run(parent.id).write_bytes(whole[:-40])
    with pytest.raises(Mistaken, match="which is no such run"):
        load_plan([str(second)], paths)
    paths.run(parent.id).write_bytes(whole.replace(b'\\"engine\\":2', b'\\"engine\\":9'))
    with pytest.raises(Mistaken):
        load_plan([str(second)], paths)


def test_the_plan_says_how_many_start_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/config.yaml").write_text("studies: [probe.yaml]\n")
    save(tmp_path / "theta.npz", weight=np.ones((1, 4)))
    study_of(tmp_path, f"[{FROM_A_RUN}, {{file: theta.npz}}]")
    before = sorted(tmp_path.rglob("*"))
    assert main(["plan"]) == 0
    said = capsys.readouterr().out
    assert "probe: 2 of its runs start from files" in said
    assert "probe: 2 of its runs start from other runs" in said
    assert sorted(tmp_path.rglob("*")) == before
    study_of(tmp_path, "null")
    assert main(["plan"]) == 0
    assert "start from" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------- training


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Study, Paths]:
    study, paths = study_of(tmp_path), Paths(tmp_path / "results")
    train_plan(make_plan([study]), paths)
    return study, paths


def test_a_child_starts_where_its_parent_was(trained: tuple[Study, Paths]) -> None:
    study, paths = trained
    for child, parent in zip(started(study), parents(study), strict=True):
        recorded, kept = open_run(paths.run(child.id)), open_run(paths.run(parent.id))
        theta = kept.parameters.values[list(kept.parameters_step.values).index(6)]
        assert recorded.start_parameters.dtype == np.float32
        assert np.array_equal(recorded.start_parameters, theta)
        assert np.array_equal(recorded.parameters[0], theta)
        assert float(recorded.train_loss[0]) == float(kept.train_loss[6])
        assert recorded.sizes["step"] == 11


def test_a_child_is_trained_again_from_its_file_alone(trained: tuple[Study, Paths], tmp_path: Path) -> None:
    study, paths = trained
    file = paths.run(started(study)[0].id)
    stored = open_run(file)
    run, device = restore_run(json.loads(stored.attrs["spec"])), prepare("cpu")
    again = tmp_path / file.name
    write_run(train_run(run, device, stored.start_parameters.values), again, platform_record(run, device))
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(("child", "parent"), [("float64", "float32"), ("float32", "float64")])
def test_parameters_are_cast_to_the_dtype_of_the_child(tmp_path: Path, child: str, parent: str) -> None:
    start = f"{{run: {{lr: 0.5, dtype: {parent}}}, step: 6}}\n    dtype: {child}"
    study = study_of(tmp_path, start, ("  seed: [0, 1]\n", f"  seed: 0\n  dtype: {parent}\n"))
    paths = Paths(tmp_path / "results")
    train_plan(make_plan([study]), paths)
    kept = open_run(paths.run(parents(study)[0].id)).parameters
    assert str(kept.dtype) == parent
    theta = start_parameters(started(study)[0], paths)
    assert theta is not None
    assert theta.dtype == child
    assert np.array_equal(theta, kept.values[1].astype(child))


def test_a_file_is_copied_and_followed(tmp_path: Path) -> None:
    theta = np.asarray([[0.5, -1, 2, 0.25]])
    save(tmp_path / "theta.npz", weight=theta)
    study, paths = study_of(tmp_path, "{file: theta.npz}"), Paths(tmp_path / "results")
    (content,) = study.start_files.values()
    plan = make_plan([study])
    keep_up(plan, paths)
    assert sha256(paths.start(content)) == sha256(tmp_path / "theta.npz")
    (tmp_path / "theta.npz").unlink()
    train_plan(plan, paths)
    for run in started(study):
        assert np.array_equal(open_run(paths.run(run.id)).start_parameters, theta[0])
    paths.start(content).unlink()
    assert keep_up(plan, paths) == {}
    assert not paths.start(content).exists(), "what is trained needs no file"


def failures(pack_id: str, paths: Paths) -> list[str]:
    assert not train_pack(pack_id, paths, "cpu")
    report = json.loads(paths.failures(pack_id).read_text())
    assert not any("Traceback" in line for failure in report["failures"] for line in failure["log_tail"])
    return [failure["error"] for failure in report["failures"]]


@pytest.mark.parametrize(
    ("lr", "stop", "told"),
    [("1e9", "", "diverged after"), ("0.5", "    stop: {train_loss: 0.3}\n", "stopped after")],
)
def test_a_parent_that_ended_early_fails_its_children_alone(tmp_path: Path, lr: str, stop: str, told: str) -> None:
    start = f"[{{run: {{lr: 0.8}}, step: 10}}, {{run: {{lr: {lr}}}, step: 10}}]"
    lrs = ("  - lr: [0.5, 0.8]\n", f"  - lr: 0.8\n    observe: {{parameters: {{at: [10]}}}}\n  - lr: {lr}\n{stop}")
    study, paths = study_of(tmp_path, start, lrs), Paths(tmp_path / "results")
    plan = make_plan([study])
    keep_up(plan, paths)
    before, after = plan.packs
    assert train_pack(before.id, paths, "cpu")
    errors = failures(after.id, paths)
    assert len(errors) == 2
    assert all(re.match(rf"its parent [0-9a-f]{{16}} {told} \d+ updates; ", error) for error in errors)
    assert sum(paths.run(run.id).exists() for run in after.runs) == 2
    assert not paths.receipt(after.id).exists()


def test_what_is_not_there_or_damaged_is_told(tmp_path: Path) -> None:
    save(tmp_path / "theta.npz", weight=np.ones((1, 4)))
    study = study_of(tmp_path, f"[{FROM_A_RUN}, {{file: theta.npz}}]")
    paths = Paths(tmp_path / "results")
    child, _, filed, _ = started(study)
    with pytest.raises(StepscapeError, match="its parent has no file"):
        start_parameters(child, paths)
    with pytest.raises(StepscapeError, match="no such file"):
        start_parameters(filed, paths)
    keep_up(make_plan([study]), paths)
    (content,) = study.start_files.values()
    save(paths.start(content), weight=np.zeros((1, 4)))
    with pytest.raises(StepscapeError, match="damaged"):
        start_parameters(filed, paths)
    parent = paths.run(child.parent or "")
    parent.parent.mkdir(parents=True, exist_ok=True)
    parent.write_bytes(b"PK")
    with pytest.raises(DamagedFileError):
        start_parameters(child, paths)


def test_parameters_that_are_finite_in_the_dtype_of_the_parent_alone_are_refused(tmp_path: Path) -> None:
    start = "{run: {lr: 1e20, dtype: float64}, step: 3}\n    dtype: float32"
    double = ("  seed: [0, 1]\n", "  seed: 0\n  dtype: float64\n")
    growing = [("[0.5, 0.8]", "1e20"), ("at: [0, 6, 10]", "at: [3]"), double]
    study, paths = study_of(tmp_path, start, *growing), Paths(tmp_path / "results")
    plan = make_plan([study])
    keep_up(plan, paths)
    before, after = plan.packs
    assert train_pack(before.id, paths, "cpu")
    kept = open_run(paths.run(before.runs[0].id)).parameters.values
    assert np.isfinite(kept).all()
    assert np.abs(kept).max() > 1e39
    (error,) = failures(after.id, paths)
    assert "not a finite float32 number" in error


def test_a_start_is_never_left_out_or_made_up(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    with pytest.raises(ValueError, match="start_parameters"):
        train_run(started(study)[0], prepare("cpu"))
    with pytest.raises(ValueError, match="starts from its seed"):
        Problem(study.runs[0], prepare("cpu"), np.zeros(4, np.float32))


def test_a_file_without_what_its_run_started_from_is_damaged(trained: tuple[Study, Paths]) -> None:
    study, paths = trained
    run, device = started(study)[0], prepare("cpu")
    record = train_run(run, device, start_parameters(run, paths))
    record.start = None
    assert "start_parameters" not in as_dataset(record, {})
    write_run(record, paths.run(run.id), platform_record(run, device))
    with pytest.raises(DamagedFileError, match="start_parameters"):
        open_run(paths.run(run.id))


def test_least_squares_from_a_file_follow_their_closed_form(tmp_path: Path) -> None:
    """theta_s = theta* + (I - lr H)^s (theta_0 - theta*), with H and theta* from the data themselves."""
    theta = np.asarray([0.5, -1, 2, 0.25])
    save(tmp_path / "theta.npz", weight=theta[None])
    study, paths = study_of(tmp_path, "{file: theta.npz}\n    dtype: float64"), Paths(tmp_path / "results")
    train_plan(make_plan([study]), paths)
    run = started(study)[0]
    data = run.dataset.load()
    hessian = data.train_inputs.T @ data.train_inputs / len(data.train_inputs)
    solution = np.linalg.lstsq(data.train_inputs, data.train_targets, rcond=None)[0][:, 0]
    contraction = np.eye(4) - 0.3 * hessian
    expected = [solution + np.linalg.matrix_power(contraction, s) @ (theta - solution) for s in range(11)]
    worst = np.abs(open_run(paths.run(run.id)).parameters.values - expected).max()
    assert worst < 1e-13, f"off by {worst:.1e}"


# ------------------------------------------------------------------------------------------------- the example in docs


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs/runs_from_runs.md").read_text(), re.DOTALL)


def test_the_documented_study_runs(tmp_path: Path) -> None:
    path = tmp_path / "documented.yaml"
    path.write_text(blocks("yaml")[0])
    study, paths = load_study(path), Paths(tmp_path / "results")
    assert len(started(study)) == 6
    train_plan(make_plan([study]), paths)
    gone_on = next(run for run in started(study) if run.lr == 0.2)
    child, parent = open_run(paths.run(gone_on.id)), open_run(paths.run(gone_on.parent or ""))
    assert np.array_equal(child.train_loss, parent.train_loss[20:])


def test_a_network_of_torch_is_followed_from_its_own_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    (code,) = blocks("python")
    exec(code, scope)
    content = blocks("yaml")[0].replace("start: {run: {lr: 0.2}, step: 20}", blocks("yaml")[1].strip())
    path = tmp_path / "documented.yaml"
    path.write_text(content.replace("  seed: [0, 1]\n", "  seed: 0\n  dtype: float64\n"))
    study, paths = load_study(path), Paths(tmp_path / "results")
    train_plan(make_plan([study]), paths)
    run = next(run for run in started(study) if run.lr == 0.8)
    net: nn.Module = scope["net"].double()
    data = run.dataset.load()
    inputs, targets = torch.as_tensor(data.train_inputs).double(), torch.as_tensor(data.train_targets).double()
    descent = torch.optim.SGD(net.parameters(), lr=0.8)
    losses = []
    for _ in range(41):
        descent.zero_grad()
        loss = run.loss(net(inputs), targets)
        losses.append(float(loss.detach()))
        loss.backward()
        descent.step()
    worst = np.abs(open_run(paths.run(run.id)).train_loss.values - losses).max()
    assert worst < 1e-13, f"off by {worst:.1e}"
