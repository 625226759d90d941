"""Harms: what may happen to the bytes of a file, drawn from a seed."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable

Harm = Callable[[bytes, random.Random], bytes]


def flip(content: bytes, chance: random.Random) -> bytes:
    """One bit is another; in a zip, every second time one of its headers, which no reader looks at in full."""
    places = _headers(content) if chance.random() < 0.5 else range(len(content))
    at = chance.choice(places)
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def _headers(content: bytes) -> list[int] | range:
    """Where bytes of a zip are that belong to no member; of any other file, all."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return range(len(content))
    data: set[int] = set()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            lengths = content[info.header_offset + 26 : info.header_offset + 30]
            start = info.header_offset + 30 + sum(int.from_bytes(lengths[at : at + 2], "little") for at in (0, 2))
            data.update(range(start, start + info.compress_size))
    return sorted(set(range(len(content))) - data)


def truncate(content: bytes, chance: random.Random) -> bytes:
    """The end is missing: all of it, the last byte, or any."""
    return content[: chance.choice([0, len(content) - 1, chance.randrange(len(content))])]


def zero_tail(content: bytes, chance: random.Random) -> bytes:
    """The end is zeros, as after a loss of power, where the size of a file was written and its blocks were not."""
    last = max(at for at, byte in enumerate(content) if byte)
    at = chance.choice([0, last, chance.randrange(last + 1)])
    return content[:at] + bytes(len(content) - at)
