"""Fingerprints: a job runs again when its settings, its runs or the code behind its numbers change, and only then."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepscape.study import fingerprint
from stepscape.study.fingerprint import code_of, of_claims, of_dataset, of_figure
from stepscape.study.spec import Study
from tests.planning import VALID, edited, load, run_python

MEMBER = '''
"""A module."""

from __future__ import annotations

LIMIT = 3  # a comment


class Rule:
    """A class."""

    def judge(self, value: float) -> bool:
        """Whether it is below."""
        return value < LIMIT
'''

Write = Callable[[dict[str, str]], str]

HARMLESS: dict[str, Callable[[str], str]] = {
    "comment": lambda text: text.replace("# a comment", "# another"),
    "module's docstring": lambda text: text.replace("A module.", "The module."),
    "class's docstring": lambda text: text.replace('    """A class."""\n\n', ""),
    "function's docstring": lambda text: text.replace("Whether it is below.", "Whether it is small."),
    "layout": lambda text: text.replace("value < LIMIT", "(value\n            < LIMIT)"),
}
TELLING: dict[str, Callable[[str], str]] = {
    "number": lambda text: text.replace("LIMIT = 3", "LIMIT = 4"),
    "operator": lambda text: text.replace("value < LIMIT", "value <= LIMIT"),
    "name": lambda text: text.replace("class Rule", "class Law"),
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hashes of code are kept for a process; here files change within one."""
    code_of.cache_clear()
    yield
    code_of.cache_clear()


@pytest.fixture
def write_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules, tells of the first its hash; those whose name starts with `shared` are followed."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(fingerprint, "_FOLLOWED", ("shared",))

    def write(modules: dict[str, str]) -> str:
        for name, text in modules.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        code_of.cache_clear()
        return code_of(next(iter(modules)))

    yield write
    assert "shared_edge" not in sys.modules, "hashing a module must not import it"
    sys.modules.pop("shared_room", None)


@pytest.mark.parametrize("change", HARMLESS)
def test_comments_docstrings_and_layout_change_nothing(write_modules: Write, change: str) -> None:
    changed = HARMLESS[change](MEMBER)
    assert changed != MEMBER
    assert write_modules({"rule": changed}) == write_modules({"rule": MEMBER})


@pytest.mark.parametrize("change", TELLING)
def test_code_changes_the_hash(write_modules: Write, change: str) -> None:
    assert write_modules({"rule": TELLING[change](MEMBER)}) != write_modules({"rule": MEMBER})


@pytest.mark.parametrize(
    "line",
    [
        "from shared_edge import LIMIT",
        "from shared_edge import LIMIT as bound",
        "import shared_edge",
        "import shared_edge as edge",
        "def late():\n    from shared_edge import LIMIT",
        "from shared_way import anything",
    ],
)
def test_what_is_imported_from_shared_rooms_counts(write_modules: Write, line: str) -> None:
    modules = {"rule": line, "shared_way": "from shared_edge import LIMIT\n"}
    hashes = [write_modules({**modules, "shared_edge": f"LIMIT = {limit}\n"}) for limit in (3, 4)]
    assert hashes[0] != hashes[1]


def test_a_module_imported_from_its_package_counts(write_modules: Write) -> None:
    modules = {"rule": "from shared_room import edge\n", "shared_room/__init__": ""}
    hashes = [write_modules({**modules, "shared_room/edge": f"LIMIT = {limit}\n"}) for limit in (3, 4)]
    assert hashes[0] != hashes[1]


def test_what_is_imported_from_elsewhere_does_not_count(write_modules: Write) -> None:
    rule = "import other_edge\n"
    hashes = [write_modules({"rule": rule, "other_edge": f"LIMIT = {limit}\n"}) for limit in (3, 4)]
    assert hashes[0] == hashes[1]


def test_modules_that_import_each_other_end(write_modules: Write) -> None:
    assert write_modules({"shared_a": "import shared_b\n", "shared_b": "import shared_a\n"})


def test_a_claim_depends_on_the_analysis_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = code_of("stepscape.claims.hovers_at_threshold")
    code_of.cache_clear()
    monkeypatch.setattr(fingerprint, "_FOLLOWED", ("stepscape.claims",))
    assert code_of("stepscape.claims.hovers_at_threshold") != followed


CLAIM = "{id: edge, name: hovers_at_threshold"
CHANGES = {
    "title": (("A small study", "Another study"), {"dataset"}),
    "question": (("sources:", "question: why?\nsources:"), {"dataset"}),
    "sources": (("arXiv:2103.00065", "arXiv:2207.14484"), {"dataset"}),
    "label": (("optimizer: gd", "optimizer: {name: gd, label: plain}"), {"dataset"}),
    "lr": (("[0.1, 0.2]", "[0.1, 0.3]"), {"dataset", "claims", "figure"}),
    "clock": (("{every: 20, k: 2}", "{every: 10, k: 2}"), {"dataset", "claims", "figure"}),
    "claim's field": ((CLAIM, f"{CLAIM}, high: 1.2"), {"claims"}),
    "claim's runs": ((CLAIM, f"{CLAIM}, where: {{lr: 0.1}}"), {"claims"}),
    "claim's id": ((CLAIM, CLAIM.replace("edge", "other")), {"claims"}),
    "figure's field": (("- loss_curves", "- {name: loss_curves, window: 3}"), {"figure"}),
    "figure's runs": (("- loss_curves", "- {name: loss_curves, where: {seed: 0}}"), {"figure"}),
    "another figure": (("- loss_curves", "- loss_curves\n  - sharpness_over_threshold"), set()),
    "where that picks all": ((CLAIM, f"{CLAIM}, where: {{optimizer: gd}}"), set()),
    "default spelled out": (("- loss_curves", "- {name: loss_curves, window: 31}"), set()),
    "another spelling": (("[0.1, 0.2]", "[1e-1, 2.0e-1]"), set()),
    "order": (("[0.1, 0.2]", "[0.2, 0.1]"), set()),
}


def fingerprints(study: Study) -> dict[str, str]:
    return {"dataset": of_dataset(study), "claims": of_claims(study), "figure": of_figure(study, "loss_curves")}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_study_reaches_what_it_concerns(tmp_path: Path, change: str) -> None:
    edit, expected = CHANGES[change]
    before, after = (fingerprints(load(tmp_path, text)) for text in (VALID, edited(edit)))
    assert {name for name in before if before[name] != after[name]} == expected


def test_fingerprints_are_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "probe.yaml").write_text(VALID)
    code = (
        "from stepscape.study.fingerprint import *\n"
        "from stepscape.study.spec import load_study\n"
        "study = load_study('probe.yaml')\n"
        "print(of_dataset(study), of_claims(study), of_figure(study, 'loss_curves'))\n"
    )
    printed = {run_python(code, cwd=tmp_path, PYTHONHASHSEED=str(seed)) for seed in (0, 1)}
    assert printed == {" ".join(fingerprints(load(tmp_path, VALID)).values()) + "\n"}
