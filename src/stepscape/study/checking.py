"""YAML files that fill a dataclass: what the configuration and the site have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from stepscape.errors import FileError, Mistake, Mistaken, listed
from stepscape.fields import mistakes_of, shown
from stepscape.registry import settings
from stepscape.study.source import line_of, read_yaml

T = TypeVar("T")


def read_checked(path: Path, make: Callable[[Any], T]) -> T:
    """Makes something of a YAML file.

    Args:
        path: the file.
        make: takes the file's value, raises `Mistaken`.

    Returns:
        What `make` returns.

    Raises:
        FileError: with all mistakes of the file, each with its line.
    """
    given, lines = read_yaml(path)
    try:
        return make(given)
    except Mistaken as error:
        placed = [dataclasses.replace(mistake, line=line_of(lines, mistake.where)) for mistake in error.mistakes]
        raise FileError(path, placed) from None


def fill(cls: type[T], given: Any, of: str = "") -> T:
    """Fills a dataclass.

    Args:
        cls: a dataclass that pydantic checks.
        given: a mapping of its keys.
        of: where the mapping comes from, in words.

    Returns:
        An instance.

    Raises:
        Mistaken: with all that is wrong.
    """
    keys = settings(cls)
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise Mistaken([Mistake("", shown(given), f"a mapping with the keys {listed(keys)}")], of=of)
    try:
        return cls(**given)
    except ValidationError as error:
        raise Mistaken(mistakes_of(error, "", keys), of=of) from None
