"""Studies that extend another one: the same question in another size, or of other runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepscape.errors import FileError, Mistake, nearest
from stepscape.fields import is_identifier, shown
from stepscape.study.source import line_of, read_yaml

_BY_KEY = ("defaults", "observe")


@dataclass(frozen=True)
class Source:
    """What a study's file says, with what it takes from the study that it extends.

    Attributes:
        given: its value.
        lines: the line of each key path that stands in the file itself.
        base: the file of the study that it extends.
    """

    given: Any
    lines: dict[str, int]
    base: Path | None = None


def read_study(path: Path) -> Source:
    """Reads a study's file.

    Its keys stand in place of those of the study that it extends; those in `defaults` and `observe` key by key.

    Args:
        path: the YAML file.

    Returns:
        What it says.

    Raises:
        FileError: it, or the study that it extends, cannot be read, or there is no such study.
    """
    given, lines = read_yaml(path)
    if not isinstance(given, Mapping) or given.get("extends") is None:
        return Source(given, lines)
    base = path.parent / f"{given['extends']}.yaml"
    line = line_of(lines, "extends")
    if not is_identifier(given["extends"]) or not base.is_file() or base.name == path.name:
        known = sorted(file.stem for file in path.parent.glob("*.yaml") if file.name != path.name)
        allowed = f"the name of another study in {path.parent}"
        remedy = nearest(str(given["extends"]), known)
        raise FileError(path, [Mistake("extends", shown(given["extends"]), allowed, remedy, line)])
    extended, _ = read_yaml(base)
    if not isinstance(extended, Mapping) or extended.get("extends") is not None:
        why = "which extends a study itself" if isinstance(extended, Mapping) else "which is no study"
        raise FileError(path, [Mistake("extends", f"{base.name}, {why}", "a study that extends none", line=line)])
    return Source(_merged(given, extended), lines, base)


def _merged(own: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**base, **own}
    for key in _BY_KEY:
        if isinstance(own.get(key), Mapping) and isinstance(base.get(key), Mapping):
            merged[key] = {**base[key], **own[key]}
    return merged
