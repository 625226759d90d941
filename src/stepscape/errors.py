"""How errors speak: where, what was given, what is allowed, what to do. No traceback for a mistake of the user's."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class StepscapeError(Exception):
    """An error that its reader can mend: its text is the whole message, the command ends with status 1."""


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in a file.

    Attributes:
        where: the key path, such as `grid[0].lr[2]`; empty for the file as a whole.
        given: what stands there, as text.
        allowed: what may stand there.
        remedy: what to do, such as the nearest allowed spelling; may be empty.
        line: the line of the file, counted from 1, where it is known.
    """

    where: str
    given: str
    allowed: str
    remedy: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = ", ".join(filter(None, [f"line {self.line}" if self.line else "", self.where])) or "the file"
        rows = [("given", self.given), ("allowed", self.allowed), ("do", self.remedy)]
        return "\n".join([f"  {place}", *(f"    {name:<8} {text}" for name, text in rows if text)])


class Mistaken(StepscapeError):
    """Mistakes in what `of` names, or in a part of a file; whoever reads the file collects them."""

    def __init__(self, mistakes: Iterable[Mistake], of: str = "") -> None:
        self.mistakes = tuple(mistakes)
        heading = [f"{of}: {counted(len(self.mistakes), 'mistake')}"] if of else []
        super().__init__("\n".join([*heading, *map(str, self.mistakes)]))


class FileError(Mistaken):
    """All mistakes of one file, told together."""

    def __init__(self, path: Path | str, mistakes: Iterable[Mistake]) -> None:
        super().__init__(mistakes, of=str(path))
        self.path = Path(path)


class Mistakes(list[Mistake]):
    """What is wrong so far: reading goes on behind a mistake, so that all are told together."""

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keeps the mistakes that the body raises, and goes on behind it."""
        try:
            yield
        except Mistaken as error:
            self.extend(error.mistakes)


class DamagedFileError(StepscapeError):
    """A file of results that cannot be trusted: truncated, altered, or not what its name says."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: damaged ({reason})")


_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota of this disk is used up"}
_CLOSED = {
    errno.EROFS: "it is read-only",
    errno.EACCES: "it may not be written",
    errno.EPERM: "it may not be written",
}


class StorageError(StepscapeError):
    """A place that cannot be written: its disk is full, or it is closed to whoever writes.

    Attributes:
        path: what could not be written.
    """

    def __init__(self, path: Path | str, error: OSError) -> None:
        self.path = Path(path)
        if error.errno in _FULL:
            reason, remedy = _FULL[error.errno], "Make room there"
        else:
            reason = _CLOSED.get(error.errno or 0, (error.strerror or str(error)).lower())
            remedy = "Make it a folder to write to"
        super().__init__(
            f"{path}: cannot be written: {reason}\n"
            f"{remedy}, or choose another folder, and start the same command again. What was written before is whole."
        )

    @staticmethod
    def speaks_of(error: OSError) -> bool:
        """Whether an error of the system says that a disk is full, or closed to whoever writes."""
        return error.errno in _FULL | _CLOSED


@contextmanager
def storage_told(folder: Path) -> Iterator[None]:
    """Tells in words what the system refuses the body to do in a folder; what it refuses elsewhere is left as it is.

    Args:
        folder: what the body writes to.

    Yields:
        Nothing.

    Raises:
        StorageError: the folder cannot be written.
        OSError: something else, such as a file elsewhere that cannot be read.
    """
    try:
        yield
    except OSError as error:
        if not _concerns(error, folder):
            raise
        raise StorageError(error.filename or folder, error) from None


def _concerns(error: OSError, folder: Path) -> bool:
    names = [Path(os.fsdecode(name)) for name in (error.filename, error.filename2) if name is not None]
    return not names or any(name.is_relative_to(folder) or folder.is_relative_to(name) for name in names)


def nearest(word: str, words: Iterable[str]) -> str:
    """The allowed word closest in spelling, as a remedy; empty when none is close."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def counted(number: int, noun: str) -> str:
    """A number of things, the noun in the plural unless it is one."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(words: Iterable[str]) -> str:
    """Words in a sentence, sorted."""
    return ", ".join(sorted(words)) or "none"
