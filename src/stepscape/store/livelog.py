"""Live logs: how far the pack is that a process trains now, for whoever looks at the results folder.

One file a pack, JSON by lines: a header, then what is known of the run that is being trained. Not synced, and removed
when the job ends; nothing depends on it, so where it cannot be written there is none, and no job fails.
"""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

from stepscape.study.paths import Paths

_EVERY = 1.0  # seconds
_SHARE = 1e-3  # of the time spent: a week fills 7,500 lines, 1 MB
_LATELY = 60.0  # seconds
_TAIL = 4096  # bytes, of lines of some 150


@dataclass(frozen=True)
class Progress:
    """How far a pack is.

    Attributes:
        pack: the pack.
        host: where it is trained.
        pid: by which process.
        started: when that began, in seconds of the Unix epoch.
        runs: how many runs it is to train.
        done: how many of them have ended.
        time: when this was written.
        run: id of the run that is trained, or ended last; "" before the first.
        step: updates done in it.
        of: updates of its budget.
        loss: its training loss, if it was told and is finite.
        sharpness: its largest Hessian eigenvalue, if it was told and is finite.
        status: how that run ended; "" while it is trained.
    """

    pack: str
    host: str
    pid: int
    started: float
    runs: int
    done: int = 0
    time: float = 0.0
    run: str = ""
    step: int = 0
    of: int = 0
    loss: float | None = None
    sharpness: float | None = None
    status: str = ""

    @property
    def is_recent(self) -> bool:
        """Whether it was written lately, by the clock of this machine."""
        return time.time() - max(self.started, self.time) < _LATELY


class LiveLog:
    """The log of a pack while it is trained. Made by `live_log`."""

    def __init__(self, paths: Paths, pack: str, runs: int) -> None:
        self._path = paths.live(pack)
        self._file: int | None = None
        self._done = 0
        self._begun = self._due = time.monotonic()
        header = {"pack": pack, "runs": runs, "host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
            self._write(header)

    def say(
        self, run_id: str, step: int, of: int, loss: SupportsFloat | None = None, sharpness: SupportsFloat | None = None
    ) -> None:
        """Tells how far a run is, at most once a second: else this costs one look at the clock.

        Args:
            run_id: the run.
            step: updates done.
            of: updates of its budget.
            loss: its training loss; a tensor on a device is fetched only if it is written.
            sharpness: its largest Hessian eigenvalue, likewise.
        """
        now = time.monotonic()
        if now >= self._due:
            self._due = now + max(_EVERY, _SHARE * (now - self._begun))
            self._tell(run=run_id, step=step, of=of, loss=_finite(loss), sharpness=_finite(sharpness))

    def end(self, run_id: str, step: int, of: int, status: str) -> None:
        """Tells that a run has ended, at any time.

        Args:
            run_id: the run.
            step: updates done.
            of: updates of its budget.
            status: how it ended.
        """
        self._done += 1
        self._tell(run=run_id, step=step, of=of, status=status)

    def _tell(self, **said: Any) -> None:
        with suppress(OSError):
            self._write({"time": round(time.time(), 3), "done": self._done, **said})

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Removes the file, unless a later log of the pack is in its place, and writes no more."""
        if self._file is not None:
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._file), self._path.stat()):
                    self._path.unlink()
            os.close(self._file)
            self._file = None


@contextmanager
def live_log(paths: Paths, pack: str, runs: int) -> Iterator[LiveLog]:
    """A new log of a pack, gone behind the body; that of a process that was killed stays.

    Args:
        paths: where results lie.
        pack: the pack.
        runs: how many runs are to be trained.

    Yields:
        The log.
    """
    log = LiveLog(paths, pack, runs)
    try:
        yield log
    finally:
        log.close()


def read_live(paths: Paths) -> list[Progress]:
    """What the logs of packs say last; a line that is torn is passed over, and so is a file without a header."""
    found = (_read(path) for path in sorted(paths.live_logs.glob("*.jsonl")))
    return [progress for progress in found if progress]


def _read(path: Path) -> Progress | None:
    try:
        with path.open("rb") as file:
            header = file.readline()
            file.seek(max(len(header), file.seek(0, os.SEEK_END) - _TAIL))
            tail = file.read()
    except OSError:
        return None
    for line in reversed([b"{}", *tail.splitlines(keepends=True)]):
        with suppress(ValueError, TypeError):
            return Progress(**json.loads(header), **json.loads(line))
    return None


def _finite(value: SupportsFloat | None) -> float | None:
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
