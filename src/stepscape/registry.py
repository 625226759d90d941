"""How members are found: one frozen dataclass a file, in the folder of its kind, or in a package that names it.

A member's class says its kind by the base class it derives from; the decorator gives it its name and version. Members
of another package are named in its entry points, group `stepscape.members`, as `<kind>.<name>`; that package is
imported only when a study names the member.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass as typed_dataclass
from pydantic.fields import FieldInfo

from stepscape.errors import Mistake, Mistaken, StepscapeError, listed, nearest
from stepscape.fields import IDENTIFIERS, is_identifier, mistakes_of, shown

KINDS = {
    "dataset": "datasets",
    "model": "models",
    "loss": "losses",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "observable": "observables",
    "claim": "claims",
    "figure": "figures",
}
ENTRY_POINTS = "stepscape.members"


class Member:
    """What all members have in common: a kind, a name, a version, and fields."""

    kind: ClassVar[str]
    name: ClassVar[str]
    version: ClassVar[int]
    source: ClassVar[str]


M = TypeVar("M", bound=Member)
_members: dict[tuple[str, str], type[Member]] = {}


@dataclass_transform(frozen_default=True, kw_only_default=True)
def member(name: str, *, version: int = 1, source: str = "") -> Callable[[type[M]], type[M]]:
    """Registers a class as a member of its base class's kind, and makes it a frozen, typed dataclass.

    Args:
        name: how studies call it.
        version: raised by hand when a change alters any number that the member makes; part of the identity of runs.
        source: where its definition comes from, such as `arXiv:1412.6980`.

    Returns:
        The decorator.

    Raises:
        StepscapeError: the name is not one, or is taken.
    """
    if not is_identifier(name):
        raise StepscapeError(f"a member called {name!r}; allowed: {IDENTIFIERS}")

    def register(cls: type[M]) -> type[M]:
        made = typed_dataclass(cls, frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
        found = cast(type[M], made)
        found.name, found.version, found.source = name, version, source
        previous = _members.setdefault((found.kind, name), found)
        if (previous.__module__, previous.__qualname__) != (found.__module__, found.__qualname__):
            raise StepscapeError(f"two members of kind {found.kind} are called {name!r}: {previous} and {found}")
        _members[found.kind, name] = found
        return found

    return register


@cache
def _load_own(kind: str) -> None:
    folder = importlib.import_module(f"stepscape.{KINDS[kind]}")
    for module in pkgutil.iter_modules(folder.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{folder.__name__}.{module.name}")


@cache
def _foreign(kind: str) -> Mapping[str, list[EntryPoint]]:
    found = defaultdict(list)
    for point in entry_points(group=ENTRY_POINTS):
        of, _, name = point.name.partition(".")
        if of == kind:
            found[name].append(point)
    return dict(found)


def _import(kind: str, name: str, point: EntryPoint) -> None:
    try:
        point.load()
    except Exception as error:  # a package of the user's may fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise StepscapeError(f"{point.value!r} cannot be imported: {reason}") from error
    if (kind, name) not in _members:
        raise StepscapeError(f"{point.value!r} registers no {kind} called {name!r}")


def names(kind: str) -> list[str]:
    """The names of all members of a kind, other packages' included; imports none of those."""
    _load_own(kind)
    return sorted({name for of, name in _members if of == kind} | set(_foreign(kind)))


def find(kind: str, name: str) -> type[Member] | None:
    """The member of a kind that is called `name`, imported from another package if need be.

    Args:
        kind: one of `KINDS`.
        name: as a study gives it.

    Returns:
        The member's class; None where there is none.

    Raises:
        StepscapeError: the package that names it cannot be imported or does not have it, or several have it.
    """
    _load_own(kind)
    points = _foreign(kind).get(name, [])
    if points and (kind, name) not in _members:
        _import(kind, name, points[0])
    found = _members.get((kind, name))
    homes = {point.value for point in points}
    if found in own_members(kind):
        homes.add("stepscape")
    if len(homes) > 1:
        raise StepscapeError(f"{kind} {name!r} is in several packages: {listed(homes)}")
    return found


def own_members(kind: str) -> list[type[Member]]:
    """Stepscape's own members of a kind, by name."""
    _load_own(kind)
    return [cls for (of, _), cls in sorted(_members.items()) if of == kind and cls.__module__.startswith("stepscape.")]


def members(kind: str) -> list[type[Member]]:
    """All members of a kind, by name; imports those of other packages."""
    return [cls for cls in (find(kind, name) for name in names(kind)) if cls is not None]


def settings(cls: type[Any]) -> dict[str, FieldInfo]:
    """The fields of a member or another typed dataclass, in the order of their definition."""
    return dict(cls.__pydantic_fields__)


def non_defaults(value: Any) -> dict[str, Any]:
    """The fields of a typed dataclass that differ from their defaults."""
    held, cls = vars(value), cast(Hashable, type(value))
    return {name: held[name] for name, usual in _usual(cls) if usual is _REQUIRED or held[name] != usual}


_REQUIRED = object()


@cache
def _usual(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    """The fields of a typed dataclass with their defaults; asked once, since a study has as many values as runs."""
    infos = settings(cls)
    names = (field.name for field in dataclasses.fields(cls))
    return tuple((name, _REQUIRED if infos[name].is_required() else default(infos[name])) for name in names)


def default(info: FieldInfo) -> Any:
    """The default of a field that has one."""
    return info.get_default(call_default_factory=True, validated_data={})


def _named(kind: str, name: str, where: str) -> type[Member]:
    try:
        cls = find(kind, name)
    except StepscapeError as error:
        raise Mistaken(
            [Mistake(where, str(error), "a member that one package has, and that can be imported")]
        ) from None
    if cls is None:
        raise Mistaken([Mistake(where, f"unknown {kind} {name!r}", listed(names(kind)), nearest(name, names(kind)))])
    return cls


def make(kind: str, given: Any, where: str) -> Member:
    """Makes a member from what a study says of it: a name, or a mapping of `name` and fields.

    Args:
        kind: one of `KINDS`.
        given: the value in the study.
        where: its key path, for messages.

    Returns:
        The member.

    Raises:
        Mistaken: there is no such member, or its fields are wrong.
    """
    fields = {"name": given} if isinstance(given, str) else given
    if not isinstance(fields, Mapping) or not isinstance(fields.get("name"), str):
        allowed = f"a name, or {{name: ..., fields}}, with one of the names {listed(names(kind))}"
        raise Mistaken([Mistake(where, shown(given), allowed)])
    cls = _named(kind, fields["name"], where if isinstance(given, str) else f"{where}.name")
    try:
        return cls(**{key: value for key, value in fields.items() if key != "name"})
    except ValidationError as error:
        raise Mistaken(mistakes_of(error, where, settings(cls))) from None
    except TypeError:  # a key that is no text
        raise Mistaken([Mistake(where, shown(given), f"keys: {listed(settings(cls))}")]) from None
