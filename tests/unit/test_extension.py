"""Studies that extend another one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from stepscape.errors import FileError
from stepscape.study.companions import study_files
from stepscape.study.spec import load_study
from tests.planning import VALID, load, told

SMALL = "extends: valid\ndefaults: {budget: {steps: 4}, loss: cross_entropy}\nobserve: {hessian_top: {every: 2}}\n"


def test_what_it_does_not_say_is_as_there(tmp_path: Path) -> None:
    study = load(tmp_path, SMALL, {"valid.yaml": VALID})
    base = load_study(tmp_path / "valid.yaml")
    assert (study.name, study.title, study.sources) == ("probe", base.title, base.sources)
    assert [(entry.id, entry.member) for entry in study.claims] == [(entry.id, entry.member) for entry in base.claims]
    changed = {"budget", "loss", "observe"}
    fields = {field.name for field in dataclasses.fields(base.runs[0])}
    for run, other in zip(study.runs, base.runs, strict=True):
        assert {name for name in fields if getattr(run, name) != getattr(other, name)} == changed
        assert run.budget.steps == 4
        assert {entry.name: entry.every for entry in run.observe} == {"losses": 1, "hessian_top": 2}


def test_its_own_keys_stand_in_place_of_those_there(tmp_path: Path) -> None:
    text = "extends: valid\ntitle: Two runs\ngrid: [{optimizer: gd, lr: [0.3, 0.4]}]\nclaims: []\nfigures: null\n"
    study = load(tmp_path, text, {"valid.yaml": VALID})
    assert study.title == "Two runs"
    assert [run.lr for run in study.runs] == [0.3, 0.4]
    assert not study.claims
    assert not study.figures


def test_both_files_are_of_the_study(tmp_path: Path) -> None:
    study = load(tmp_path, SMALL, {"valid.yaml": VALID})
    assert study_files(study) == {
        "config/studies/probe.yaml": tmp_path / "probe.yaml",
        "config/studies/valid.yaml": tmp_path / "valid.yaml",
    }


@pytest.mark.parametrize("name", ["vald", "../valid", "probe", "[valid]", "3"])
def test_another_study_beside_it_is_named(name: str, tmp_path: Path) -> None:
    (mistake,) = told(tmp_path, f"title: T\nextends: {name}\n", {"valid.yaml": VALID})
    assert (mistake.where, mistake.line) == ("extends", 2)
    assert mistake.allowed == f"the name of another study in {tmp_path}"
    assert name != "vald" or mistake.remedy == "did you mean 'valid'?"


@pytest.mark.parametrize(
    ("text", "words"), [("extends: other\n", "which extends a study itself"), ("- 1\n", "which is no study")]
)
def test_only_a_whole_study_can_be_extended(text: str, words: str, tmp_path: Path) -> None:
    (mistake,) = told(tmp_path, "extends: valid\n", {"valid.yaml": text})
    assert words in mistake.given


def test_what_is_wrong_is_told_of_the_file_where_it_stands(tmp_path: Path) -> None:
    (mistake,) = told(tmp_path, SMALL.replace("steps: 4", "steps: none"), {"valid.yaml": VALID})
    assert (mistake.where, mistake.line) == ("defaults.budget.steps", 2)
    with pytest.raises(FileError) as caught:
        load(tmp_path, SMALL, {"valid.yaml": VALID.replace("seed:", "sede:")})
    assert caught.value.path == tmp_path / "valid.yaml"
    assert [(mistake.where, mistake.line) for mistake in caught.value.mistakes] == [("grid[0].sede", 11)]
