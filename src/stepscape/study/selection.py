"""Picking runs by what they are: `where` of a claim or figure, `exclude` of a block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from stepscape.errors import Mistake, Mistaken, nearest
from stepscape.fields import shown
from stepscape.study.identity import plain
from stepscape.study.run import Run
from stepscape.study.values import ROLES, check_key, parse

Labels = Mapping[tuple[str, Any], str]
_MOST_SHOWN = 8


@dataclass(frozen=True)
class Selection:
    """Runs whose every named key has one of the given values; a member is given by its name, label, or fields."""

    wanted: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @classmethod
    def parse(cls, given: Any, where: str) -> Self:
        """Reads a mapping of keys to a value or a list of values.

        Args:
            given: what the study says.
            where: its key path.

        Returns:
            The selection.

        Raises:
            Mistaken: it is no mapping, or a key is not one of a run.
        """
        if not isinstance(given, Mapping):
            raise Mistaken([Mistake(where, shown(given), "a mapping of keys to values")])
        wanted = []
        for key, values in given.items():
            check_key(key, f"{where}.{key}")
            several = values if isinstance(values, list) else [values]
            if "." in key and isinstance(values, list):
                several = [*values, values]  # a field that holds a list, such as model.hidden, may be given as it is
            wanted.append((key, tuple(_wanted(key, value, f"{where}.{key}") for value in several)))
        return cls(tuple(wanted))

    def matches(self, run: Run, labels: Labels) -> bool:
        """Whether `run` is picked; `labels` maps (role, member) to what a study calls it."""
        return all(any(_has(run, key, value, labels) for value in values) for key, values in self.wanted)

    def pick(self, runs: Iterable[Run], labels: Labels) -> list[Run]:
        """The runs that are picked."""
        return [run for run in runs if self.matches(run, labels)]

    def unmatched(self, runs: Sequence[Run], labels: Labels, given: Mapping[str, Any], where: str) -> Mistake:
        """Why no run is picked.

        Args:
            runs: the runs, none of which matches.
            labels: (role, member) to what the study calls it.
            given: what the study says.
            where: its key path.

        Returns:
            The mistake: the first key whose values no run has, with those that runs have.
        """
        for key, values in self.wanted:
            if not any(_has(run, key, value, labels) for run in runs for value in values):
                held = list(dict.fromkeys(_held(run, key, labels) for run in runs))
                several = ", ".join([*held[:_MOST_SHOWN], *(["..."] if len(held) > _MOST_SHOWN else [])])
                remedy = nearest(given[key], held) if isinstance(given[key], str) else ""
                place = f"{where}.{key}"
                return Mistake(place, f"{shown(given[key])}, which no run has", f"what runs have: {several}", remedy)
        return Mistake(where, f"{shown(given)}: no run has all of these at once", "what some run has")


def _wanted(key: str, given: Any, where: str) -> Any:
    if "." in key or (key in ROLES and isinstance(given, str)):
        return _comparable(given)
    return parse(key, given, where)


def _has(run: Run, key: str, wanted: Any, labels: Labels) -> bool:
    head, _, field = key.partition(".")
    held = getattr(run, head)
    if field:
        return hasattr(held, field) and _comparable(getattr(held, field)) == wanted
    if key == "batch_size":
        return run.is_full_batch if wanted == "full" else run.batch == wanted
    if key in ROLES and isinstance(wanted, str):
        return wanted in (held.name, labels.get((key, held)))
    return bool(held == wanted)


def _held(run: Run, key: str, labels: Labels) -> str:
    """What a run has for a key, as a study would ask for it."""
    head, _, field = key.partition(".")
    held = getattr(run, head)
    if field:
        return shown(getattr(held, field)) if hasattr(held, field) else f"no {field}"
    if key in ROLES:
        return labels.get((key, held), held.name)
    return shown(plain(held))


def _comparable(value: Any) -> Any:
    """Numbers and texts of numbers as numbers, lists as tuples."""
    if isinstance(value, list | tuple):
        return tuple(map(_comparable, value))
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
