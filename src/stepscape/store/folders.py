"""Writing folders: under a name that no other process has, then put in place of the old one."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stepscape.errors import storage_told
from stepscape.store.processes import is_left_over, temporary_name


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A name beside a folder that no other process writes to; what is there behind the body is removed.

    What processes that were killed have left of the same folder is removed first: it may be large.

    Args:
        path: the folder.

    Yields:
        A path at which nothing is.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(temporary_name(path.name))
    with storage_told(path.parent):
        for folder in filter(is_left_over, path.parent.glob(f".{path.name}.*")):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def put_folder_in_place(temporary: Path, path: Path) -> None:
    """Renames a folder; what was there before is moved away first, and removed afterwards.

    Of many processes that do this at once, the last one counts; a reader finds a whole folder or, for a moment, none.

    Args:
        temporary: the folder that is ready.
        path: what it is to be called.

    Raises:
        StorageError: the folder that both are in cannot be written.
    """
    while True:
        with folder_beside(path) as before:
            with suppress(FileNotFoundError):
                path.rename(before)
            if _is_renamed(temporary, path):
                return


def _is_renamed(temporary: Path, path: Path) -> bool:
    try:
        temporary.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process was quicker
            return False
        raise
    return True
