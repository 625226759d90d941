"""Members: found by listing folders and entry points, made from what a study says, imported only when named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import pytest

from stepscape import registry
from stepscape.datasets._user_file import UserFile
from stepscape.errors import Mistaken, StepscapeError
from stepscape.fields import Count, PositiveReal, describe
from stepscape.models import Model
from stepscape.observables import Observable
from stepscape.registry import KINDS, find, make, member, members, names, non_defaults, own_members, settings
from tests.planning import ROOT, run_python

SOURCES = ROOT / "src" / "stepscape"
OWN = [(kind, cls) for kind in KINDS for cls in own_members(kind)]
CASES = pytest.mark.parametrize(("kind", "cls"), OWN, ids=[f"{kind}.{cls.name}" for kind, cls in OWN])


def declared(kind: str) -> list[str]:
    """The names that the files of a folder give their members."""
    files = sorted((SOURCES / KINDS[kind]).glob("[!_]*.py"))
    return sorted(name for file in files for name in re.findall(r'^@member\("(\w+)"', file.read_text(), re.MULTILINE))


@pytest.mark.parametrize("kind", KINDS)
def test_all_members_in_the_folder_are_found(kind: str) -> None:
    assert [cls.name for cls in own_members(kind)] == declared(kind)
    assert set(declared(kind)) <= set(names(kind))
    assert names(kind) == sorted(names(kind))
    assert {cls.name for cls in members(kind)} == set(names(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_holds_one_member_and_bears_its_name(kind: str) -> None:
    assert sorted(file.stem for file in (SOURCES / KINDS[kind]).glob("[!_]*.py")) == declared(kind)


@CASES
def test_members_say_what_they_are(kind: str, cls: Any) -> None:
    assert cls.kind == kind
    assert isinstance(cls.version, int)
    assert cls.version >= 1
    assert cls.__doc__
    assert cls.__doc__ != cls.__mro__[1].__doc__
    assert all(info.description for info in settings(cls).values()), "every field says what it means"


@CASES
def test_members_are_values(kind: str, cls: Any) -> None:
    given = {"every": 1} if issubclass(cls, Observable) else {"path": "x"} if issubclass(cls, UserFile) else {}
    one, other = (make(kind, {"name": cls.name, **given}, "") for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):
        one.anything = 1  # type: ignore[attr-defined]


def test_unknown_members_are_not_found() -> None:
    assert find("optimizer", "no_such_rule") is None
    assert find("optimizer", "mlp") is None


@pytest.mark.parametrize(
    ("given", "where", "told", "remedy"),
    [
        ("mpl", "model", "unknown model 'mpl'", "did you mean 'mlp'?"),
        ({"name": "mpl"}, "model.name", "unknown model 'mpl'", "did you mean 'mlp'?"),
        ({"name": "zzz"}, "model.name", "unknown model 'zzz'", ""),
        ({"name": 3}, "model", "{name: 3}", ""),
        ({"hidden": [8]}, "model", "{hidden: [8]}", ""),
        (["mlp"], "model", "['mlp']", ""),
        (None, "model", "nothing", ""),
        (3, "model", "3", ""),
        ({"name": "mlp", "hiden": [8]}, "model.hiden", "unknown key 'hiden'", "did you mean 'hidden'?"),
        ({"name": "mlp", "hidden": 8}, "model.hidden", "8", ""),
        ({"name": "mlp", "hidden": [8, 0]}, "model.hidden[1]", "0", ""),
        ({"name": "mlp", 3: 4}, "model", "{name: 'mlp', 3: 4}", ""),
    ],
)
def test_a_member_that_cannot_be_made_is_told(given: Any, where: str, told: str, remedy: str) -> None:
    with pytest.raises(Mistaken) as caught:
        make("model", given, "model")
    (mistake,) = caught.value.mistakes
    assert (mistake.where, mistake.given, mistake.remedy) == (where, told, remedy)
    assert mistake.allowed


def test_members_that_exist_are_listed_to_who_misspells_one() -> None:
    with pytest.raises(Mistaken) as caught:
        make("loss", "mze", "loss")
    (mistake,) = caught.value.mistakes
    assert mistake.allowed == ", ".join(declared("loss"))


def test_only_fields_that_differ_from_their_defaults_are_kept() -> None:
    assert non_defaults(make("optimizer", {"name": "adam", "beta1": "0.9", "eps": 1e-7}, "")) == {"eps": 1e-7}
    assert non_defaults(make("model", {"name": "mlp", "hidden": [32, 32]}, "")) == {}


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations of a test end with it."""
    monkeypatch.setattr(registry, "_members", dict(registry._members))


@pytest.mark.usefixtures("scratch")
def test_the_decorator_makes_a_frozen_typed_member() -> None:
    @member("tower", version=3, source="ours")
    class Tower(Model):
        """A tower."""

        height: Annotated[Count, describe("storeys", "storeys")] = 2
        width: Annotated[PositiveReal, describe("of one storey")]

    assert find("model", "tower") is Tower
    assert (Tower.name, Tower.version, Tower.source) == ("tower", 3, "ours")
    made = make("model", {"name": "tower", "width": "1e-1"}, "")
    assert non_defaults(made) == {"width": 0.1}
    with pytest.raises(Mistaken, match="this key is required"):
        make("model", "tower", "")


