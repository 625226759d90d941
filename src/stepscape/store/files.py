"""Writing files so that a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from stepscape.errors import storage_told
from stepscape.store.processes import temporary_name


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name in the same folder; behind the body it is synced and renamed.

    Args:
        path: the file; its folder is made if need be.

    Yields:
        The file, empty, to be written; where the body raises, nothing is left behind.

    Raises:
        StorageError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with temporary_file(path.parent, path.name) as (file, temporary):
        yield file
        file.flush()
        os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def temporary_file(folder: Path, name: str) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in `folder`, which is made if need be; unless it was renamed in the body, nothing is left of it.

    Args:
        folder: where it lies.
        name: what it will be called.

    Yields:
        The file, open for writing, and its path: hidden, and no other process's.

    Raises:
        StorageError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    temporary = folder / temporary_name(name)
    with storage_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                yield file, temporary
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes all of a file, or nothing.

    Args:
        path: the file; its folder is made if need be.
        content: all of it.

    Raises:
        StorageError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    with replacing(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON that people can read, keys in their order."""
    write_atomically(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads JSON; None where there is no such file or it is not JSON."""
    try:
        return json.loads(path.read_bytes(), parse_constant=_refuse)
    except (OSError, ValueError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def stored_spec(path: Path) -> Any:
    """The spec in a run file, read without opening its arrays; None where there is no such file or it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(json.loads(archive.read("zarr.json"))["attributes"]["spec"])
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path, folder: Path) -> Path:
    """Moves a file that cannot be used into `folder`, under a name that is free there.

    Returns:
        Where it is now; nowhere if another process has moved it meanwhile.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        names = (folder / (path.name if n == 0 else f"{path.name}.{n}") for n in range(1_000_000))
        target = next(name for name in names if not name.exists())
        with suppress(FileNotFoundError):
            path.replace(target)
    return target
