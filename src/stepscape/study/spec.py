"""A study: one YAML file, read, checked and expanded. All its mistakes are told together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as typed_dataclass

from stepscape.claims import Claim
from stepscape.errors import FileError, Mistake, Mistaken, Mistakes, listed
from stepscape.fields import IDENTIFIERS, Text, describe, is_identifier, mistakes_of, shown
from stepscape.figures import Figure
from stepscape.observables import Observable
from stepscape.registry import Member, make, names, settings
from stepscape.study.extension import read_study
from stepscape.study.grid import Expansion, expand, parse_observe
from stepscape.study.labels import label_members
from stepscape.study.run import Run, Start, describe_run
from stepscape.study.selection import Selection
from stepscape.study.source import line_of
from stepscape.study.starts import Starts, resolve_starts

M = TypeVar("M", bound=Claim | Figure)


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class StudyFile:
    """The keys of a study file."""

    extends: Annotated[
        Text,
        describe("a study beside this one; what is not said here is as there, `defaults` and `observe` key by key"),
    ] = ""
    title: Annotated[Text, describe("one line, shown above every result")]
    question: Annotated[Text, describe("what the study asks")] = ""
    sources: Annotated[tuple[Text, ...], describe("the papers it is about, such as arXiv:2103.00065")] = ()
    defaults: Annotated[dict[Any, Any], describe("keys that every block has unless it says otherwise")] = Field(
        default_factory=dict
    )
    grid: Annotated[tuple[Any, ...], Field(min_length=1), describe("blocks; each is the product of its lists")]
    observe: Annotated[dict[Any, Any], describe("observables, each with its clock and fields")] = Field(
        default_factory=dict
    )
    claims: Annotated[tuple[Any, ...], describe("what is judged: id, name, where, and the claim's fields")] = ()
    figures: Annotated[tuple[Any, ...], describe("what is drawn: name, id, where, and the figure's fields")] = ()


@dataclass(frozen=True)
class Entry(Generic[M]):
    """A claim or figure of a study: its id, what it is, and which runs it is about."""

    id: str
    member: M
    where: Selection


@dataclass(frozen=True)
class Study:
    """A study, expanded.

    Attributes:
        name: the file's name without its ending.
        path: the file.
        title: one line.
        question: what it asks.
        sources: the papers it is about.
        runs: its runs, in the order of the grid.
        labels: (role, member) to what the study calls it in tables.
        claims: what is judged.
        figures: what is drawn.
        start_files: each file that runs start from, to its content hash.
        outer_starts: starts from runs of other studies, to their key paths.
        data_files: content hash of a file that a dataset is made of, to the file.
    """

    name: str
    path: Path
    title: str
    question: str
    sources: tuple[str, ...]
    runs: tuple[Run, ...]
    labels: Mapping[tuple[str, Member], str]
    claims: tuple[Entry[Claim], ...]
    figures: tuple[Entry[Figure], ...]
    start_files: Mapping[Path, str]
    outer_starts: Mapping[Start, str]
    data_files: Mapping[str, Path]

    @cached_property
    def packs(self) -> list[Any]:
        """Its runs in packs, as they are when no other study is selected."""
        from stepscape.study.plan import make_plan

        return list(make_plan([self]).packs)

    def pick(self, entry: Entry[Any]) -> list[Run]:
        """The runs that a claim or figure is about."""
        return entry.where.pick(self.runs, self.labels)


def load_study(path: Path | str) -> Study:
    """Reads, checks and expands a study.

    Args:
        path: the YAML file.

    Returns:
        The study.

    Raises:
        FileError: with all its mistakes.
    """
    path = Path(path)
    source = read_study(path)
    mistakes = Mistakes()
    study = None
    with mistakes.collected():
        study = _read(path, source.given, mistakes)
    if mistakes or study is None:
        if source.base:
            load_study(source.base)  # what is wrong there is told of there
        placed = dict.fromkeys(dataclasses.replace(m, line=m.line or line_of(source.lines, m.where)) for m in mistakes)
        raise FileError(path, sorted(placed, key=lambda mistake: mistake.line or 0))
    return study


def _read(path: Path, given: Any, mistakes: Mistakes) -> Study:
    if not is_identifier(path.stem):
        mistakes.append(Mistake("", f"the file name {path.name!r}", f"{IDENTIFIERS}: it becomes a folder", "rename it"))
    file, faulty = _file(given, mistakes)
    before = len(mistakes)
    observe: dict[str, Observable] = {}
    with mistakes.collected():
        observe = parse_observe(file.observe, "observe")
    grid = () if faulty & {"grid", "defaults"} else file.grid
    made = expand(grid, file.defaults, observe, path.parent, mistakes)
    labels: Mapping[tuple[str, Any], str] = {}
    starts = Starts()
    if len(mistakes) == before and not faulty & {"grid", "defaults", "observe"}:
        mistakes.extend(_unobserved(made))
        with mistakes.collected():
            labels = label_members(made.runs, made.labels)
            starts = resolve_starts(made, labels, path.parent)
            mistakes.extend(_doubles(made))
    runs = made.runs if labels and len(mistakes) == before else []  # with mistakes in them nothing more can be said
    claims: Sequence[Entry[Claim]] = _entries("claim", file.claims, runs, labels, mistakes)
    figures: Sequence[Entry[Figure]] = _entries("figure", file.figures, runs, labels, mistakes)
    return Study(
        name=path.stem,
        path=path,
        title=file.title,
        question=file.question,
        sources=file.sources,
        runs=tuple(made.runs),
        labels=labels,
        claims=tuple(claims),
        figures=tuple(figures),
        start_files=starts.files,
        outer_starts=starts.outer,
        data_files=made.files.paths,
    )


def _file(given: Any, mistakes: Mistakes) -> tuple[StudyFile, set[str]]:
    """The file with stand-ins for what is wrong in it, and the keys of that; the mistakes are collected."""
    keys = settings(StudyFile)
    if not isinstance(given, Mapping):
        raise Mistaken([Mistake("", shown(given), f"a mapping with the keys {listed(keys)}")])
    filled = {key: value for key, value in given.items() if value is not None}
    try:
        return StudyFile(**filled), set()
    except ValidationError as error:
        found = mistakes_of(error, "", keys)
    mistakes.extend(found)
    faulty = {re.split(r"[.\[]", mistake.where)[0] for mistake in found}
    sound = {key: value for key, value in filled.items() if key in keys and key not in faulty}
    return StudyFile(**{"title": "", "grid": (None,), **sound}), faulty


def _doubles(made: Expansion) -> list[Mistake]:
    first: dict[str, int] = {}
    found: dict[tuple[str, str], list[Run]] = {}
    for index, run in enumerate(made.runs):
        other = first.setdefault(run.id, index)
        if other != index:
            found.setdefault((made.places[index], made.places[other]), []).append(run)
    return [
        Mistake(
            place, f"{_repeated(runs)} {'in this block' if place == other else f'in {other}'} already", "each run once"
        )
        for (place, other), runs in found.items()
    ]


def _repeated(runs: Sequence[Run]) -> str:
    if len(runs) == 1:
        return f"a run ({describe_run(runs[0])}) that is"
    return f"{len(runs)} runs (the first: {describe_run(runs[0])}) that are"


def _unobserved(made: Expansion) -> list[Mistake]:
    places = dict.fromkeys(place for run, place in zip(made.runs, made.places, strict=True) if not run.observe)
    allowed = "at least one observable, such as losses: {every: 1}"
    return [Mistake(place, "runs that record nothing", allowed, "add it to `observe`") for place in places]


def _entries(
    kind: str, given: Sequence[Any], runs: Sequence[Run], labels: Mapping[tuple[str, Any], str], mistakes: Mistakes
) -> list[Entry[Any]]:
    entries: dict[str, Entry[Any]] = {}
    for index, fields in enumerate(given):
        place = f"{kind}s[{index}]"
        with mistakes.collected():
            entry = _entry(kind, fields, place)
            if entry.id in entries:
                remedy = "" if isinstance(fields, Mapping) and "id" in fields else "give it an `id`"
                raise Mistaken([Mistake(f"{place}.id", repr(entry.id), f"an id that no other {kind} has", remedy)])
            entries[entry.id] = entry
            picked = entry.where.pick(runs, labels)
            if runs and not picked:
                raise Mistaken([entry.where.unmatched(runs, labels, fields["where"], f"{place}.where")])
            mistakes.extend(_unmet(entry, place, picked))
    return list(entries.values())


def _entry(kind: str, given: Any, place: str) -> Entry[Any]:
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, Mapping) or "name" not in given:
        raise Mistaken([Mistake(place, shown(given), f"a name, or {{name: ..., fields}}: {listed(names(kind))}")])
    mistakes = Mistakes()
    made: list[Member] = []
    where = Selection()
    with mistakes.collected():
        made.append(make(kind, {key: value for key, value in given.items() if key not in ("id", "where")}, place))
    with mistakes.collected():
        where = Selection.parse({} if given.get("where") is None else given["where"], f"{place}.where")
    identifier = given.get("id", given["name"])
    if "id" in given and not is_identifier(identifier):
        mistakes.append(Mistake(f"{place}.id", shown(identifier), f"{IDENTIFIERS}: it becomes the name of files"))
    if mistakes:
        raise Mistaken(mistakes)
    return Entry(identifier, made[0], where)


def _unmet(entry: Entry[Any], place: str, runs: Sequence[Run]) -> list[Mistake]:
    for run in runs:
        fault = entry.member.fault(run) if isinstance(entry.member, Claim) else ""
        if fault:
            return [Mistake(place, fault, "runs that it can be judged on", "narrow `where`")]
        recorded = {observable.name for observable in run.observe}
        for group in entry.member.needs(run):
            if not recorded.intersection(group):
                lacking = f"a run ({describe_run(run)}) that records {listed(recorded)}"
                remedy = f"observe {' or '.join(group)} there, or narrow `where`"
                return [Mistake(place, lacking, f"runs that record {' or '.join(group)}", remedy)]
    return []
