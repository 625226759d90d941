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


def canonical_json(value: Any) -> str:
    """The one spelling of a value: keys sorted, no spaces, shortest decimals."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """The identity of a text: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
