"""Where runs start that do not start from model and seed: the run, or the file, that a study's `start` means."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from stepscape.datasets import Dataset
from stepscape.errors import Mistake, Mistaken, Mistakes, counted, listed
from stepscape.fields import Raw
from stepscape.models import Model
from stepscape.study.grid import Expansion
from stepscape.study.parameters import content_hash, flat_parameters, read_parameters
from stepscape.study.parents import parent_fault
from stepscape.study.run import Run, Start, describe_run
from stepscape.study.selection import Labels, Selection
from stepscape.study.values import RUN_KEYS

SHARED = ("model", "dataset", "dtype", "seed")
"""What a run has in common with the one it starts from, unless the study says otherwise."""
_MOST_SHOWN = 3


@dataclass
class Starts:
    """What the starts of a study mean.

    Attributes:
        files: each file of parameters, to its content hash.
        outer: starts from runs that are not of the study, to their key paths.
    """

    files: dict[Path, str] = field(default_factory=dict)
    outer: dict[Start, str] = field(default_factory=dict)


def resolve_starts(made: Expansion, labels: Labels, folder: Path) -> Starts:
    """Puts run ids and content hashes in the place of what a study says of starts.

    Args:
        made: the runs; those with a start are replaced.
        labels: (role, member) to what the study calls it.
        folder: where files of parameters lie.

    Returns:
        What else is known of the starts.

    Raises:
        Mistaken: with all that is wrong; of each start, with the first run for which it is.
    """
    resolver = _Resolver(made, labels, folder)
    mistakes = Mistakes()
    resolved = list(made.runs)
    faulty: set[Start | None] = set()
    for index, run in enumerate(made.runs):
        if run.start not in faulty:
            before = len(mistakes)
            with mistakes.collected():
                resolved[index] = resolver.resolved(index)
            if len(mistakes) > before:
                faulty.add(run.start)
    if mistakes:
        raise Mistaken(mistakes)
    starts = Starts(files=resolver.files)
    mistakes.extend(_wrong_parents(made, resolved, starts.outer))
    if mistakes:
        raise Mistaken(mistakes)
    made.runs = resolved
    return starts


def _wrong_parents(made: Expansion, resolved: Sequence[Run], outer: dict[Start, str]) -> list[Mistake]:
    """What is wrong with parents of the study; where others are given is kept in `outer`."""
    known = {run.id: run for run in resolved}
    found: dict[Start, Mistake] = {}
    for given, child in zip(made.runs, resolved, strict=True):
        if given.start is None or child.start is None or child.parent is None or given.start in found:
            continue
        parent = known.get(child.parent)
        where = made.starts[given.start]
        if parent is None:
            outer[child.start] = where
        elif mistake := parent_fault(child, parent, where):
            found[given.start] = mistake
    return list(found.values())


class _Resolver:
    """Resolves the starts of runs by their index, parents first."""

    def __init__(self, made: Expansion, labels: Labels, folder: Path) -> None:
        self._runs = made.runs
        self._places = made.starts
        self._labels = labels
        self._folder = folder
        self._resolved: dict[int, Run] = {}
        self._open: list[int] = []
        self.files: dict[Path, str] = {}
        self.candidates = cache(self._candidates)
        self.parameters = cache(self._parameters)
        self.content = cache(self._content)

    def resolved(self, index: int) -> Run:
        """The run at `index`, its start in terms of ids and hashes."""
        run = self._runs[index]
        if run.start is None:
            return run
        if index not in self._resolved:
            where = self._places[run.start]
            self._resolved[index] = dataclasses.replace(run, start=self._start(index, run, run.start, where))
        return self._resolved[index]

    def _start(self, index: int, run: Run, start: Start, where: str) -> Start:
        if start.file is not None:
            return dataclasses.replace(
                start, file=self.content(start.file, run.model, run.dataset, run.dtype, f"{where}.file")
            )
        if not isinstance(start.run, Raw):
            return start
        if index in self._open:
            circle = " -> ".join(describe_run(self._runs[i]) for i in [*self._open[self._open.index(index) :], index])
            remedy = "say `start: null` for the runs to begin with"
            raise Mistaken([Mistake(where, f"a circle: {circle}", "runs that start from others", remedy)])
        self._open.append(index)
        try:
            parent = self.resolved(self._parent(run, start.run, f"{where}.run"))
        finally:
            self._open.pop()
        return dataclasses.replace(start, run=parent.id)

    def _parent(self, child: Run, wanted: Raw, where: str) -> int:
        shared, found = self.candidates(wanted, where)
        hits = found.get(tuple(getattr(child, key) for key in shared), [])
        if len(hits) == 1:
            return hits[0]
        allowed = f"fields that select one run for {describe_run(child)}"
        if not hits:
            given = f"{wanted!r}: {counted(sum(map(len, found.values())), 'run')}, none of the same {listed(shared)}"
            raise Mistaken([Mistake(where, given, allowed, "say which of them, too, to start from another")])
        several = "; ".join(describe_run(self._runs[hit]) for hit in hits[:_MOST_SHOWN])
        told = f"{wanted!r}: {len(hits)} runs ({several}{'; ...' if len(hits) > _MOST_SHOWN else ''})"
        differing = [key for key in RUN_KEYS if len({getattr(self._runs[hit], key) for hit in hits}) > 1]
        remedy = f"say more of {listed(differing)}" if differing else "name one by its id"
        raise Mistaken([Mistake(where, told, allowed, remedy)])

    def _candidates(self, wanted: Raw, where: str) -> tuple[tuple[str, ...], dict[tuple[Any, ...], list[int]]]:
        """The runs that a mapping selects, by what else they must share with the run that starts."""
        selection = Selection.parse(wanted.value, where)
        said = {str(key).partition(".")[0] for key in wanted.value}
        eligible = {i: run for i, run in enumerate(self._runs) if "start" in said or run.start is None}
        if not eligible:
            allowed = "runs that start from model and seed"
            raise Mistaken([Mistake(where, f"{wanted!r}, where every run has a start", allowed, "say `start: null`")])
        shared = tuple(key for key in SHARED if key not in said)
        found: dict[tuple[Any, ...], list[int]] = {}
        for i, run in eligible.items():
            if selection.matches(run, self._labels):
                found.setdefault(tuple(getattr(run, key) for key in shared), []).append(i)
        if not found:
            raise Mistaken([selection.unmatched(list(eligible.values()), self._labels, wanted.value, where)])
        return shared, found

    def _content(self, name: str, model: Model, dataset: Dataset, dtype: str, where: str) -> str:
        """The content hash of a file that such runs can start from."""
        content, parameters = self.parameters(name, where)
        shapes = model.parameter_shapes(dataset.input_shape, dataset.outputs)
        flat_parameters(parameters, shapes, dtype, f"{where}: {name}")
        return content

    def _parameters(self, name: str, where: str) -> tuple[str, Mapping[str, Any]]:
        path = self._folder / name
        parameters = read_parameters(path, f"{where}: {name}")
        content = content_hash(parameters)
        self.files[path] = content
        return content, parameters
