"""From the stored form of a run back to the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from stepscape.errors import Mistake, Mistaken, Mistakes
from stepscape.fields import mistakes_of, shown
from stepscape.observables import Observable
from stepscape.registry import find, make
from stepscape.study.identity import ENGINE_VERSION
from stepscape.study.run import Run
from stepscape.study.values import ROLES, parse

_REMEDY = "install the version that made it, or train the run again"


def restore_run(spec: Mapping[str, Any]) -> Run:
    """Makes the run that `spec` describes; the inverse of `Run.spec`.

    Args:
        spec: as stored in run files and in the plans of packs.

    Returns:
        The run; its identity is the hash of `spec`.

    Raises:
        Mistaken: it was made by another version of the engine or of a member, or is not a run at all.
    """
    mistakes = Mistakes()
    values: dict[str, Any] = {}
    observe: list[Observable] = []
    if not isinstance(spec, Mapping):
        raise Mistaken([Mistake("", shown(spec), "a mapping of keys to values")])
    if spec.get("engine") != ENGINE_VERSION:
        allowed = f"version {ENGINE_VERSION}, the one installed"
        mistakes.append(Mistake("engine", _version(spec.get("engine"), "the engine"), allowed, _REMEDY))
    for key, given in spec.items():
        with mistakes.collected():
            if key == "observe":
                observe = _observables(given)
            elif key != "engine":
                values[key] = _member(key, given, key) if key in ROLES else parse(key, given, key)
    if mistakes:
        raise Mistaken(mistakes)
    try:
        return Run(**values, observe=tuple(observe))
    except ValidationError as error:
        raise Mistaken(mistakes_of(error, "")) from None


def _version(given: Any, of: str) -> str:
    return f"no version of {of}" if given is None else f"version {shown(given)} of {of}"


def _observables(given: Any) -> list[Observable]:
    if not isinstance(given, Mapping) or not all(isinstance(fields, Mapping) for fields in given.values()):
        raise Mistaken([Mistake("observe", shown(given), "a mapping of observables to their fields")])
    return [_member("observable", {**given[name], "name": name}, f"observe.{name}") for name in sorted(given)]


def _member(kind: str, given: Any, where: str) -> Any:
    if not isinstance(given, Mapping):
        raise Mistaken([Mistake(where, shown(given), "a mapping of keys to values")])
    cls = find(kind, str(given.get("name")))
    if cls is not None and cls.version != given.get("version"):
        told = _version(given.get("version"), f"{kind} {cls.name}")
        raise Mistaken([Mistake(where, told, f"version {cls.version}, the one installed", _REMEDY)])
    return make(kind, {key: value for key, value in given.items() if key != "version"}, where)
