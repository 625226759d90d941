"""Long lines of a figure in few bytes: as many points as a reader can tell apart, each told by the one before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby, pairwise

Point = tuple[float, float]

_LINES = re.compile(r"(?:\s*[ML]\s*-?[\d.]+(?:e-?\d+)?\s+-?[\d.]+(?:e-?\d+)?)+\s*")
_POINT = re.compile(r"([ML])\s*(\S+)\s+(\S+)")
_LONG = 100
_COLUMN = 1.0
"""Width in points of the columns of which a line that crosses them many times keeps the least and the largest."""


def compact(path: str) -> str:
    """The data of an SVG path that only moves and draws lines, shorter; any other, and short ones, as they are.

    Points are rounded to 1/10. A line that goes from left to right with several points in each column one point wide
    keeps two of each, the lowest and the highest, in their order.

    Args:
        path: the attribute `d`.

    Returns:
        The shorter one.
    """
    if path.count("L") < _LONG or not _LINES.fullmatch(path):
        return path
    lines: list[list[Point]] = []
    for command, x, y in _POINT.findall(path):
        if command == "M" or not lines:
            lines.append([])
        lines[-1].append((float(x), float(y)))
    return "".join(_written(_thinned(line)) for line in lines)


def _thinned(line: Sequence[Point]) -> Sequence[Point]:
    rightwards = all(one[0] <= other[0] for one, other in pairwise(line))
    if not rightwards or len(line) <= 2 * (line[-1][0] - line[0][0]) / _COLUMN:
        return line
    kept: list[Point] = [line[0]]
    for _, column in groupby(line[1:-1], key=lambda point: int(point[0] / _COLUMN)):
        points = list(column)
        least = min(range(len(points)), key=lambda index: points[index][1])
        most = max(range(len(points)), key=lambda index: points[index][1])
        kept += [points[index] for index in sorted({least, most})]
    return [*kept, *line[1:][-1:]]


def _written(line: Sequence[Point]) -> str:
    """The first point, then how far each is from the one before; it is places that are rounded, so nothing adds up."""
    tenths = [(round(10 * x), round(10 * y)) for x, y in line]
    steps = "".join(_pair(other[0] - one[0], other[1] - one[1]) for one, other in pairwise(tenths))
    return f"M{_tenth(tenths[0][0])} {_tenth(tenths[0][1])}" + (f"l{steps.lstrip()}" if steps else "")


def _pair(x: int, y: int) -> str:
    across, down = _tenth(x), _tenth(y)
    return f"{'' if across.startswith('-') else ' '}{across}{'' if down.startswith('-') else ' '}{down}"


def _tenth(value: int) -> str:
    whole, part = divmod(abs(value), 10)
    text = f"{whole or ''}.{part}" if part else str(whole)
    return f"-{text}" if value < 0 else text
