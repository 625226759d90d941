"""What members are called in tables: as short as tells them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepscape.errors import Mistake, Mistaken, Mistakes
from stepscape.registry import Member, settings
from stepscape.study.run import Run
from stepscape.study.values import ROLES


def label_members(runs: Sequence[Run], given: Mapping[tuple[str, Any], str]) -> dict[tuple[str, Member], str]:
    """Labels for every member of a study.

    Args:
        runs: the study's runs.
        given: labels that the study gives.

    Returns:
        (role, member) to its label: the given one, else its name and the fields that tell it from others of that name.

    Raises:
        Mistaken: two members of a role would be called alike.
    """
    labels: dict[tuple[str, Member], str] = {}
    mistakes = Mistakes()
    for role in ROLES:
        members = list(dict.fromkeys(getattr(run, role) for run in runs))
        defaults = _defaults(members)
        taken: dict[str, Member] = {}
        for member in members:
            label = labels[role, member] = given.get((role, member), defaults[member])
            if taken.setdefault(label, member) is not member:
                remedy = "give each a `label`, or none: then the fields that differ tell them apart"
                mistakes.append(Mistake("grid", f"two {role}s called {label!r}", "each called otherwise", remedy))
    if mistakes:
        raise Mistaken(mistakes)
    return labels


def _defaults(members: Sequence[Member]) -> dict[Member, str]:
    labels: dict[Member, str] = {}
    for cls in dict.fromkeys(map(type, members)):
        namesakes = [member for member in members if type(member) is cls]
        varying = [field for field in settings(cls) if len({getattr(member, field) for member in namesakes}) > 1]
        for member in namesakes:
            fields = (f"{field}={spell(getattr(member, field))}" for field in varying)
            labels[member] = " ".join([member.name, *fields])
    return labels


def spell(value: Any) -> str:
    """A field's value in a table: numbers short, lists joined by dashes."""
    if isinstance(value, tuple):
        return "-".join(map(spell, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
