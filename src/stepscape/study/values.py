"""Values of the keys of a run: how each is read, and how one field of a member is replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from stepscape.errors import Mistake, Mistaken, listed, nearest
from stepscape.fields import mistakes_of, shown
from stepscape.registry import KINDS, Member, make, non_defaults, settings
from stepscape.study.run import Budget, Run, Start, Stop

RUN_KEYS = tuple(name for name in settings(Run) if name != "observe")
ROLES = tuple(key for key in RUN_KEYS if key in KINDS)
GROUPS: dict[str, type[Any]] = {"budget": Budget, "stop": Stop, "start": Start}


def check_key(key: Any, where: str, others: Iterable[str] = ()) -> str:
    """Checks that `key` is the key of a run, or of a field of one of its parts.

    Args:
        key: what stands in the study, such as `lr` or `optimizer.beta1`.
        where: the key path it stands at.
        others: what else may stand there, for messages.

    Returns:
        The key.

    Raises:
        Mistaken: no run has such a key.
    """
    head, _, field = str(key).partition(".")
    parts = (*ROLES, *GROUPS)
    if isinstance(key, str) and (key in RUN_KEYS or (field and head in parts)):
        return key
    keys = (*RUN_KEYS, *others)
    allowed = f"{listed(keys)}, and their fields, such as optimizer.beta1"
    remedy = nearest(str(key), [f"{part}.{field}" for part in parts] if field else keys)
    raise Mistaken([Mistake(where, f"unknown key {key!r}", allowed, remedy)])


def parse(key: str, given: Any, where: str) -> Any:
    """Reads the value of a run's key.

    Args:
        key: one of `RUN_KEYS`.
        given: the value in the study; a member's `label` is not part of it.
        where: its key path.

    Returns:
        The value that the run holds.

    Raises:
        Mistaken: it is of the wrong type, or out of range, or no run has such a key.
    """
    if key not in RUN_KEYS:
        raise Mistaken([Mistake(where, f"unknown key {key!r}", listed(RUN_KEYS), nearest(key, RUN_KEYS))])
    if key in ROLES:
        return make(key, given, where)
    if key in GROUPS and isinstance(given, Mapping):
        return _construct(GROUPS[key], given, where)
    try:
        return _scalar(key).validate_python(given)
    except ValidationError as error:
        raise Mistaken(mistakes_of(error, where)) from None


def check_field(holder: Any, key: str, where: str) -> None:
    """Checks that a run's member, budget or stop has the field that a dotted key names.

    Args:
        holder: the member, or None where the run has none.
        key: the dotted key, such as `optimizer.beta1`.
        where: the key path it stands at.

    Raises:
        Mistaken: it has no such field.
    """
    part, _, field = key.partition(".")
    if holder is None:
        raise Mistaken([Mistake(where, f"{key} for runs without {part}", "runs that have one", f"give `{part}` too")])
    fields = settings(type(holder))
    if field not in fields:
        owner = f"{part} {holder.name}" if isinstance(holder, Member) else part
        allowed = f"fields of {owner}: {listed(fields)}"
        raise Mistaken([Mistake(where, f"unknown field {field!r} of {owner}", allowed, nearest(field, fields))])


def replace(holder: Any, given: Mapping[str, Any], where: Mapping[str, str]) -> Any:
    """A member, budget or stop with some fields replaced.

    Args:
        holder: the member, budget or stop.
        given: the new values of fields it has, as the study gives them.
        where: the key path of each.

    Returns:
        The new member.

    Raises:
        Mistaken: a value is wrong.
    """
    try:
        return type(holder)(**{**non_defaults(holder), **given})
    except ValidationError as error:
        raise Mistaken(_at_field(mistake, where) for mistake in mistakes_of(error, "")) from None


def _at_field(mistake: Mistake, where: Mapping[str, str]) -> Mistake:
    field, bracket, rest = mistake.where.partition("[")
    place = where.get(field, ", ".join(where.values()))
    remedy = "brackets make a list, [32, 32]; two of them an axis of lists, [[32, 32], [64]]"
    return dataclasses.replace(
        mistake, where=f"{place}{bracket}{rest}", remedy=remedy if mistake.allowed == "a list" else mistake.remedy
    )


@cache
def _scalar(key: str) -> TypeAdapter[Any]:
    info = settings(Run)[key]
    annotation: Any = info.annotation
    return TypeAdapter(Annotated[annotation, *info.metadata] if info.metadata else annotation)


def _construct(cls: type[Any], given: Mapping[Any, Any], where: str) -> Any:
    try:
        return cls(**given)
    except ValidationError as error:
        raise Mistaken(mistakes_of(error, where, settings(cls))) from None
    except TypeError:  # a key that is no text
        raise Mistaken([Mistake(where, shown(given), f"keys: {listed(settings(cls))}")]) from None
