"""Leases: who trains a pack now, so that no two processes do the same work.

A lease is a small file, put in place by a hard link (atomic on NFS too), in which its owner counts every few seconds.
Whoever waits for it watches these beats by a clock of its own, so clocks need not agree. A lease only saves work: run
files are published whole, and two trainings of a run give the same bytes; so nothing here may fail a job.
"""

from __future__ import annotations

import json
import math
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stepscape.store.files import read_json
from stepscape.study.paths import Paths
from stepscape.study.run import Run

EVERY = 5.0
"""Seconds between two beats."""

STALE_AFTER = 60.0
"""Seconds without a beat after which an owner counts as dead."""

_POLL = 1.0
_BEAT_WIDTH = 12


@dataclass(frozen=True)
class Claim:
    """What the file of a lease says.

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
    def owner(self) -> str:
        """The owner in words."""
        return f"process {self.pid} on {self.host}"

    def encoded(self) -> bytes:
        """JSON of a length that no beat changes, so that it is rewritten in place."""
        fields = asdict(self)
        beat = fields.pop("beat")
        return f'{json.dumps(fields)[:-1]}, "beat": {beat:>{_BEAT_WIDTH}}}}\n'.encode()

    def is_dead(self) -> bool:
        """Whether the owner has certainly ended; of one on another machine only its beats can tell."""
        return bool(self.machine) and self.machine == _machine() and _started(self.pid) != self.started


def read_claim(path: Path) -> Claim | None:
    """The claim in a file; None where there is none, or it is damaged."""
    return _decoded(read_json(path))


def _decoded(content: Any) -> Claim | None:
    try:
        return Claim(**{**content, "runs": tuple(content["runs"])})
    except (TypeError, KeyError):
        return None


def read_claims(paths: Paths) -> list[Claim]:
    """All claims, of the dead too."""
    found = (read_claim(path) for path in sorted(paths.leases.glob("*.json")))
    return [claim for claim in found if claim]


def seems_alive(paths: Paths, claim: Claim) -> bool:
    """Whether the owner lives, at one look: its process is not known to have ended, and its last beat is recent."""
    with suppress(OSError):
        return not claim.is_dead() and time.time() - paths.lease(claim.pack).stat().st_mtime < STALE_AFTER
    return False


class _Watch:
    """Judges whether owners live by how long, on this process's clock, their beats stand still."""

    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._seen: dict[str, tuple[int, float]] = {}

    def is_stale(self, claim: Claim) -> bool:
        return claim.is_dead() or self.stands_still(claim.token, claim.beat)

    def stands_still(self, name: str, beat: int) -> bool:
        now = time.monotonic()
        last, since = self._seen.get(name, (None, now))
        if beat != last:
            self._seen[name] = beat, now
            return False
        return now - since > self._stale_after


class Lease:
    """A pack that this process trains. Made by `hold`."""

    def __init__(self, paths: Paths, pack: str, run_ids: Sequence[str], every: float, stale_after: float) -> None:
        self._paths = paths
        self._path = paths.lease(pack)
        self._pack = pack
        self._run_ids = tuple(run_ids)
        self._every = every
        self._poll = min(every, _POLL)
        self._watch = _Watch(stale_after)
        self._claim: Claim | None = None
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """Whether another process has taken the pack over, because this one was not heard of for too long."""
        held = read_claim(self._path) if self._claim else None
        return held is not None and held.token != self._token

    def held_elsewhere(self) -> set[str]:
        """Looks who else is about to train runs of this lease.

        Returns:
            Those that an older lease of another pack names, while its owner lives. The older one does not wait for the
            younger, so no two wait for each other.
        """
        found: set[str] = set()
        for claim in read_claims(self._paths):
            if claim.pack == self._pack or (self._claim and claim.order > self._claim.order):
                continue
            if self._watch.is_stale(claim):
                with suppress(OSError):
                    _remove(self._paths.lease(claim.pack), claim.token)
            else:
                found.update(claim.runs)
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
            self._claim = self._taken()
        except OSError as error:
            self._claim = None
            print(
                f"{self._paths.leases}: no lease can be written ({error.strerror or error}). Training goes on; "
                "if another process trains the same runs, both do the work, and the results are the same.",
                file=sys.stderr,
                flush=True,
            )
        else:
            self._ended = threading.Event()
            self._heart = threading.Thread(target=self._beat_on, args=(self._ended,), daemon=True)
            self._heart.start()

    def _taken(self) -> Claim:
        told = False
        while True:
            claim = self._own()
            if not self._path.exists() and _publish(self._path, claim):
                return claim
            holder = read_claim(self._path)
            if self._is_over(holder):
                _remove(self._path, holder.token if holder else None)
                continue
            if holder and not told:
                print(f"Pack {self._pack} is being trained by {holder.owner}; waiting until it ends.", flush=True)
                told = True
            time.sleep(self._poll)

    def _own(self) -> Claim:
        latest = max((claim.stamp for claim in read_claims(self._paths)), default=0.0)
        return Claim(
            pack=self._pack,
            runs=self._run_ids,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            started=_started(os.getpid()),
            token=uuid.uuid4().hex,
            stamp=max(time.time(), math.nextafter(latest, math.inf)),
        )

    def _is_over(self, holder: Claim | None) -> bool:
        if holder:
            return self._watch.is_stale(holder)
        with suppress(OSError):
            return self._watch.stands_still(str(self._path), self._path.stat().st_mtime_ns)
        return False

    @property
    def _token(self) -> str:
        return self._claim.token if self._claim else ""

    def _beat_on(self, ended: threading.Event) -> None:
        while not ended.wait(self._every):
            with suppress(OSError, ValueError):
                self._beat()

    def _beat(self) -> None:
        """Rewrites the file if it is this lease's: the very file that was read, so never that of a later owner."""
        assert self._claim
        claim = self._claim = replace(self._claim, beat=self._claim.beat + 1)
        try:
            with self._path.open("r+b", buffering=0) as file:
                held = _decoded(json.loads(file.read()))
                if held and held.token == claim.token:
                    file.seek(0)
                    file.write(claim.encoded())
        except FileNotFoundError:
            _publish(self._path, claim)

    def _stop_heart(self) -> None:
        self._ended.set()
        if self._heart:
            self._heart.join()

    def release(self) -> None:
        """Gives the pack back; afterwards its file is gone, unless another process holds the pack by now."""
        self._stop_heart()
        if self._claim:
            with suppress(OSError):
                _remove(self._path, self._claim.token)


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


def _publish(path: Path, claim: Claim) -> bool:
    """Puts a claim in place unless there is one. Whether it is there tells the file, since NFS may repeat a request."""
    temporary = path.with_name(f".{path.name}.{claim.token}.tmp")
    try:
        temporary.write_bytes(claim.encoded())
        with suppress(FileExistsError):
            os.link(temporary, path)
        return temporary.stat().st_nlink == 2
    finally:
        temporary.unlink(missing_ok=True)


def _remove(path: Path, token: str | None) -> None:
    """Removes the claim of that token, or one that cannot be read; of many who try at once, one moves it away."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside")
    with suppress(FileNotFoundError):
        path.rename(aside)
        found = read_claim(aside)
        if found and found.token != token:
            with suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()


def _machine() -> str:
    """The running kernel and its namespace of processes; "" where the system does not tell."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def _started(pid: int) -> int:
    """When a process started, in ticks since boot; 0 where there is none, or only what is left of it."""
    with suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    return 0
