"""Filling the chunks of a dataset from parts: a block of runs is a task, and no other task touches its chunks.

Chunks are encoded and written without zarr, which spends as long on one as the compressor; tests compare the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.checksum32 import CRC32C
from zarr.codecs import BloscCodec, Crc32cCodec

from stepscape.errors import DamagedFileError
from stepscape.store.content import clock_of
from stepscape.store.layout import Column
from stepscape.store.parts import Held, PartReader
from stepscape.store.template import compressed

RUNS_PER_BLOCK = 256
_COMPRESSOR = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")  # of noise 2 % larger than zstd, in half the time
CODECS = (_COMPRESSOR, Crc32cCodec())
"""How numbers are stored."""
_CHUNK_BYTES = 16 * 2**20
_CHECKSUM = CRC32C(location="end")


@dataclass(frozen=True)
class Block:
    """Consecutive runs of a dataset, whose chunks one task writes.

    Attributes:
        store: the dataset.
        first: the index of the first run.
        held: what parts hold of each.
        columns: the arrays to be filled, each with the number of runs in one chunk.
    """

    store: Path
    first: int
    held: tuple[Held, ...]
    columns: tuple[tuple[Column, int], ...]


@dataclass(frozen=True)
class Filled:
    """What became of a block.

    Attributes:
        sums: the files that were written, by their path in the dataset, to their SHA-256 in hex.
        damaged: the parts that are damaged; the block is incomplete if there are any.
    """

    sums: dict[str, str] = field(default_factory=dict)
    damaged: set[Path] = field(default_factory=set)


def blocks_of(store: Path, held: Sequence[Held], columns: Sequence[Column]) -> Iterator[Block]:
    """The blocks of a dataset of these runs."""
    chunked = tuple((column, chunk_shape(column, len(held))[0]) for column in columns)
    for first in range(0, len(held), RUNS_PER_BLOCK):
        yield Block(store, first, tuple(held[first : first + RUNS_PER_BLOCK]), chunked)


def chunk_shape(column: Column, runs: int) -> tuple[int, ...]:
    """The shape of a chunk in a dataset of so many runs; fewer runs than a block has where they are large."""
    rows = RUNS_PER_BLOCK  # halved, so that chunks end where blocks do
    while rows > 1 and rows * prod(column.row) * column.dtype.itemsize > _CHUNK_BYTES:
        rows //= 2
    return min(rows, runs), *column.row


def fill_block(block: Block) -> Filled:
    """Writes the chunks of a block; those of an array that none of its runs has stay away, which reads as NaN.

    Args:
        block: the block.

    Returns:
        What was written, and which parts are damaged.
    """
    filled = Filled()
    with PartReader() as reader:
        for column, rows in block.columns:
            for first in range(0, len(block.held), rows):
                held = block.held[first : first + rows]
                if any(column.name in run.arrays for run in held):
                    place = [(block.first + first) // rows, *(0 for _ in column.row)]
                    name = "/".join([column.name, "c", *map(str, place)])
                    filled.sums[name] = _write(block.store / name, _values(column, rows, held, reader, filled.damaged))
    return filled


def _write(path: Path, values: np.ndarray) -> str:
    content = _CHECKSUM.encode(compressed(values, _COMPRESSOR)).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def _values(column: Column, rows: int, held: Sequence[Held], reader: PartReader, damaged: set[Path]) -> np.ndarray:
    values = np.full((rows, *column.row), np.nan, column.dtype)
    places: dict[tuple[Path, int], Any] = {}
    for row, run in zip(values, held, strict=False):  # the last chunk of a dataset has more rows than there are runs
        if column.name in run.arrays:
            try:
                recorded = reader.read(run, column.name)
                clock = _clock(column, run)
                key = run.part, run.arrays[clock].offset
                if key not in places:
                    places[key] = _places(column.steps, reader.read(run, clock))
            except DamagedFileError as error:
                damaged.add(error.path)
                continue
            measured = tuple(slice(min(sizes)) for sizes in zip(column.shape, recorded.shape[1:], strict=True))
            row[places[key], *measured] = recorded[:, *measured]
    return values


def _clock(column: Column, run: Held) -> str:
    own = clock_of(column.observable, "")
    return own if own in run.arrays else "step"


def _places(clock: np.ndarray, steps: np.ndarray) -> np.ndarray | slice:
    """Where measurements at `steps` stand on a clock; a slice, which copies faster, for its first ones."""
    places = np.searchsorted(clock, steps)
    return slice(len(places)) if np.array_equal(places, np.arange(len(places))) else places
