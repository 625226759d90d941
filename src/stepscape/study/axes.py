"""From what a study gives for keys of a run to axes: lists, ranges, axes that move together, points in a CSV file."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stepscape.errors import Mistake, Mistaken, Mistakes, counted
from stepscape.fields import number, shown
from stepscape.study.source import parse_yaml, read_text
from stepscape.study.values import ROLES, check_key, parse

MOST_RUNS = 1_000_000
_RANGES = "{geometric: [first, last], factor: above 1} or {linear: [first, last], step: above 0}; first at most last"


@dataclass(frozen=True)
class Cell:
    """One value of one key. A whole key's is what the run will hold; a dotted key's, what the study gives.

    Attributes:
        key: such as `lr` or `optimizer.beta1`.
        value: the value.
        where: the key path of the value.
        axis: the key path of the key.
        label: what the study calls the member.
    """

    key: str
    value: Any
    where: str
    axis: str
    label: str | None = None


Axis = Sequence[tuple[Cell, ...]]
"""The values of one key, or of several that move together: one cell each."""


def read_axis(key: str, given: Any, where: str) -> Axis:
    """Reads the values of one key.

    Args:
        key: the key, checked.
        given: a value, a list of values, or a range.
        where: the key path.

    Returns:
        The axis, of at least one value.

    Raises:
        Mistaken: there is none, or some are wrong.
    """
    if isinstance(given, Mapping) and "name" not in given and given.keys() & {"geometric", "linear"}:
        values = [(value, where) for value in _range(given, where)]
    elif isinstance(given, list):
        values = [(value, f"{where}[{index}]") for index, value in enumerate(given)]
    else:
        values = [(given, where)]
    if not values:
        raise Mistaken([Mistake(where, "an empty list", "at least one value")])
    mistakes = Mistakes()
    cells: list[tuple[Cell, ...]] = []
    for value, place in values:
        with mistakes.collected():
            cells.append((_cell(key, value, place, where),))
    if mistakes:
        raise Mistaken(mistakes)
    return cells


def _cell(key: str, given: Any, where: str, axis: str) -> Cell:
    if "." in key:
        return Cell(key, given, where, axis)
    label = None
    if key in ROLES and isinstance(given, Mapping) and "label" in given:
        label = given["label"]
        if not isinstance(label, str) or not label:
            raise Mistaken([Mistake(f"{where}.label", shown(label), "text")])
        given = {name: value for name, value in given.items() if name != "label"}
    return Cell(key, parse(key, given, where), where, axis, label)


def _range(given: Mapping[str, Any], where: str) -> list[float]:
    kind, increment = ("geometric", "factor") if "geometric" in given else ("linear", "step")
    fault = Mistaken([Mistake(where, shown(dict(given)), _RANGES)])
    bounds = given[kind]
    if set(given) != {kind, increment} or not isinstance(bounds, list) or len(bounds) != 2:
        raise fault
    try:
        first, last, by = (number(value) for value in (*bounds, given[increment]))
    except ValueError:
        raise fault from None
    valid = (first > 0 and by > 1) if kind == "geometric" else by > 0
    if not valid or not all(map(math.isfinite, (first, last, by))) or last < first:
        raise fault
    slack = 1e-9
    length = (math.log(last) - math.log(first)) / math.log(by) if kind == "geometric" else (last - first) / by
    if not length < MOST_RUNS:
        raise Mistaken([Mistake(where, f"{shown(dict(given))}: {length:.0f} values", f"at most {MOST_RUNS} values")])
    try:
        values = [first * by**i if kind == "geometric" else first + by * i for i in range(int(length + slack) + 1)]
    except OverflowError:  # from less than 1e-300 to more than 1e300
        raise fault from None
    return [float(f"{value:.12g}") for value in values]  # 0.3, not 0.30000000000000004: another spelling, another run


def read_zip(given: Any, where: str) -> Axis:
    """Reads axes that move together.

    Args:
        given: a mapping of keys to lists of one length.
        where: its key path.

    Returns:
        One axis of all these keys.

    Raises:
        Mistaken: a key or value is wrong, or the lengths differ.
    """
    if not isinstance(given, Mapping) or not given:
        raise Mistaken([Mistake(where, shown(given), "a mapping of keys to lists of one length")])
    mistakes = Mistakes()
    axes: dict[str, Axis] = {}
    for key, values in given.items():
        with mistakes.collected():
            axes[key] = read_axis(check_key(key, f"{where}.{key}"), values, f"{where}.{key}")
    if mistakes:
        raise Mistaken(mistakes)
    if len({len(axis) for axis in axes.values()}) > 1:
        lengths = ", ".join(f"{counted(len(axis), 'value')} of {key}" for key, axis in axes.items())
        raise Mistaken([Mistake(where, lengths, "lists of one length")])
    return [tuple(itertools.chain(*row)) for row in zip(*axes.values(), strict=True)]


def read_points(given: Any, where: str, folder: Path) -> Axis:
    """Reads points from a CSV file: columns are keys, a row is a point, an empty entry is no value.

    Args:
        given: the name of the file.
        where: the key path of that name.
        folder: where the file lies.

    Returns:
        One axis; its points may lack some of the keys.

    Raises:
        Mistaken: it cannot be read, or something in it is wrong; the key path says the file, line and column.
    """
    if not isinstance(given, str):
        raise Mistaken([Mistake(where, shown(given), "the name of a CSV file beside the study")])
    file = f"{where}: {given}"
    try:
        text = read_text(folder / given)
    except Mistaken as error:
        raise Mistaken(
            dataclasses.replace(mistake, where=_line(file, mistake.line), line=None) for mistake in error.mistakes
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(_line(file, reader.line_num), [entry.strip() for entry in row]) for row in reader if row]
    except csv.Error as error:
        raise Mistaken([Mistake(_line(file, reader.line_num), str(error), "CSV")]) from None
    if len(rows) < 2:
        raise Mistaken([Mistake(file, "no points", "a line of keys, and a line for each point")])
    return _rows(rows)


def _line(file: str, line: int | None) -> str:
    return f"{file} line {line}" if line else file


def _rows(rows: Sequence[tuple[str, list[str]]]) -> Axis:
    top, header = rows[0]
    mistakes = Mistakes()
    known: set[str] = set()
    for key, count in Counter(header).items():
        with mistakes.collected():
            known.add(check_key(key, f"{top}, column {key!r}"))
        if count > 1:
            mistakes.append(Mistake(f"{top}, column {key!r}", f"{count} columns of this name", "each column once"))
    points: list[tuple[Cell, ...]] = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            mistakes.append(Mistake(line, counted(len(row), "value"), f"{len(header)}, as many as there are columns"))
            continue
        cells: list[Cell] = []
        for key, text in zip(header, row, strict=True):
            with mistakes.collected():
                if text and key in known:
                    place = f"{line}, column {key!r}"
                    cells.append(_cell(key, _value(text, place), place, f"{top}, column {key!r}"))
        points.append(tuple(cells))
    if mistakes:
        raise Mistaken(mistakes)
    return points


def _value(text: str, where: str) -> Any:
    try:
        return _read(text)
    except Mistaken as error:
        raise Mistaken([Mistake(where, f"{shown(text)}: {error.mistakes[0].given}", "a value as in YAML")]) from None


@cache
def _read(text: str) -> Any:
    return parse_yaml(text)[0]


def fill(points: Axis, key: str, default: Axis) -> Axis:
    """Points, with the values of the axis `default` of `key` where they have none of their own."""
    return [(*row, *extra) for row in points for extra in ([()] if any(cell.key == key for cell in row) else default)]
