"""One job: train the runs of a pack whose file does not yet exist, each published the moment it ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from stepscape.errors import StepscapeError, StorageError, counted
from stepscape.store.files import set_aside, temporary_file
from stepscape.store.leases import Lease, hold
from stepscape.store.livelog import LiveLog, live_log
from stepscape.store.receipts import Told, known, read_pack, write_receipt
from stepscape.store.runfile import write_run
from stepscape.study.paths import Paths
from stepscape.study.plan import Pack
from stepscape.study.run import Run, describe_run
from stepscape.training.accounts import failure_of, said_of, tell_failures
from stepscape.training.checkpoint import UnusableCheckpointError, read_checkpoint, write_checkpoint
from stepscape.training.interrupts import deferred_interrupts
from stepscape.training.lanes import lane_groups
from stepscape.training.loop import Group, Lane
from stepscape.training.platform import platform_record, prepare
from stepscape.training.record import Record
from stepscape.training.starts import start_parameters


class StoppedError(StepscapeError):
    """A job was told to stop, and saved its state.

    Attributes:
        signal: the signal it was told by.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


def train_pack(pack_id: str, paths: Paths, device_name: str, checkpoint_every: float = 60.0) -> bool:
    """Trains what is missing of a pack and writes its receipt.

    Args:
        pack_id: the pack, whose plan lies under `paths`.
        paths: where results lie.
        device_name: `cpu`, `cuda` or `auto`.
        checkpoint_every: seconds after which the state of what is in training is saved again.

    Returns:
        Whether all its runs are there; if not, the file of failures says what went wrong, and neighbours are published.

    Raises:
        StoppedError: SIGTERM or SIGINT came. The state is saved, and another job goes on from it.
        StorageError: the disk is full, or closed to this process. What was published is whole.
    """
    pack = read_pack(paths, pack_id)
    device = prepare(device_name)
    paths.failures(pack_id).unlink(missing_ok=True)
    missing = [run.id for run in pack.runs if not paths.run(run.id).exists()]
    if missing:
        with temporary_file(paths.runs, "probe"):
            pass  # better now than when the first run has been trained
    with hold(paths, pack_id, missing) as lease, live_log(paths, pack_id, len(missing)) as live:
        job = _Job(pack, paths, device, lease, live, checkpoint_every)
        job.train()
        if job.failures:
            tell_failures(pack_id, paths, device_name, list(job.failures.values()))
            return False
        told = known(paths, {run.id for run in pack.runs} - job.told.keys())
        write_receipt(paths, pack, told | job.told)
    return True


