"""The members of a run file's zip, the very bytes that xarray and zarr write, without what they spend on each array.

The documents of a store depend on its layout alone: names, dimensions, dtypes, attributes. The first run of a layout is
written by xarray; later ones take its documents, with their own lengths and attributes, and encode their chunks.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numcodecs.blosc import Blosc
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

COMPRESSOR = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
_SHAPE, _CHUNK = "@shape", "@chunk"
_INDENT = 2  # zarr's


@dataclass(frozen=True)
class _Array:
    """An array of a layout.

    Attributes:
        document: its `zarr.json`, with `_SHAPE` and `_CHUNK` in place of its lengths.
        fill_value: what zarr reads where there is no chunk.
    """

    document: str
    fill_value: Any


_TEMPLATES: dict[Hashable, Mapping[str, _Array]] = {}


def encoded(ds: xr.Dataset) -> dict[str, bytes]:
    """The members of a store in which every variable is one chunk.

    Args:
        ds: in memory, its variables without encodings.

    Returns:
        Name of a member to its bytes: those of `encoded_by_xarray`.
    """
    if any(variable.dtype.kind not in "fiu" for variable in ds.variables.values()):
        return encoded_by_xarray(ds)  # which stores them as something else
    layout = _layout(ds)
    if layout not in _TEMPLATES:
        written = encoded_by_xarray(ds)
        _TEMPLATES[layout] = {str(name): _generalised(written[f"{name}/zarr.json"]) for name in ds.variables}
        return written
    group = {"attributes": ds.attrs, "zarr_format": 3, "node_type": "group"}
    held = {"zarr.json": json.dumps(group, indent=_INDENT).encode()}
    for name, array in _TEMPLATES[layout].items():
        values = ds.variables[name].values
        held[f"{name}/zarr.json"] = _document(array, values.shape)
        if not _is_fill(values, array.fill_value):
            held["/".join([name, "c", *("0" for _ in values.shape)])] = compressed(values)
    return held


def encoded_by_xarray(ds: xr.Dataset) -> dict[str, bytes]:
    """What `encoded` returns, made by xarray and zarr themselves; slower, and for any dataset.

    Args:
        ds: the dataset.

    Returns:
        Name of a member to its bytes.
    """
    held: dict[str, Any] = {}
    encoding = {
        name: {"compressors": (COMPRESSOR,), "chunks": ds[name].shape} for name in ds.variables if ds[name].size
    }
    ds.to_zarr(MemoryStore(store_dict=held), mode="w", consolidated=False, encoding=encoding)
    return {name: value.to_bytes() for name, value in held.items()}


def _layout(ds: xr.Dataset) -> Hashable:
    """What the documents depend on: for arrays without entries, which zarr chunks by itself, their shapes too."""
    return tuple(
        (name, name in ds.coords, held.dims, held.dtype, tuple(held.attrs.items()), None if held.size else held.shape)
        for name, held in ds.variables.items()
    )


def _generalised(document: bytes) -> _Array:
    content = json.loads(document)
    if 0 not in content["shape"]:
        content["shape"] = _SHAPE
        content["chunk_grid"]["configuration"]["chunk_shape"] = _CHUNK
    return _Array(json.dumps(content, indent=_INDENT), content["fill_value"])


def _document(array: _Array, shape: tuple[int, ...]) -> bytes:
    text = array.document.replace(f'"{_SHAPE}"', _lengths(shape, depth=1), 1)
    return text.replace(f'"{_CHUNK}"', _lengths(shape, depth=3), 1).encode()


def _lengths(shape: tuple[int, ...], depth: int) -> str:
    inner, outer = "\n" + " " * _INDENT * (depth + 1), "\n" + " " * _INDENT * depth
    return "[" + inner + f",{inner}".join(map(str, shape)) + outer + "]" if shape else "[]"


def _is_fill(values: np.ndarray, fill_value: Any) -> bool:
    """Whether zarr leaves the chunk out: there are no values, or all are the fill value; -0.0 is not 0.0."""
    if fill_value == "NaN":
        return bool(np.isnan(values).all())
    return values.tobytes() == np.full(values.shape, fill_value, values.dtype).tobytes()


def compressed(values: np.ndarray, codec: BloscCodec = COMPRESSOR) -> bytes:
    """The bytes of a chunk: what a codec that shuffles bits makes of numbers in little endian."""
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    blosc = Blosc(codec.cname.value, codec.clevel, Blosc.BITSHUFFLE, codec.blocksize, typesize=values.dtype.itemsize)
    return bytes(blosc.encode(little))
