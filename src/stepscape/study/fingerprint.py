"""What must make a job run again: the settings it uses, and the code that makes its numbers, comments left out."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stepscape.store.files import sha256
from stepscape.study.companions import study_files
from stepscape.study.identity import canonical_json, digest, plain
from stepscape.study.spec import Entry, Study

_FOLLOWED = ("stepscape.analysis", "stepscape.claims", "stepscape.figures", "stepscape.report")
"""Rooms whose code is part of what a claim, figure or page shows, wherever it is imported from."""
_COLLECTING = ("stepscape.store.collect", "stepscape.store.layout", "stepscape.store.blocks")
"""The modules that say what a dataset looks like."""
_REPORTING = ("stepscape.report.study", "stepscape.report.index")
"""The modules that make pages."""


def of_dataset(study: Study) -> str:
    """Of a study's dataset: its runs, what they are called, and how they are collected."""
    labels = sorted((role, canonical_json(plain(held)), label) for (role, held), label in study.labels.items())
    words = [study.title, study.question, list(study.sources)]
    return _digest([sorted(run.id for run in study.runs), labels, words, *map(code_of, _COLLECTING)])


def of_claims(study: Study) -> str:
    """Of a study's claims."""
    return _digest([_entry(study, entry) for entry in study.claims])


def of_figure(study: Study, figure: str) -> str:
    """Of one of a study's figures."""
    return _digest([_entry(study, entry) for entry in study.figures if entry.id == figure])


def of_report(study: Study) -> str:
    """Of a study's page: what it asks, which runs its claims and figures are about, and how pages are made."""
    entries: list[Entry[Any]] = [*study.claims, *study.figures]
    picked = [[entry.id, sorted(run.id for run in study.pick(entry))] for entry in entries]
    return _digest([study.title, study.question, list(study.sources), picked, of_pages()])


@cache
def of_pages() -> str:
    """Of how pages are made: the code, and templates, scripts and style to the byte."""
    folder = Path(__file__).parents[1] / "report" / "page"
    parts = [[file.name, sha256(file)] for file in sorted(folder.iterdir()) if file.is_file()]
    return _digest([parts, *map(code_of, _REPORTING)])


def of_archive(study: Study) -> str:
    """Of a study's archive: the study's file and those it names, to the byte; the rest are inputs."""
    return _digest(sorted((name, sha256(file)) for name, file in study_files(study).items()))


def _entry(study: Study, entry: Entry[Any]) -> list[Any]:
    runs = sorted(run.id for run in study.pick(entry))
    return [entry.id, plain(entry.member), runs, code_of(type(entry.member).__module__)]


def _digest(value: Any) -> str:
    return digest(canonical_json(value))


@cache
def code_of(module: str) -> str:
    """A hash of a module's parsed source, and of what it imports from the rooms whose code shows in results."""
    sources: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        origin = _origin(name)
        if name in sources or origin is None:
            continue
        tree = ast.parse(origin.read_bytes())
        sources[name] = ast.dump(_without_docstrings(tree))
        waiting += [other for other in _imported(tree) if other.startswith(_FOLLOWED)]
    return _digest(sorted(sources.items()))


def _imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a module imports by their full names; what `from x import y` names may be one too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _origin(module: str) -> Path | None:
    """The file of a module; None for what is a name in one. Imports packages at most, never a module."""
    home = module.rpartition(".")[0]
    origin = _origin(home) if home else None
    if home and (origin is None or origin.name != "__init__.py"):
        return None
    try:
        spec = find_spec(module)
    except ValueError:  # what stands in a notebook
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:]
    return tree
