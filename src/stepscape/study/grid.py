"""From a block of a study's grid to its runs: the product of its axes, less what is excluded."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from stepscape.datasets._user_file import UserFile
from stepscape.errors import Mistake, Mistaken, Mistakes, listed, nearest
from stepscape.fields import Raw, shown
from stepscape.observables import Observable
from stepscape.registry import make, names
from stepscape.study.axes import MOST_RUNS, Axis, Cell, fill, read_axis, read_points, read_zip
from stepscape.study.run import Run, Start
from stepscape.study.selection import Selection
from stepscape.study.values import check_field, check_key, replace

_BLOCK_KEYS = ("points", "zip", "exclude", "observe")
_REQUIRED = ("dataset", "model", "loss", "optimizer", "budget")


class UserFiles:
    """Datasets of users' files as runs hold them; what a study says of one is looked up once.

    Attributes:
        paths: content hash of a file to the file.
    """

    def __init__(self, folder: Path) -> None:
        """Files as seen from `folder`."""
        self.paths: dict[str, Path] = {}
        self._folder = folder
        self._found: dict[UserFile, UserFile | Mistaken] = {}

    def found(self, dataset: UserFile, where: str) -> UserFile:
        """The dataset with what its file decides.

        Args:
            dataset: what the study says.
            where: its key path.

        Returns:
            The dataset, as runs hold it.

        Raises:
            Mistaken: there is no such file, or it does not hold what it must.
        """
        if dataset.path is None:
            return dataset
        if dataset not in self._found:
            self._found[dataset] = self._read(dataset, self._folder / dataset.path, where)
        found = self._found[dataset]
        if isinstance(found, Mistaken):
            raise found
        return found

    def _read(self, dataset: UserFile, path: Path, where: str) -> UserFile | Mistaken:
        try:
            found = dataset.found(path, where)
        except Mistaken as error:
            return error
        self.paths[str(found.content)] = path
        return found


@dataclass
class Expansion:
    """The runs of a grid, in its order; where each stands; the labels of members; and where each start is given.

    `files` are those that datasets are made of.
    """

    files: UserFiles
    runs: list[Run] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    labels: dict[tuple[str, Any], str] = field(default_factory=dict)
    starts: dict[Start, str] = field(default_factory=dict)

    def keep_words(self, run: Run, cells: Sequence[Cell]) -> None:
        """Keeps what the study says of a run and the run does not hold: its members' labels, where its start stands.

        Args:
            run: the run.
            cells: what it was made of.

        Raises:
            Mistaken: the study calls one of them otherwise elsewhere.
        """
        for cell in cells:
            if cell.key == "start" and run.start is not None:
                self.starts.setdefault(run.start, cell.where)
            if cell.label:
                other = self.labels.setdefault((cell.key, getattr(run, cell.key)), cell.label)
                if other != cell.label:
                    allowed = f"{other!r}, as the study calls the same {cell.key} elsewhere"
                    raise Mistaken([Mistake(f"{cell.where}.label", repr(cell.label), allowed)])


@dataclass(frozen=True)
class _Block:
    """A block of the grid: its key path, its axes, what its runs record, and the key path of each of those."""

    where: str
    axes: Sequence[Axis]
    observe: tuple[Observable, ...]
    observed_at: Mapping[str, str]


def expand(
    grid: Sequence[Any],
    defaults: Mapping[str, Any],
    observe: Mapping[str, Observable],
    folder: Path,
    mistakes: Mistakes,
) -> Expansion:
    """Makes the runs of a grid.

    Args:
        grid: the blocks, as the study gives them.
        defaults: keys that every block has unless it says otherwise.
        observe: what every run records.
        folder: where CSV files of points lie.
        mistakes: where what is wrong is collected.

    Returns:
        All runs that could be made.
    """
    made = Expansion(UserFiles(folder))
    for index, given in enumerate(grid):
        where = f"grid[{index}]"
        if not isinstance(given, Mapping):
            mistakes.append(Mistake(where, shown(given), "a mapping of keys to values or lists of values"))
            continue
        before = len(mistakes)
        axes = _axes(given, defaults, where, folder, mistakes)
        own: dict[str, Observable] = {}
        with mistakes.collected():
            own = parse_observe(given.get("observe"), f"{where}.observe")
        if len(mistakes) == before:
            observed = {**observe, **own}
            places = {name: f"{where}.observe" if name in own else "observe" for name in observed}
            block = _Block(where, axes, tuple(observed[name] for name in sorted(observed)), places)
            _expand_block(block, given.get("exclude"), made, mistakes)
    return made


def parse_observe(given: Any, where: str) -> dict[str, Observable]:
    """Reads an `observe` mapping: name of an observable to its clock and fields; None is an empty one."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise Mistaken([Mistake(where, shown(given), "a mapping of observables to their clocks")])
    found: dict[str, Observable] = {}
    mistakes = Mistakes()
    for name, fields in given.items():
        with mistakes.collected():
            found[name] = _observable(name, fields, f"{where}.{name}")
    if mistakes:
        raise Mistaken(mistakes)
    return found


def _observable(name: Any, fields: Any, where: str) -> Observable:
    known = names("observable")
    if name not in known:
        raise Mistaken([Mistake(where, f"unknown observable {name!r}", listed(known), nearest(str(name), known))])
    if not isinstance(fields, Mapping):
        raise Mistaken([Mistake(where, shown(fields), "a clock, such as {every: 10}")])
    if "name" in fields:
        raise Mistaken([Mistake(f"{where}.name", shown(fields["name"]), "no `name`: the key is the observable's name")])
    return cast(Observable, make("observable", {"name": name, **fields}, where))


