"""Zarr groups that users made."""

from __future__ import annotations

import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import zarr
from zarr.storage import LocalStore, ZipStore

from stepscape.datasets._root import UNREADABLE
from stepscape.errors import Mistake, Mistaken

_FORM = "a Zarr group with arrays of real numbers"


def read_group(path: Path, where: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a Zarr group.

    Args:
        path: its folder, or a zip of it.
        where: what to call it in messages.

    Returns:
        Arrays by name.

    Raises:
        Mistaken: it is none, or holds anything but real numbers.
    """
    if not path.exists():
        raise Mistaken([Mistake(where, "no such file", "a file or folder, its path as seen from the study")])
    try:
        if path.is_file():
            zipfile.ZipFile(path).close()  # a store that cannot be opened cannot be closed
        with closing(ZipStore(path, mode="r") if path.is_file() else LocalStore(path, read_only=True)) as store:
            group = zarr.open_group(store, mode="r")
            arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
    except UNREADABLE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise Mistaken([Mistake(where, f"a group that cannot be read ({reason})", _FORM)]) from None
    others = [f"{name} ({array.dtype})" for name, array in arrays.items() if array.dtype.kind not in "fiu"]
    if others:
        raise Mistaken([Mistake(where, ", ".join(others), _FORM)])
    return arrays
