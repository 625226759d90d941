"""Rows of numbers as text in a page: 12 bits each, deflated, base64.

A row has its own scale, so that a run that blew up costs the others no precision. A number is off by 0.23 % at most as
long as its row spans no more than eight decades; on a linear scale by 1/4096 of the largest of its row. Finer steps
would be below what a screen shows, and cost bytes: noise has no patterns that deflate could find.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Scale = Literal["log", "linear"]
Row = NDArray[np.floating]

_LEVELS = 4093
"""Codes 1 to 4093 stand for numbers from the least of a row to the largest."""
_FINEST = {"log": 0.002, "linear": 1 / 2048}
"""The least step from one code to the next: decades, or shares of the largest magnitude of the row."""
_NAN, _ZERO, _INFINITE = 0, 4094, 4095


def scale_of(rows: Sequence[Row], span: float) -> Scale:
    """The scale that suits all rows: `log` where nothing is negative and the values span more than a factor `span`."""
    values = np.concatenate([np.asarray(row, float).ravel() for row in rows]) if rows else np.empty(0)
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    if not len(positive) or (values < 0).any() or len(positive) < len(values) / 2:
        return "linear"
    return "log" if positive.max() > span * positive.min() else "linear"


def encode(rows: Sequence[Row], scale: Scale) -> str:
    """Rows of any lengths as text.

    Before deflation: a byte that says whether codes follow (0) or how far each is from the one before (1), whichever is
    shorter; of each row the least number and the step from one code to the next, float32, in log10 where the scale is
    one; the low bytes of all codes; the high bytes.

    Args:
        rows: the numbers; NaN and infinities are kept, on a log scale 0 too.
        scale: `log` takes no negative numbers: they become NaN.

    Returns:
        Base64.
    """
    limits = np.zeros((len(rows), 2), "<f4")
    codes = [np.empty(0, "<u2")]
    for index, row in enumerate(rows):
        limits[index], found = _quantised(np.asarray(row, float), scale)
        codes.append(found)
    joined = np.concatenate(codes)
    packed = (_deflated(bytes([way]) + limits.tobytes(), kept) for way, kept in enumerate((joined, _steps(joined))))
    return base64.b64encode(min(packed, key=len)).decode()


def _steps(codes: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """How far each code is from the one before, round a circle of 4096, folded: 0, -1, 1, -2 ... are 0, 1, 2, 3 ..."""
    apart = (np.diff(codes.astype(int), prepend=0) + 2048) % 4096 - 2048
    return np.where(apart >= 0, 2 * apart, -2 * apart - 1).astype("<u2")


def _deflated(head: bytes, codes: NDArray[np.uint16]) -> bytes:
    planes = codes.view(np.uint8).reshape(-1, 2).T
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(head + planes.tobytes()) + deflate.flush()


def _quantised(row: Row, scale: Scale) -> tuple[tuple[float, float], NDArray[np.uint16]]:
    usable = np.isfinite(row) & ((row > 0) if scale == "log" else True)
    heights = np.log10(row, out=np.zeros_like(row), where=usable) if scale == "log" else np.where(usable, row, 0)
    known = heights[usable]
    low = float(np.float32(known.min())) if len(known) else 0.0
    finest = _FINEST[scale] * (1 if scale == "log" else float(np.abs(known).max(initial=0)))
    step = float(np.float32(max(float(np.ptp(known)) / (_LEVELS - 2), finest))) if len(known) else 0.0
    places = np.rint((heights - low) / step) if step > 0 else np.zeros_like(heights)
    codes = np.where(usable, 1 + np.clip(places, 0, _LEVELS - 1), _NAN)
    codes[row == np.inf] = _INFINITE
    if scale == "log":
        codes[row == 0] = _ZERO
    return (low, step), codes.astype("<u2")


def decode(text: str, lengths: Sequence[int], scale: Scale) -> list[NDArray[np.float64]]:
    """What a page's script reads from such a text, for those who check it.

    Args:
        text: as `encode` made it.
        lengths: of each row.
        scale: of the rows.

    Returns:
        The rows.
    """
    packed = zlib.decompress(base64.b64decode(text), -zlib.MAX_WBITS)
    limits = np.frombuffer(packed, "<f4", 2 * len(lengths), offset=1).reshape(-1, 2).astype(float)
    codes = np.frombuffer(packed, np.uint8, offset=1 + 8 * len(lengths)).reshape(2, -1).T.copy().view("<u2").ravel()
    if packed[0]:
        codes = np.cumsum(np.where(codes % 2, -(codes // 2 + 1.0), codes // 2)).astype(int) % 4096
    rows = []
    ends = np.cumsum(lengths, dtype=int)
    for (low, step), end, length in zip(limits, ends, lengths, strict=True):
        of_row = codes[end - length : end]
        heights = low + step * (of_row - 1.0)
        values = 10.0**heights if scale == "log" else heights
        if scale == "log":
            values[of_row == _ZERO] = 0.0
        values[of_row == _NAN] = np.nan
        values[of_row == _INFINITE] = np.inf
        rows.append(values)
    return rows
