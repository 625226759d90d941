"""Published archives: fetched, checked against what is published of them, and made into arrays once."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import cast
from urllib.error import HTTPError

import numpy as np

from stepscape.datasets import Archive, Dataset
from stepscape.datasets._root import UNREADABLE
from stepscape.errors import StepscapeError, listed, nearest
from stepscape.registry import find, members
from stepscape.store.files import set_aside, write_atomically
from stepscape.store.processes import temporary_name
from stepscape.study.paths import DataPaths

_PATIENCE = 60.0
_MALFORMED = (*UNREADABLE, tarfile.TarError, gzip.BadGzipFile, UnicodeDecodeError)


def prepare_data(name: str, paths: DataPaths) -> Path:
    """Makes what training reads of a dataset with archives, unless it is there.

    Args:
        name: the dataset.
        paths: where archives lie, or are put.

    Returns:
        The file of arrays.

    Raises:
        StepscapeError: there is no such dataset; an archive is not there and cannot be fetched, or is not what was
            published; the folder cannot be written.
    """
    dataset = _dataset(name)
    path = paths.prepared(name)
    if path.exists():
        return path
    try:
        files = [fetch(archive, paths.archive(name, archive.name)) for archive in dataset.archives]
        write_arrays(path, _unpacked(dataset, files))
    except OSError as error:
        raise StepscapeError(f"{path}: cannot be made ({error}); `data_root` must be a folder to write to") from None
    return path


def _dataset(name: str) -> type[Dataset]:
    found = cast("type[Dataset] | None", find("dataset", name))
    if found is None or not found.archives:
        known = [cls.name for cls in members("dataset") if cast("type[Dataset]", cls).archives]
        remedy = nearest(name, known)
        raise StepscapeError(f"dataset {name!r} has no archives; those that have: {listed(known)}. {remedy}".rstrip())
    return found


def _unpacked(dataset: type[Dataset], files: list[Path]) -> Mapping[str, np.ndarray]:
    try:
        return dataset.unpack(files)
    except _MALFORMED as error:
        told = f"{type(error).__name__}: {error}"
        raise StepscapeError(f"{files[0].parent}: the archives of {dataset.name} cannot be read ({told})") from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as one file, which is there when it is whole."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_atomically(path, content.getvalue())


def fetch(archive: Archive, path: Path) -> Path:
    """Makes sure that an archive is there and is what was published.

    Args:
        archive: what is published.
        path: where it lies, or is put. A file there that is something else is set aside in `damaged` beside it.

    Returns:
        `path`.

    Raises:
        StepscapeError: it is not there and cannot be fetched, or what came is something else.
    """
    if path.exists():
        found = _checksum(path, archive)
        if found == archive.checksum:
            return path
        kept = set_aside(path, path.parent / "damaged")
        print(f"{path}: damaged (its checksum is {found}, {archive.checksum} is published); it now lies in {kept}")
    try:
        _download(archive, path)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        raise StepscapeError(
            f"{path}: not there, and {archive.url} cannot be fetched ({error}); get that file on a machine that can, "
            f"see that its checksum is {archive.checksum}, and put it there"
        ) from None
    return path


def _checksum(path: Path, archive: Archive) -> str:
    algorithm = archive.checksum.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _download(archive: Archive, path: Path) -> None:
    """Fetches an archive under a temporary name; only what has the right checksum gets its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(temporary_name(path.name))
    print(f"fetching {archive.url}", flush=True)
    try:
        with urllib.request.urlopen(archive.url, timeout=_PATIENCE) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())
        found = _checksum(temporary, archive)
        if found != archive.checksum:
            raise StepscapeError(
                f"{archive.url}: what came has the checksum {found}, {archive.checksum} is published; it was not kept. "
                f"If the transfer was cut short, start again; or put the file published at {path}"
            )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
