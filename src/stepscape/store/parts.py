"""Parts: what was read of run files, up to 256 runs in an immutable file; collecting reads no run file twice.

A part is a cache, named by the runs in it and the SHA-256 of their files: arrays one behind the other, then an index in
JSON, then the index's length and checksum. Every array has a checksum of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np

from stepscape.errors import DamagedFileError
from stepscape.store.content import Content, Wanted, read_content
from stepscape.store.files import sha256, temporary_file
from stepscape.study.identity import canonical_json, digest

RUNS = 256
"""At most this many runs are in a part."""
_ENDING = ".part"
_FORMAT = 1
_TRAILER = struct.Struct("<QI8s")
_MAGIC = b"STEPPART"


class Place(NamedTuple):
    """Where an array lies in a part.

    Attributes:
        offset: its first byte.
        dtype: little endian.
        shape: (measurements, ...).
        checksum: CRC-32 of its bytes.
        last: the first entry of its last measurement, as `float.hex` spells it; empty where there is none.
    """

    offset: int
    dtype: str
    shape: tuple[int, ...]
    checksum: int
    last: str


@dataclass(frozen=True)
class Held:
    """What a part holds of a run.

    Attributes:
        part: the file.
        run_id: the run.
        sha256: that of its file, in hex.
        stamp: size, times of change and inode of its file when it was read.
        status: how it ended.
        updates: updates done.
        platform: the platform record, as JSON.
        arrays: name of a variable or coordinate to its place.
    """

    part: Path
    run_id: str
    sha256: str
    stamp: tuple[int, ...]
    status: str
    updates: int
    platform: str
    arrays: Mapping[str, Place]

    def last(self, name: str) -> float:
        """The first entry of the last measurement of a variable; NaN where there is none."""
        return float.fromhex(self.arrays[name].last or "nan")


Fault = tuple[Path, str]
"""A run file and why it cannot be used."""


def write_part(folder: Path, block: Sequence[Wanted]) -> tuple[list[Held], list[Fault]]:
    """Reads run files and writes what is wanted of them as one part.

    Args:
        folder: where parts lie.
        block: the run files.

    Returns:
        What the part holds; what could not be read, and why.
    """
    faults: list[Fault] = []
    name = digest("\n".join(wanted.run_id for wanted in block))
    with temporary_file(folder, name) as (file, temporary):
        clocks: dict[bytes, int] = {}
        index = [_append(file, clocks, *readable) for readable in _readable(block, faults)]
        if not index:
            return [], faults
        text = json.dumps(index, separators=(",", ":")).encode()
        file.write(text + _TRAILER.pack(len(text), zlib.crc32(text), _MAGIC))
        file.flush()
        os.fsync(file.fileno())
        part = folder / f"{_key(index)}{_ENDING}"
        temporary.replace(part)
    return [_held(part, entry) for entry in index], faults


def _readable(block: Iterable[Wanted], faults: list[Fault]) -> Iterator[tuple[Wanted, Content, tuple[int, ...]]]:
    for wanted in block:
        try:
            stamp = _stamp(wanted.path)  # before the bytes: a file that is replaced meanwhile is read again
            yield wanted, read_content(wanted), stamp
        except DamagedFileError as error:
            faults.append((error.path, error.reason))


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _key(index: Sequence[Mapping[str, Any]]) -> str:
    held = [[entry["run"], entry["sha256"], sorted(entry["arrays"])] for entry in index]
    return hashlib.sha256(canonical_json([_FORMAT, held]).encode()).hexdigest()


def _append(
    file: BinaryIO, clocks: dict[bytes, int], wanted: Wanted, content: Content, stamp: tuple[int, ...]
) -> dict[str, Any]:
    """Writes the arrays of a run, clocks that the part holds already left out, and returns its entry of the index."""
    places = {}
    for name, values in content.arrays.items():
        little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        offset = file.tell()
        if values.dtype.kind == "i":
            offset = clocks.setdefault(little, offset)
        if offset == file.tell():
            file.write(little)
        last = float(values[-1].flat[0]).hex() if values.size else ""
        places[name] = Place(offset, values.dtype.newbyteorder("<").str, values.shape, zlib.crc32(little), last)
    return {
        "run": wanted.run_id,
        "sha256": content.sha256,
        "stamp": stamp,
        "status": content.attributes["status"],
        "updates": content.attributes["updates"],
        "platform": content.attributes["platform"],
        "arrays": places,
    }


def _held(part: Path, entry: Mapping[str, Any]) -> Held:
    arrays = {
        name: Place(offset, dtype, tuple(shape), checksum, last)
        for name, (offset, dtype, shape, checksum, last) in entry["arrays"].items()
    }
    stamp, platform = tuple(entry["stamp"]), entry["platform"]
    return Held(part, entry["run"], entry["sha256"], stamp, entry["status"], entry["updates"], platform, arrays)


def kept(folder: Path, wanted: Iterable[Wanted]) -> dict[str, Held]:
    """The runs that parts hold as their files are now.

    A file with the size, times and inode it had when it was read is not read again; with others, its SHA-256 decides.

    Args:
        folder: where parts lie.
        wanted: the run files, and what is needed of them.

    Returns:
        Run id to what a part holds of it.
    """
    needed = {entry.run_id: entry for entry in wanted}
    candidates: dict[str, list[Held]] = {}
    for part in sorted(folder.glob(f"*{_ENDING}")):
        for entry in _index(part):
            if entry["run"] in needed and entry["arrays"].keys() >= set(needed[entry["run"]].collected):
                candidates.setdefault(entry["run"], []).append(_held(part, entry))
    found = {run_id: _current(held, needed[run_id].path) for run_id, held in candidates.items()}
    return {run_id: held for run_id, held in found.items() if held}


def _index(part: Path) -> list[dict[str, Any]]:
    """The index of a part; empty where it is damaged, so that its runs are read again."""
    with contextlib.suppress(OSError, ValueError), part.open("rb") as file:
        end = file.seek(-_TRAILER.size, os.SEEK_END)
        length, checksum, magic = _TRAILER.unpack(file.read())
        if magic == _MAGIC and length <= end:
            file.seek(end - length)
            text = file.read(length)
            if zlib.crc32(text) == checksum:
                index: list[dict[str, Any]] = json.loads(text)
                return index
    return []


def part_fault(part: Path) -> DamagedFileError | None:
    """What is wrong with a part; None where every byte of it is as it was written."""
    index = _index(part)
    if not index or part.stem != _key(index):
        return DamagedFileError(part, "its index is not as it was written")
    with PartReader() as reader:
        try:
            for held in (_held(part, entry) for entry in index):
                for name in held.arrays:
                    reader.read(held, name)
        except DamagedFileError as error:
            return error
    return None


def _current(candidates: Sequence[Held], path: Path) -> Held | None:
    stamp = _stamp(path)
    for held in candidates:
        if held.stamp == stamp:
            return held
    try:
        digested = sha256(path)
    except OSError:
        return None
    return next((held for held in candidates if held.sha256 == digested), None)


class PartReader:
    """Reads arrays from parts, whose files it keeps open; a context manager."""

    def __init__(self) -> None:
        self._files: dict[Path, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, held: Held, name: str) -> np.ndarray:
        """An array of a run.

        Args:
            held: the run.
            name: the variable or coordinate.

        Returns:
            (measurements, ...).

        Raises:
            DamagedFileError: the part is not as it was written.
        """
        place = held.arrays[name]
        dtype = np.dtype(place.dtype)
        size = dtype.itemsize * math.prod(place.shape)
        try:
            if held.part not in self._files:
                self._files[held.part] = self._stack.enter_context(held.part.open("rb"))
            content = os.pread(self._files[held.part].fileno(), size, place.offset)
        except OSError as error:
            raise DamagedFileError(held.part, str(error)) from None
        if len(content) != size or zlib.crc32(content) != place.checksum:
            raise DamagedFileError(held.part, f"{name} of run {held.run_id} is not as it was written")
        return np.frombuffer(content, dtype).reshape(place.shape)
