"""Leases: who trains a pack now, so that no two processes do the same work.

A lease is a small file in which its owner counts every few seconds. Whoever waits for it watches these beats by a clock
of its own, so clocks need not agree. A lease only saves work: run files are published whole, and two trainings of a run
give the same bytes; so nothing here may fail a job.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from stepscape.store.owners import (
    EVERY,
    STALE_AFTER,
    Heart,
    Owner,
    Watch,
    publish,
    read_owner,
    read_owners,
    remove,
    this_process,
)
from stepscape.study.paths import Paths
from stepscape.study.run import Run

_POLL = 1.0


class Lease:
    """A pack that this process trains. Made by `hold`."""

    def __init__(self, paths: Paths, pack: str, run_ids: Sequence[str], every: float, stale_after: float) -> None:
        self._paths = paths
        self._path = paths.lease(pack)
        self._pack = pack
        self._run_ids = tuple(run_ids)
        self._every = every
        self._poll = min(every, _POLL)
        self._watch = Watch(stale_after)
        self._owner: Owner | None = None
        self._heart: Heart | None = None

    @property
    def lost(self) -> bool:
        """Whether another process has taken the pack over, because this one was not heard of for too long."""
        held = read_owner(self._path) if self._owner else None
        return held is not None and held.token != self._token

    def held_elsewhere(self) -> set[str]:
        """Looks who else is about to train runs of this lease.

        Returns:
            Those that an older lease of another pack names, while its owner lives. The older one does not wait for the
            younger, so no two wait for each other.
        """
        found: set[str] = set()
        for owner in read_owners(self._paths):
            if owner.pack == self._pack or (self._owner and owner.order > self._owner.order):
                continue
            if self._watch.is_stale(owner):
                with suppress(OSError):
                    remove(self._paths.lease(owner.pack), owner.token)
            else:
                found.update(owner.runs)
        return found & set(self._run_ids)

    def wait_for(self, run_id: str) -> None:
        """Returns when the run file exists or nobody else is about to train it."""
        while not self._paths.run(run_id).exists() and run_id in self.held_elsewhere():
            time.sleep(self._poll)

    def turns(self, groups: Sequence[Sequence[Run]]) -> Iterator[list[Run]]:
        """What to train, group by group: first what nobody else trains, last and after waiting what others hold.

        Where the lease is lost, this waits until it is held again; a group that was left early then has another turn.

        Args:
            groups: runs that are trained together.

        Yields:
            Of each group, the runs that have no file.
        """
        elsewhere = self.held_elsewhere()
        for group in groups:
            yield from self._turn([run for run in group if run.id not in elsewhere])
        for group in groups:
            late = [run for run in group if run.id in elsewhere]
            for run in late:
                self.wait_for(run.id)
            yield from self._turn(late)

    def _turn(self, group: Sequence[Run]) -> Iterator[list[Run]]:
        while missing := [run for run in group if not self._paths.run(run.id).exists()]:
            if self.lost:
                self.take()
                continue
            yield missing
            if not self.lost:
                return

    def take(self) -> None:
        """Waits until nobody else holds the pack, and holds it; says so and goes on where no lease can be written."""
        self._stop_heart()
        try:
            self._paths.leases.mkdir(parents=True, exist_ok=True)
            self._owner = self._taken()
        except OSError as error:
            self._owner = None
            print(
                f"{self._paths.leases}: no lease can be written ({error.strerror or error}). Training goes on; "
                "if another process trains the same runs, both do the work, and the results are the same.",
                file=sys.stderr,
                flush=True,
            )
        else:
            self._heart = Heart(self._path, self._owner, self._every)

    def _taken(self) -> Owner:
        told = False
        while True:
            if not self._path.exists() and publish(self._path, owner := self._own()):
                if told:
                    print(f"Pack {self._pack} is now held by {owner.words}.", flush=True)
                return owner
            holder = read_owner(self._path)
            if self._is_over(holder):
                remove(self._path, holder.token if holder else None)
                continue
            if holder and not told:
                print(f"Pack {self._pack} is being trained by {holder.words}; waiting until it ends.", flush=True)
                told = True
            time.sleep(self._poll)

    def _own(self) -> Owner:
        return this_process(self._pack, self._run_ids, after=read_owners(self._paths))

    def _is_over(self, holder: Owner | None) -> bool:
        if holder:
            return self._watch.is_stale(holder)
        with suppress(OSError):
            return self._watch.stands_still(str(self._path), self._path.stat().st_mtime_ns)
        return False

    @property
    def _token(self) -> str:
        return self._owner.token if self._owner else ""

    def _stop_heart(self) -> None:
        if self._heart:
            self._heart.stop()

    def release(self) -> None:
        """Gives the pack back; afterwards its file is gone, unless another process holds the pack by now."""
        self._stop_heart()
        if self._owner:
            with suppress(OSError):
                remove(self._path, self._owner.token)


@contextmanager
def hold(
    paths: Paths,
    pack_id: str,
    run_ids: Sequence[str],
    *,
    every: float = EVERY,
    stale_after: float = STALE_AFTER,
) -> Iterator[Lease]:
    """Holds a pack while the body runs; waits while another process that lives holds it.

    The lease of an owner that has ended on this machine is taken over at once, of any other when its beats stand still
    for `stale_after`.

    Args:
        paths: where results lie.
        pack_id: the pack.
        run_ids: the runs that are about to be trained.
        every: seconds between two beats.
        stale_after: seconds; much longer than `every`.

    Yields:
        The lease.
    """
    lease = Lease(paths, pack_id, run_ids, every, stale_after)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()