class _Job:
    """The training of one pack.

    Attributes:
        told: run ids to what the receipt will say of the runs trained here.
        failures: run ids to what went wrong.
    """

    def __init__(
        self, pack: Pack, paths: Paths, device: torch.device, lease: Lease, live: LiveLog, checkpoint_every: float
    ) -> None:
        self._pack, self._paths, self._device = pack, paths, device
        self._lease, self._live = lease, live
        self._checkpoint = paths.checkpoint(pack.id)
        self._checkpoint_every = checkpoint_every
        self._saved = time.monotonic()
        self.told: dict[str, Told] = {}
        self.failures: dict[str, dict[str, Any]] = {}
        self._missing = self._left(pack.runs)

    def train(self) -> None:
        """Trains all that is missing, first what a checkpoint holds."""
        resumed = self._resumed()
        if resumed:
            self._train(*resumed)
        for runs in self._lease.turns(lane_groups(self._left(self._missing), self._device)):
            self._start(runs)
        if not self._lease.lost:
            self._checkpoint.unlink(missing_ok=True)

    def _left(self, runs: Iterable[Run]) -> list[Run]:
        return [run for run in runs if run.id not in self.failures and not self._paths.run(run.id).exists()]

    def _resumed(self) -> tuple[Group, float] | None:
        if not self._checkpoint.exists():
            return None
        try:
            group, seconds = read_checkpoint(self._pack, self._checkpoint, self._device)
        except UnusableCheckpointError as error:
            kept = set_aside(self._checkpoint, self._checkpoint.parent / "aside")
            _print(f"{kept.name}: not used, {error}; it now lies in {kept.parent}, and its runs start anew")
            return None
        elsewhere = self._lease.held_elsewhere()
        missing = {run.id for run in self._left(lane.run for lane in group.lanes)} - elsewhere
        left = [number for number, lane in enumerate(group.lanes) if lane.run.id in missing]
        if not left:
            return None
        group.keep(left)
        _print(f"going on after {group.step} updates with {counted(len(left), 'run')}")
        return group, seconds

    def _start(self, runs: Iterable[Run]) -> None:
        """Trains runs from their beginning, those that have one."""
        starts: dict[str, np.ndarray | None] = {}
        ready = []
        for run in runs:
            try:
                starts[run.id] = start_parameters(run, self._paths)
            except Exception as error:  # what it starts from is not there: its neighbours train
                self._fail(run, error)
            else:
                ready.append(run)
        if not ready:
            return
        try:
            group = Group.start(ready, self._device, starts)
        except Exception as error:  # their data are not there, or do not fit
            for run in ready:
                self._fail(run, error)
        else:
            self._train(group, 0.0)

    def _train(self, group: Group, seconds: float) -> None:
        """Trains a group to its end; where that fails as a whole, its lanes one by one."""
        runs = [lane.run for lane in group.lanes]
        try:
            self._advance(group, seconds)
        except (StoppedError, StorageError):
            raise
        except Exception as error:
            if len(runs) == 1:
                self._fail(runs[0], error)
                return
            for run in self._left(runs):
                self._start([run])

    def _advance(self, group: Group, seconds: float) -> None:
        with deferred_interrupts() as interrupts:
            while group.lanes:
                if interrupts.signal or time.monotonic() - self._saved >= self._checkpoint_every:
                    if self._lease.lost:
                        return
                    self._save(group, seconds, interrupts.signal)
                self._say(group.lanes[0], group.step)
                started, lanes = time.perf_counter(), len(group.lanes)
                ended = group.advance()
                seconds += (time.perf_counter() - started) / lanes
                for lane in ended:
                    self._end(lane, seconds)

    def _save(self, group: Group, seconds: float, stopped_by: int) -> None:
        next_job = "the next job goes on there"
        try:
            write_checkpoint(group, self._pack, seconds, self._checkpoint)
        except StorageError as error:  # training goes on: a checkpoint saves work, and nothing else
            next_job = "the next job begins where the state was last saved"
            _print(f"{error}\nThe state of what is in training is not saved.")
        self._saved = time.monotonic()
        if stopped_by:
            name = signal.Signals(stopped_by).name
            raise StoppedError(f"stopped by {name} after {group.step} updates; {next_job}", stopped_by)

    def _say(self, lane: Lane, step: int) -> None:
        loss, sharpness = _last(lane.record, "train_loss"), _last(lane.record, "hessian_eigenvalue")
        self._live.say(lane.run.id, step, lane.run.updates, loss, sharpness)

    def _end(self, lane: Lane, seconds: float) -> None:
        run, path = lane.run, self._paths.run(lane.run.id)
        started = time.perf_counter()
        try:
            if lane.error:
                raise lane.error
            write_run(lane.record, path, platform_record(run, self._device))
        except StorageError:
            raise
        except Exception as error:
            self._fail(run, error)
            return
        seconds += time.perf_counter() - started
        self.told[run.id] = said_of(path, lane.record, seconds)
        self._live.end(run.id, lane.record.updates, run.updates, lane.record.status)
        done = f"{len(self.told)}/{len(self._missing)}"
        _print(f"{done} {run.id} {describe_run(run)}: {lane.record.status} ({seconds:.2f} s)")

    def _fail(self, run: Run, error: Exception) -> None:
        self.failures[run.id] = failure_of(run, error)
        self._live.end(run.id, 0, run.updates, "failed")


def _print(text: str) -> None:
    """Prints into the job's log, unless its disk is full: no run is lost for a line."""
    with suppress(OSError):
        print(text, flush=True)


def _last(record: Record, variable: str) -> float | None:
    """The number measured last, of several the first; None where nothing was."""
    rows = record.values.get(variable)
    return rows[-1].flat[0] if rows else None
