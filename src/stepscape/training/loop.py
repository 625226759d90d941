"""The loop: observe, update, until the budget is spent, the stopping rule is met, or the run diverges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stepscape.optimizers import Optimizer
from stepscape.study.run import Run, Stop
from stepscape.training.batches import Batches
from stepscape.training.objective import LaneObjective
from stepscape.training.problem import Problem
from stepscape.training.random import generator
from stepscape.training.record import Record
from stepscape.training.snapshot import Snapshot

if TYPE_CHECKING:
    from stepscape.optimizers import Hyper


class KeyedRandom:
    """Random numbers of one update, lane by lane, keyed by (seed, purpose, step)."""

    def __init__(self, seeds: list[int], step: int) -> None:
        self._seeds = seeds
        self._step = step

    def generators(self, purpose: str) -> list[np.random.Generator]:
        """One generator a lane."""
        return [generator(seed, purpose, self._step) for seed in self._seeds]

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Standard normal numbers (lanes, P), drawn in float64 and cast to the dtype of `like`."""
        rows = [random.standard_normal(like.shape[1]) for random in self.generators(purpose)]
        return torch.from_numpy(np.stack(rows)).to(like.device, like.dtype)


def train_run(run: Run, device: torch.device, start: np.ndarray | None = None) -> Record:
    """Trains and observes one run.

    Args:
        run: the run.
        device: where it trains.
        start: the parameters (P,) that a run with a `start` begins with, as `start_parameters` reads them.

    Returns:
        What was recorded: entries for theta_0 to theta_T, fewer where it stopped or diverged.
    """
    problem = Problem(run, device, start)
    full = LaneObjective([problem], [problem.train])
    batches = Batches(run)
    theta = problem.initial().unsqueeze(0)
    noise = run.branch_noise * theta.double().square().mean(dim=1, keepdim=True).sqrt()
    state = run.optimizer.init(theta)
    record = Record(run, start=start)
    memories: dict[str, Mapping[str, Tensor]] = {}
    for step in range(run.updates + 1):
        record.updates = step
        batch = full if run.is_full_batch else LaneObjective([problem], [problem.train.pick(batches.indices(step))])
        hyper = _hyper(run, min(step, run.updates - 1), theta)
        snapshot = Snapshot(run, step, theta, state, hyper, full, batch, problem)
        _observe(snapshot, memories, record)
        if _has_ended(snapshot, record) or step == run.updates:
            break
        random = KeyedRandom([run.seed], step)
        theta, state = run.optimizer.update(batch, theta, state, hyper, random)
        if run.branch_noise:
            theta = theta + noise.to(theta.dtype) * random.normal("branch_noise", theta)
    return record


def _hyper(run: Run, step: int, theta: Tensor) -> Hyper:
    values = _scalars(run.optimizer)
    if run.lr is not None:
        values["lr"] = run.lr * run.schedule.factor(step, run.updates)
    return {
        name: torch.full((len(theta), 1), value, dtype=torch.float64, device=theta.device)
        for name, value in values.items()
    }


def _scalars(optimizer: Optimizer) -> dict[str, float]:
    held = ((entry.name, getattr(optimizer, entry.name)) for entry in fields(optimizer))  # type: ignore[arg-type]
    return {name: value for name, value in held if isinstance(value, float)}


def _observe(snapshot: Snapshot, memories: dict[str, Mapping[str, Tensor]], record: Record) -> None:
    for observable in snapshot.run.observe:
        if observable.is_due(snapshot.step):
            memory = memories.get(observable.name, {})
            values, memories[observable.name] = observable.measure(snapshot, memory)
            record.add(observable, snapshot.step, values)


def _has_ended(snapshot: Snapshot, record: Record) -> bool:
    run, step = snapshot.run, snapshot.step
    if not bool(torch.isfinite(snapshot.lane).all()):
        record.status, record.reason = "diverged", f"a parameter is not finite after {step} updates"
        return True
    if not bool(torch.isfinite(snapshot.batch.value(snapshot.lane)).all()):
        record.status, record.reason = "diverged", f"the loss is not finite after {step} updates"
        return True
    if run.stop is None:
        return False
    record.status = "not_reached"
    if step % run.stop.every == 0 and _is_met(run.stop, snapshot):
        record.status, record.reason = "stopped", f"the stopping rule is met after {step} updates"
        return True
    return False


def _is_met(stop: Stop, snapshot: Snapshot) -> bool:
    if stop.train_loss is not None:
        return snapshot.train.loss <= stop.train_loss
    return stop.train_accuracy is not None and snapshot.train.accuracy >= stop.train_accuracy
