"""What a run file holds, decoded without xarray and zarr, which spend a millisecond on each array.

Only the form that `stepscape.store.template` gives a file is decoded here; any other is left to `decode_run`, which
reads it or says what is damaged.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.blosc import Blosc

from stepscape.store.runfile import FORMAT, START, UNREADABLE, decode_run, read_bytes
from stepscape.study.identity import digest
from stepscape.study.paths import Paths
from stepscape.study.run import Run

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_KEYS = {"name": "default", "configuration": {"separator": "/"}}
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_BLOSC = Blosc()  # whose chunks say how they were encoded
_DTYPES = {"float16", "float32", "float64", "int32", "int64"}
_ATTRIBUTES = {"long_name", "_FillValue", "coordinates"}


@dataclass(frozen=True)
class Wanted:
    """A run file and what is to be read of it.

    Attributes:
        run_id: the run.
        path: its file.
        names: the variables and coordinates of the file, START included.
        collected: those that are read: the variables that a dataset holds, and their steps.
    """

    run_id: str
    path: Path
    names: frozenset[str]
    collected: tuple[str, ...]


def wanted_of(run: Run, paths: Paths) -> Wanted:
    """What a study's dataset needs of a run."""
    names = {START} if run.start else set()
    collected: dict[str, None] = {}
    for observable in run.observe:
        declared = observable.variables(run)
        clock = clock_of(observable.name, observable.dim)
        names |= {clock, *(variable.name for variable in declared)}
        held = [variable.name for variable in declared if variable.collected]
        collected |= dict.fromkeys([clock, *held] if held else [])
    return Wanted(run.id, paths.run(run.id), frozenset(names), tuple(collected))


def clock_of(observable: str, dim: str) -> str:
    """The coordinate that holds the steps of an observable whose measurements lie on `dim`."""
    return "step" if dim == "step" else f"{observable}_step"


@dataclass(frozen=True)
class Content:
    """What was read of a run file.

    Attributes:
        sha256: of the file, in hex.
        attributes: those of `open_run`.
        arrays: the collected variables and coordinates.
    """

    sha256: str
    attributes: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


class _OtherFormError(Exception):
    """The file has not the form that is decoded here."""


def read_content(wanted: Wanted) -> Content:
    """Reads a run file, checking every checksum.

    Args:
        wanted: which, and what of it.

    Returns:
        What is wanted.

    Raises:
        DamagedFileError: the file is not whole, or not what its name says.
    """
    content = read_bytes(wanted.path)
    digested = hashlib.sha256(content).hexdigest()
    try:
        return Content(digested, *_decoded(content, wanted))
    except (_OtherFormError, TypeError, IndexError, AttributeError, struct.error, *UNREADABLE):
        ds = decode_run(content, wanted.path)
        return Content(digested, ds.attrs, {name: ds[name].values for name in wanted.collected})


def _decoded(content: bytes, wanted: Wanted) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    members = _members(content)
    attributes = json.loads(bytes(members["zarr.json"]))["attributes"]
    names = {name.removesuffix("/zarr.json") for name in members if name.endswith("/zarr.json")}
    is_it = attributes["run_id"] == wanted.run_id == digest(attributes["spec"])
    if attributes["format"] != FORMAT or not is_it or names != wanted.names:
        raise _OtherFormError
    return attributes, {name: _array(members, name) for name in wanted.collected}


def _members(content: bytes) -> dict[str, memoryview]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    held = {}
    for entry in entries:
        magic, name_length, extra_length = _LOCAL_HEADER.unpack_from(content, entry.header_offset)
        name_at = entry.header_offset + _LOCAL_HEADER.size
        start = name_at + name_length + extra_length
        member = memoryview(content)[start : start + entry.file_size]
        is_named = content[name_at : name_at + name_length] == entry.filename.encode()
        is_plain = magic == b"PK\3\4" and entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        if not (is_named and is_plain and zlib.crc32(member) == entry.CRC):
            raise _OtherFormError
        held[entry.filename] = member
    if len(held) != len(entries):
        raise _OtherFormError
    return held


def _array(members: Mapping[str, memoryview], name: str) -> np.ndarray:
    shape, dtype, fill_value = _layout(bytes(members[f"{name}/zarr.json"]))
    chunk = members.get("/".join([name, "c", *("0" for _ in shape)]))
    if chunk is None or 0 in shape:
        return np.full(shape, fill_value, dtype)
    values = np.frombuffer(_BLOSC.decode(chunk), dtype)
    if values.size != math.prod(shape):
        raise _OtherFormError
    return values.reshape(shape)


@lru_cache(maxsize=4096)
def _layout(document: bytes) -> tuple[tuple[int, ...], np.dtype, Any]:
    """Shape, dtype and fill value of an array, from its `zarr.json`."""
    held = json.loads(document)
    shape, codecs, dtype = tuple(held["shape"]), held["codecs"], held["data_type"]
    is_one_chunk = tuple(held["chunk_grid"]["configuration"]["chunk_shape"]) == shape
    is_blosc = len(codecs) == 2 and codecs[0] == _LITTLE and codecs[1]["name"] == "blosc"
    is_plain = held["attributes"].keys() <= _ATTRIBUTES and not held["storage_transformers"]
    is_decodable = (is_one_chunk and is_blosc and held["chunk_key_encoding"] == _KEYS) or 0 in shape
    if not (is_decodable and is_plain and dtype in _DTYPES):
        raise _OtherFormError
    return shape, np.dtype(dtype).newbyteorder("<"), np.nan if held["fill_value"] == "NaN" else held["fill_value"]
