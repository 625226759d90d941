"""The head: the one process that submits the jobs of a results folder to a cluster.

Snakemake's own lock outlives a head that was killed and refuses the next one. This one is held by beats, as leases are:
a head that lives is not joined by a second one, a dead one is followed.
"""

from __future__ import annotations

import atexit
import sys
import time
from contextlib import suppress
from pathlib import Path

from stepscape.errors import StepscapeError
from stepscape.store.owners import (
    EVERY,
    STALE_AFTER,
    Heart,
    Owner,
    Watch,
    publish,
    read_owner,
    remove,
    seems_alive,
    this_process,
)
from stepscape.study.paths import Paths

_NAME = "head"


class Head:
    """This process as the head of a results folder. Made by `take_head`."""

    def __init__(self, path: Path, owner: Owner, every: float) -> None:
        self._path, self._owner = path, owner
        self._heart = Heart(path, owner, every)

    def release(self) -> None:
        """Makes way for the next head; a second call does nothing."""
        self._heart.stop()
        with suppress(OSError):
            remove(self._path, self._owner.token)


def take_head(paths: Paths, *, every: float = EVERY, stale_after: float = STALE_AFTER) -> Head:
    """Makes this process the head of a results folder, until it ends or releases it.

    A head that has died on this machine is followed at once, any other when its beats stand still for `stale_after`.

    Args:
        paths: where results lie.
        every: seconds between two beats.
        stale_after: seconds; much longer than `every`.

    Returns:
        What can release it.

    Raises:
        StepscapeError: another head lives, or the folder cannot be written.
    """
    path = paths.head
    owner = this_process(_NAME, ())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _await_end_of_other(path, min(1.0, every), Watch(stale_after), owner)
    except OSError as error:
        raise StepscapeError(
            f"{path}: cannot be written ({error.strerror or error}); it says who submits jobs"
        ) from None
    head = Head(path, owner, every)
    atexit.register(head.release)
    return head


def _await_end_of_other(path: Path, poll: float, watch: Watch, own: Owner) -> None:
    seen: dict[str, int] = {}
    while not (not path.exists() and publish(path, own)):
        other = read_owner(path)
        if _is_over(path, other, watch):
            remove(path, other.token if other else None)
            continue
        if other and not seen:
            print(f"{path}: {other.words} is the head; waiting for a sign of life", file=sys.stderr, flush=True)
        if other and seen.setdefault(other.token, other.beat) != other.beat:
            raise StepscapeError(_refusal(path, other))
        time.sleep(poll)


def _is_over(path: Path, other: Owner | None, watch: Watch) -> bool:
    if other:
        return watch.is_stale(other)
    with suppress(OSError):
        return watch.stands_still(str(path), path.stat().st_mtime_ns)
    return False


def _refusal(path: Path, other: Owner) -> str:
    return (
        f"{path}: {other.words} is submitting the jobs of this results folder.\n"
        "Only one may. Wait until it has ended, or end it: its jobs go on, and the next head finds what they did."
    )


def read_head(paths: Paths) -> Owner | None:
    """The head that lives, at one look; None where there is none."""
    owner = read_owner(paths.head)
    return owner if owner and seems_alive(paths.head, owner) else None