@pytest.mark.usefixtures("scratch")
def test_a_name_belongs_to_one_member_of_a_kind() -> None:
    @member("gd")
    class SameNameOfAnotherKind(Model):
        """Not an optimizer."""

    assert find("model", "gd") is SameNameOfAnotherKind
    with pytest.raises(StepscapeError, match="two members of kind model are called 'gd'"):

        @member("gd")
        class Second(Model):
            """Another."""


@pytest.mark.parametrize("name", ["GD", "gradient descent", "a-b", "", "../x"])
def test_names_of_members_become_file_names(name: str) -> None:
    with pytest.raises(StepscapeError, match="allowed: small letters, digits and _"):
        member(name)


# -- members of other packages -----------------------------------------------------------------------------------------

STUDY = """\
title: Another package's rule
defaults: {dataset: {name: quadratic}, model: linear, loss: mse, budget: {steps: 3}, lr: 0.1}
grid:
  - optimizer: RULE
observe: {losses: {every: 1}}
"""
PLANS = """
import sys
from stepscape.study.spec import load_study
study = load_study("probe.yaml")
print([run.optimizer for run in study.runs], study.runs[0].spec["optimizer"], "lab_rules" in sys.modules)
"""
TELLS = """
from stepscape.errors import FileError
from stepscape.study.spec import load_study
try:
    load_study("probe.yaml")
except FileError as error:
    print(error)
"""
RULES = '''
from typing import Annotated
from stepscape.fields import PositiveReal, describe
from stepscape.optimizers import Optimizer
from stepscape.registry import member

@member("sign", version=4, source="a notebook")
class Sign(Optimizer):
    """theta <- theta - lr scale sign(g)."""

    scale: Annotated[PositiveReal, describe("of the step")] = 1.0
'''


def install(folder: Path, package: str, module: str, code: str, points: dict[str, str]) -> None:
    """Lays down an installed package: a module, and the metadata that names its members."""
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[stepscape.members]", *lines, ""]))


def study(folder: Path, rule: str) -> None:
    (folder / "probe.yaml").write_text(STUDY.replace("RULE", rule))


def test_a_study_may_name_a_member_of_another_package(tmp_path: Path) -> None:
    install(tmp_path, "lab", "lab_rules", RULES, {"optimizer.sign": "lab_rules"})
    study(tmp_path, "{name: sign, scale: 1e-1}")
    told = run_python(PLANS, tmp_path, cwd=tmp_path)
    assert told == "[Sign(scale=0.1)] {'name': 'sign', 'version': 4, 'scale': 0.1} True\n"


def test_another_package_is_not_imported_unless_named(tmp_path: Path) -> None:
    install(tmp_path, "lab", "lab_rules", "raise SystemExit('imported')", {"optimizer.sign": "lab_rules"})
    study(tmp_path, "gd")
    assert run_python(PLANS, tmp_path, cwd=tmp_path).endswith("False\n")


def test_its_members_are_listed_without_importing_it(tmp_path: Path) -> None:
    install(tmp_path, "lab", "lab_rules", "raise SystemExit('imported')", {"optimizer.sign": "lab_rules"})
    study(tmp_path, "sgin")
    told = run_python(TELLS, tmp_path, cwd=tmp_path)
    assert "unknown optimizer 'sgin'" in told
    assert f"allowed  {', '.join(sorted([*declared('optimizer'), 'sign']))}\n" in told
    assert "did you mean 'sign'?" in told


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "'lab_rules' cannot be imported: ModuleNotFoundError: No module named 'no_such"),
        ("1 +", "'lab_rules' cannot be imported: SyntaxError"),
        ("1 / 0", "'lab_rules' cannot be imported: ZeroDivisionError"),
        ("x = 1", "'lab_rules' registers no optimizer called 'sign'"),
        (RULES.replace('"sign"', '"sgn"'), "'lab_rules' registers no optimizer called 'sign'"),
    ],
    ids=["import", "syntax", "exception", "nothing", "other"],
)
def test_a_package_that_fails_is_told_where_it_is_named(tmp_path: Path, code: str, reason: str) -> None:
    install(tmp_path, "lab", "lab_rules", code, {"optimizer.sign": "lab_rules"})
    study(tmp_path, "sign")
    told = run_python(TELLS, tmp_path, cwd=tmp_path)
    assert told.startswith("probe.yaml: 1 mistake\n  line 4, grid[0].optimizer\n")
    assert reason in told


def test_a_name_that_two_packages_have_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "lab", "lab_rules", RULES, {"optimizer.sign": "lab_rules"})
    install(tmp_path, "bar", "bar_rules", RULES, {"optimizer.sign": "bar_rules"})
    study(tmp_path, "sign")
    assert "optimizer 'sign' is in several packages: bar_rules, lab_rules" in run_python(TELLS, tmp_path, cwd=tmp_path)


def test_a_name_that_stepscape_has_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "lab", "lab_rules", RULES.replace('"sign"', '"adam"'), {"optimizer.adam": "lab_rules"})
    study(tmp_path, "adam")
    assert "optimizer 'adam' is in several packages: lab_rules, stepscape" in run_python(TELLS, tmp_path, cwd=tmp_path)


def test_what_is_installed_does_not_change_the_reference(tmp_path: Path) -> None:
    install(tmp_path, "lab", "lab_rules", RULES, {"optimizer.sign": "lab_rules"})
    code = "from stepscape.study.reference import reference_texts; print(reference_texts())"
    assert run_python(code, tmp_path) == run_python(code)
