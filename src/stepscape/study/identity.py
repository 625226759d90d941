"""The identity of a run: a hash of its canonical JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from stepscape.registry import Member, non_defaults

ENGINE_VERSION = 2
"""Raised by hand when a change to training alters any number of any run."""

DIGITS = 16
"""Hex digits of an identity: for 10^6 runs the chance of any two alike is 3e-8."""


def plain(value: Any) -> Any:
    """A value in terms of JSON: fields at their default left out, members with their name and version."""
    if isinstance(value, Member):
        return {"name": value.name, "version": value.version, **_fields(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {name: plain(held) for name, held in non_defaults(value).items()}


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: Any) -> str:
    """The one spelling of a value: keys sorted, no spaces, shortest decimals."""
    return _ENCODER.encode(value)


def spelled(value: Any, *, named: bool = True) -> str:
    """The canonical JSON of a value; a member or another typed dataclass keeps it, as the runs of a grid share them.

    Args:
        value: a value as runs hold it.
        named: whether the name of a member is in it.

    Returns:
        That of `plain(value)`.
    """
    key = "_spelled" if named else "_spelled_nameless"
    kept: dict[str, Any] = getattr(value, "__dict__", {})
    if key not in kept:
        fields = plain(value)
        text = canonical_json(fields if named else {name: held for name, held in fields.items() if name != "name"})
        if not dataclasses.is_dataclass(value):
            return text
        kept[key] = text
    return str(kept[key])


def digest(text: str) -> str:
    """The identity of a text: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
