"""Owners: the files of leases, put in place and taken away so that of many who try one succeeds.

A file appears by a hard link, complete or not at all, which holds on NFS too; it is taken away by renaming it first.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stepscape.store.files import read_json
from stepscape.store.processes import machine, started_at
from stepscape.study.paths import Paths

EVERY = 5.0
"""Seconds between two beats."""

STALE_AFTER = 60.0
"""Seconds without a beat after which an owner counts as dead."""

_WIDTH = 12


@dataclass(frozen=True)
class Owner:
    """Who holds a pack: what the file of a lease says.

    Attributes:
        pack: the pack that is held.
        runs: ids of the runs that its owner is about to train.
        host: where the owner runs.
        machine: kernel and process namespace: ids of processes can be compared where these agree; "" if unknown.
        pid: its process.
        started: when that process started, in ticks of that kernel; 0 if unknown.
        token: tells this lease from all others.
        stamp: later than that of every lease that was there when this one was taken; seconds of the Unix epoch.
        beat: how often the owner has said that it lives.
    """

    pack: str
    runs: tuple[str, ...]
    host: str
    machine: str
    pid: int
    started: int
    token: str
    stamp: float
    beat: int = 0

    @property
    def order(self) -> tuple[float, str]:
        """Of two leases, the one of lower order is the older."""
        return self.stamp, self.token

    @property
    def words(self) -> str:
        """The owner as a reader is told of it."""
        return f"process {self.pid} on {self.host}"

    def encoded(self) -> bytes:
        """JSON of a length that no beat changes, so that it is rewritten in place."""
        fields = asdict(self)
        beat = fields.pop("beat")
        return f'{json.dumps(fields)[:-1]}, "beat": {beat:>{_WIDTH}}}}\n'.encode()

    def is_dead(self) -> bool:
        """Whether the owner has certainly ended; of one on another machine only its beats can tell."""
        return bool(self.machine) and self.machine == machine() and started_at(self.pid) != self.started


def this_process(pack: str, runs: Iterable[str], after: Iterable[Owner] = ()) -> Owner:
    """This process as the owner of a pack, by a lease that is younger than those of `after`."""
    latest = max((owner.stamp for owner in after), default=0.0)
    return Owner(
        pack=pack,
        runs=tuple(runs),
        host=socket.gethostname(),
        machine=machine(),
        pid=os.getpid(),
        started=started_at(os.getpid()),
        token=uuid.uuid4().hex,
        stamp=max(time.time(), math.nextafter(latest, math.inf)),
    )


def read_owner(path: Path) -> Owner | None:
    """The owner that a file names; None where there is none, or it is damaged."""
    return _decoded(read_json(path))


def _decoded(content: Any) -> Owner | None:
    try:
        return Owner(**{**content, "runs": tuple(content["runs"])})
    except (TypeError, KeyError):
        return None


def read_owners(paths: Paths) -> list[Owner]:
    """The owners of all leases, the dead too."""
    found = (read_owner(path) for path in sorted(paths.leases.glob("*.json")))
    return [owner for owner in found if owner]


def seems_alive(path: Path, owner: Owner) -> bool:
    """Whether the owner in a file lives, at one look: it is not known to have ended, and its last beat is recent."""
    with suppress(OSError):
        return not owner.is_dead() and time.time() - path.stat().st_mtime < STALE_AFTER
    return False


class Watch:
    """Judges whether owners live by how long, on this process's clock, their beats stand still."""

    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._seen: dict[str, tuple[int, float]] = {}

    def is_stale(self, owner: Owner) -> bool:
        """Whether this owner has ended, or says no more that it lives."""
        return owner.is_dead() or self.stands_still(owner.token, owner.beat)

    def stands_still(self, name: str, beat: int) -> bool:
        """Whether what is called `name` has kept the same count for too long."""
        now = time.monotonic()
        last, since = self._seen.get(name, (None, now))
        if beat != last:
            self._seen[name] = beat, now
            return False
        return now - since > self._stale_after


def publish(path: Path, owner: Owner) -> bool:
    """Writes the file of a lease unless there is one; a count of links tells, since NFS may repeat a request.

    Args:
        path: the file.
        owner: who is to hold the pack.

    Returns:
        Whether this owner holds it.

    Raises:
        OSError: the folder cannot be written, or knows no hard links.
    """
    temporary = path.with_name(f".{path.name}.{owner.token}.tmp")
    try:
        temporary.write_bytes(owner.encoded())
        with suppress(FileExistsError):
            os.link(temporary, path)
        return temporary.stat().st_nlink == 2
    finally:
        temporary.unlink(missing_ok=True)


def remove(path: Path, token: str | None) -> None:
    """Removes the file of a lease if it is the one of that token, or cannot be read.

    Of many who try at once, one moves it away; what turns out to be another lease is put back.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside")
    with suppress(FileNotFoundError):
        path.rename(aside)
        found = read_owner(aside)
        if found and found.token != token:
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()


def rewrite(path: Path, owner: Owner) -> None:
    """Writes the count of an owner if the file is its own: the very file that was read, never that of a later owner."""
    try:
        with path.open("r+b", buffering=0) as file:
            found = _decoded(json.loads(file.read()))
            if found and found.token == owner.token:
                file.seek(0)
                file.write(owner.encoded())
    except FileNotFoundError:
        publish(path, owner)


class Heart:
    """A thread that counts in the file of an owner for as long as that holds it."""

    def __init__(self, path: Path, owner: Owner, every: float) -> None:
        self._path, self._owner, self._every = path, owner, every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, daemon=True)
        self._thread.start()

    def _beat_on(self) -> None:
        while not self._ended.wait(self._every):
            with suppress(OSError, ValueError):
                self.beat()

    def beat(self) -> None:
        """Counts once."""
        self._owner = replace(self._owner, beat=self._owner.beat + 1)
        rewrite(self._path, self._owner)

    def stop(self) -> None:
        """Beats no more; the file stays."""
        self._ended.set()
        self._thread.join()