def _axes(
    block: Mapping[str, Any], defaults: Mapping[str, Any], where: str, folder: Path, mistakes: Mistakes
) -> list[Axis]:
    before = len(mistakes)
    points: Axis = [()]
    zipped: Axis = [()]
    axes: dict[str, Axis] = {}
    with mistakes.collected():
        if "points" in block:
            points = read_points(block["points"], f"{where}.points", folder)
    with mistakes.collected():
        if "zip" in block:
            zipped = read_zip(block["zip"], f"{where}.zip")
    for key, value in block.items():
        with mistakes.collected():
            if key not in _BLOCK_KEYS:
                axes[key] = read_axis(check_key(key, f"{where}.{key}", _BLOCK_KEYS), value, f"{where}.{key}")
    in_points = {cell.key for row in points for cell in row}
    taken = Counter([*in_points, *(cell.key for cell in zipped[0]), *axes])
    for key in sorted(key for key, count in taken.items() if count > 1):
        mistakes.append(Mistake(f"{where}.{key}", "a key that stands elsewhere in this block too", "each key once"))
    for key, value in defaults.items():
        with mistakes.collected():
            if key in in_points:
                points = fill(points, key, read_axis(key, value, f"defaults.{key}"))
            elif key not in taken and key not in block:
                axes[key] = read_axis(check_key(key, f"defaults.{key}"), value, f"defaults.{key}")
    if len(mistakes) == before:
        with mistakes.collected():
            _require(taken.keys() | defaults.keys(), where)
    return [points, zipped, *axes.values()]


def _require(keys: Set[str], where: str) -> None:
    missing = [f"no {key}" for key in _REQUIRED if key not in keys]
    if missing:
        allowed = f"each of {', '.join(_REQUIRED)}"
        raise Mistaken([Mistake(where, ", ".join(missing), allowed, "give it here or in `defaults`")])


def _expand_block(block: _Block, exclude: Any, made: Expansion, mistakes: Mistakes) -> None:
    size = math.prod(map(len, block.axes))
    if size > MOST_RUNS:
        mistakes.append(Mistake(block.where, f"{size} runs", f"at most {MOST_RUNS} in one block"))
        return
    runs: list[Run] = []
    told: dict[Mistake, None] = {}
    for combination in itertools.product(*block.axes):
        cells = tuple(itertools.chain(*combination))
        try:
            runs.append(_run(cells, block, made.files))
            made.keep_words(runs[-1], cells)
        except Mistaken as error:
            told |= dict.fromkeys(error.mistakes)
    mistakes.extend(told)
    if not told:
        kept = _excluding(runs, exclude, f"{block.where}.exclude", made.labels, mistakes)
        made.runs += kept
        made.places += [block.where] * len(kept)


def _run(cells: Sequence[Cell], block: _Block, files: UserFiles) -> Run:
    values = {cell.key: cell.value for cell in cells if "." not in cell.key}
    places = {cell.key: cell.where for cell in cells if "." not in cell.key}
    fields: dict[str, list[tuple[str, Raw, str]]] = {}
    for cell in cells:
        part, _, name = cell.key.partition(".")
        if name:
            check_field(values.get(part), cell.key, cell.axis)
            fields.setdefault(part, []).append((name, Raw(cell.value), cell.where))
            places[part] = cell.where
    for part, given in fields.items():
        values[part] = _replaced(values[part], tuple(given))
    _require({key for key, value in values.items() if value is not None}, block.where)
    if isinstance(values["dataset"], UserFile):
        values["dataset"] = files.found(values["dataset"], places["dataset"])
    run = Run(**values, observe=block.observe)
    faults = run.faults()
    if faults:
        raise Mistaken(Mistake(_place(key, places, block), shown(given), allowed) for key, given, allowed in faults)
    return run


def _place(key: str, places: Mapping[str, str], block: _Block) -> str:
    head, _, rest = key.partition(".")
    if head == "observe":
        return f"{block.observed_at[rest.partition('.')[0]]}.{rest}"
    return places.get(key, f"{block.where}.{key}")


@cache
def _replaced(holder: Any, fields: tuple[tuple[str, Raw, str], ...]) -> Any:
    given = {name: raw.value for name, raw, _ in fields}
    return replace(holder, given, {name: where for name, _, where in fields})


def _excluding(
    runs: list[Run], exclude: Any, where: str, labels: Mapping[tuple[str, Any], str], mistakes: Mistakes
) -> list[Run]:
    if exclude is None:
        return runs
    if not isinstance(exclude, list):
        mistakes.append(Mistake(where, shown(exclude), "a list of mappings of keys to values"))
        return runs
    dropped: set[int] = set()
    for index, rule in enumerate(exclude):
        with mistakes.collected():
            selection = Selection.parse(rule, f"{where}[{index}]")
            hits = {i for i, run in enumerate(runs) if selection.matches(run, labels)}
            if not hits:
                raise Mistaken([selection.unmatched(runs, labels, rule, f"{where}[{index}]")])
            dropped |= hits
    if len(dropped) == len(runs):
        mistakes.append(Mistake(where, "rules that leave out every run of this block", "at least one run"))
    return [run for i, run in enumerate(runs) if i not in dropped]
