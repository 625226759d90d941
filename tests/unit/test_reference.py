"""The generated reference: up to date, complete, and of one mind with what reads studies."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stepscape.datasets._user_file import UserFile
from stepscape.errors import FileError, StepscapeError
from stepscape.registry import KINDS, own_members, settings
from stepscape.study.config import Config
from stepscape.study.reference import SCHEMA, reference_texts, study_schema, write_reference
from stepscape.study.reference_pages import MEMBER_PAGES, README, default_text, key_reference, member_reference
from stepscape.study.run import Budget, Run, Stop
from stepscape.study.spec import StudyFile, load_study
from tests.planning import ROOT, SHIPPED, VALID, edited, in_block, write

SCHEMA_OF_STUDIES = study_schema()
MEMBERS = [(kind, cls) for kind in KINDS for cls in own_members(kind)]


def schema_accepts(text: str) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA_OF_STUDIES).is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(("path", "text"), reference_texts().items(), ids=str)
def test_the_reference_is_up_to_date(path: Path, text: str) -> None:
    assert (ROOT / path).read_text() == text, f"{path} is stale; `stepscape reference` writes it anew"


def test_there_is_a_page_for_each_kind_and_no_other() -> None:
    assert {path.stem for path in (ROOT / "docs/members").iterdir()} == set(KINDS.values())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA_OF_STUDIES)
    assert "object at 0x" not in json.dumps(SCHEMA_OF_STUDIES)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_follow_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMA_OF_STUDIES)


FORMS = {
    "as it is": [],
    "lists of members": [("{name: mlp, hidden: [8]}", "[mlp, {name: mlp, hidden: [8]}, {name: linear, label: L}]")],
    "dotted keys": [in_block("    model.hidden: [[4], [8, 8]]\n    budget.steps: [40, 1e2]\n")],
    "texts of numbers": [("[0.1, 0.2]", "[1e-3, '2e-3', 1E+0]"), ("steps: 40", "steps: '40'")],
    "geometric range": [("[0.1, 0.2]", "{geometric: [1e-3, 1], factor: 10}")],
    "linear range": [("[0, 1]", "{linear: [0, 4], step: 1}")],
    "zip": [("    lr: [0.1, 0.2]\n", "    zip: {lr: [0.1, 0.2], batch_size: [10, full]}\n")],
    "exclude": [in_block("    exclude: [{lr: 0.1, seed: [0, 1]}]\n")],
    "batch sizes": [in_block("    batch_size: [10, full, '20']\n")],
    "stop": [in_block("    stop: [null, {train_loss: 1e-2}, {train_accuracy: 1, every: 5}]\n")],
    "start": [
        in_block("    start: [null, {run: 0123456789abcdef, step: 3}, {run: {lr: 0.1, seed: 0}, step: '40'}]\n"),
        ("  losses: {every: 1}\n", "  losses: {every: 1}\n  parameters: {at: [40]}\n"),
    ],
    "all scalars": [in_block("    dtype: float64\n    branch_noise: [0, 1e-6]\n    schedule: constant\n")],
    "block observes": [in_block("    observe: {parameters: {at: [0, 40]}, gradient_norm: {pairs: 10}}\n")],
    "epochs": [("steps: 40", "epochs: 3")],
    "samples": [("steps: 40", "samples: 5000")],
    "claim and figure with all": [
        ("name: hovers_at_threshold", "name: hovers_at_threshold, low: 0.9, where: {optimizer: gd, lr: [0.1]}"),
        ("- loss_curves", "- {id: losses, name: loss_curves, window: 5, where: {seed: 0}}"),
    ],
    "regression": [
        ("{name: digits, train_size: 100, test_size: 20}", "{name: quadratic, eigenvalues: [1, 1e-1, 2, 3]}")
    ],
    "tolerances": [("every: 20, k: 2", "every: 20, k: 2, tol: 1e-4, audit_every: 0")],
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_follows_the_schema(tmp_path: Path, form: str) -> None:
    text = edited(*FORMS[form])
    load_study(write(tmp_path, text))
    jsonschema.validate(yaml.safe_load(text), SCHEMA_OF_STUDIES)


BROKEN = {
    "unknown key": ("figures:", "figure:"),
    "unknown key of a block": ("    seed:", "    sede:"),
    "unknown key of defaults": ("  loss: mse\n", "  loss: mse\n  zip: {}\n"),
    "unknown field of a member": ("hidden: [8]", "hiden: [8]"),
    "unknown member": ("loss: mse", "loss: mze"),
    "unknown observable": ("hessian_top:", "hesian_top:"),
    "unknown claim": ("hovers_at_threshold", "hover_at_threshold"),
    "unknown figure": ("- loss_curves", "- loss_curve"),
    "unknown part": ("    seed:", "    optimiser.beta1: 3\n    seed:"),
    "no title": ("title: A small study\n", ""),
    "title that is a number": ("A small study", "3"),
    "sources that are no list": ("[arXiv:2103.00065]", "arXiv:2103.00065"),
    "observables as a list": ("  losses: {every: 1}\n  hessian_top: {every: 20, k: 2}\n", "  - losses\n"),
    "claims as a mapping": ("  - {id: edge, name: hovers_at_threshold}", "  edge: {name: hovers_at_threshold}"),
    "negative lr": ("[0.1, 0.2]", "-0.1"),
    "lr that is true": ("[0.1, 0.2]", "true"),
    "lr that is text": ("[0.1, 0.2]", "fast"),
    "empty axis": ("[0.1, 0.2]", "[]"),
    "range without a step": ("[0.1, 0.2]", "{linear: [0, 1]}"),
    "negative seed": ("[0, 1]", "-1"),
    "batch of none": ("    seed:", "    batch_size: 0\n    seed:"),
    "batch of text": ("    seed:", "    batch_size: all\n    seed:"),
    "number for a list": ("hidden: [8]", "hidden: 8"),
    "no eigenvalues": ("k: 2", "k: 0"),
    "unknown dtype": ("    seed:", "    dtype: float16\n    seed:"),
    "start from what is no id": ("    seed:", "    start: {run: 0123456789abcde, step: 1}\n    seed:"),
    "start from a step before the first": ("    seed:", "    start: {run: {}, step: -1}\n    seed:"),
    "start of another key": ("    seed:", "    start: {from: theta.npz}\n    seed:"),
    "unknown budget": ("steps: 40", "step: 40"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_the_schema_can_refuse_it_refuses(tmp_path: Path, case: str) -> None:
    text = edited(BROKEN[case])
    with pytest.raises(FileError):
        load_study(write(tmp_path, text))
    assert not schema_accepts(text)


def test_the_valid_study_is_the_base_of_these(tmp_path: Path) -> None:
    assert load_study(write(tmp_path, VALID))
    assert schema_accepts(VALID)


@pytest.mark.parametrize(("kind", "cls"), MEMBERS, ids=[f"{kind}.{cls.name}" for kind, cls in MEMBERS])
def test_every_member_and_field_is_in_the_reference(kind: str, cls: Any) -> None:
    assert f"[`{cls.name}`](../{MEMBER_PAGES[kind]}#{cls.name})" in key_reference()
    entry = member_reference(kind).partition(f"## `{cls.name}`\n")[2].partition("\n## ")[0]
    assert f"Version {cls.version}." in entry
    assert inspect.getdoc(cls) in entry
    assert cls.source in re.sub(r"\[([^]]+)\]\(https://arxiv[^)]+\)", r"\1", entry)
    clock = {"every", "at", "pairs"} if kind == "observable" else set()
    for name in settings(cls).keys() - clock:
        assert f"| `{name}` |" in entry
    assert all(row.replace(r"\|", "").count("|") == 5 for row in entry.splitlines() if row.startswith("|"))


@pytest.mark.parametrize("cls", [Config, StudyFile, Run, Budget, Stop])
def test_every_key_says_what_it_means(cls: Any) -> None:
    for name, info in settings(cls).items():
        assert info.description, name
        assert name == "observe" or f"| `{name}` | {info.description} |" in key_reference()


@pytest.mark.parametrize(("kind", "cls"), MEMBERS, ids=[f"{kind}.{cls.name}" for kind, cls in MEMBERS])
def test_defaults_are_spelled_as_a_study_would(kind: str, cls: Any) -> None:
    needed = {"every": 1} if kind == "observable" else {"path": "x"} if issubclass(cls, UserFile) else {}
    for name, info in settings(cls).items():
        text = default_text(info)
        if text not in ("", "required"):
            assert cls(**needed, **{name: yaml.safe_load(text)}) == cls(**needed), name


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a checkout without its reference, as the working directory."""
    (tmp_path / SCHEMA.parent).mkdir(parents=True)
    (tmp_path / README.parent).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stale_reference_is_told_and_written_anew(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_reference(check=True) == 1
    assert [path for path in reference_texts() if path.exists()] == []
    assert "is stale; `stepscape reference` writes it anew" in capsys.readouterr().err
    assert write_reference(check=False) == 0
    assert write_reference(check=True) == 0
    README.write_text(README.read_text() + "a line by hand\n")
    assert write_reference(check=True) == 1
    assert capsys.readouterr().err.startswith(f"{README} is stale")


def test_the_reference_belongs_to_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StepscapeError, match="run this in the root of a checkout"):
        write_reference(check=False)
