"""The loop: observe, update, until the budget is spent, the stopping rule is met, or the run diverges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stepscape.optimizers import Optimizer
from stepscape.study.run import Run, Stop
from stepscape.training.batches import Batches
from stepscape.training.lanes import LaneMode, lane_mode
from stepscape.training.objective import LaneObjective, SequentialObjective, VectorisedObjective
from stepscape.training.problem import Problem, Samples, pick_samples, stack_samples
from stepscape.training.random import generator
from stepscape.training.record import Record
from stepscape.training.snapshot import Moment, Snapshot

if TYPE_CHECKING:
    from stepscape.optimizers import Hyper, State


class KeyedRandom:
    """Random numbers of one update, lane by lane, keyed by (seed, purpose, step)."""

    def __init__(self, seeds: list[int], step: int) -> None:
        self._seeds = seeds
        self._step = step

    def generators(self, purpose: str) -> list[np.random.Generator]:
        """One generator a lane."""
        return [generator(seed, purpose, self._step) for seed in self._seeds]

    def draws(self, purpose: str, draw: Callable[[np.random.Generator], np.ndarray], like: Tensor) -> Tensor:
        """What `draw` takes from the generator of each lane, (lanes, ...), cast to the dtype of `like`."""
        of_seed = {seed: draw(generator(seed, purpose, self._step)) for seed in dict.fromkeys(self._seeds)}
        rows = np.stack([of_seed[seed] for seed in self._seeds])
        return torch.from_numpy(rows).to(like.device, like.dtype)

    def normal(self, purpose: str, like: Tensor) -> Tensor:
        """Standard normal numbers (lanes, P), drawn in float64 and cast to the dtype of `like`."""
        return self.draws(purpose, lambda random: random.standard_normal(like.shape[1]), like)


@dataclass(eq=False)
class Lane:
    """One run in training.

    Attributes:
        problem: its data, network and loss.
        record: what was recorded so far, and how it ended.
        memories: what its observables keep between measurements.
        error: what an observable raised; the run ended there.
    """

    problem: Problem
    record: Record
    memories: dict[str, Mapping[str, Tensor]] = field(default_factory=dict)
    error: Exception | None = None

    @classmethod
    def of(cls, run: Run, device: torch.device, start: np.ndarray | None) -> Lane:
        """A run before its first update; `start` (P,) is what it begins with if it has a `start`."""
        return cls(Problem(run, device, start), Record(run, start=start))

    @property
    def run(self) -> Run:
        """The run."""
        return self.problem.run


class Group:
    """Runs that train together, all after the same number of updates.

    Attributes:
        lanes: those still in training.
        step: updates done.
        theta: parameters (rows, P); the first rows are the lanes', the others copies that fill the computation up.
        state: what the optimizer keeps, (rows, ...) each.
        noise: standard deviations (rows, 1) of what `branch_noise` adds in an update.
    """

    def __init__(self, lanes: Sequence[Lane], step: int, theta: Tensor, state: State, noise: Tensor) -> None:
        """Lanes of one group of `lane_groups`, after `step` updates; `start` makes new ones."""
        self.lanes = list(lanes)
        self.step = step
        self.theta, self.state, self.noise = theta, state, noise
        self.mode: LaneMode = lane_mode(lanes[0].run, theta.device)
        self.keep(range(len(lanes)))

    @classmethod
    def start(
        cls, runs: Sequence[Run], device: torch.device, starts: Mapping[str, np.ndarray | None] | None = None
    ) -> Group:
        """Runs of one group of `lane_groups` before their first update.

        Args:
            runs: the runs.
            device: where they train.
            starts: run ids to what runs with a `start` begin with (P,), as `start_parameters` reads it.

        Returns:
            The group.
        """
        lanes = [Lane.of(run, device, (starts or {}).get(run.id)) for run in runs]
        theta = torch.stack([lane.problem.initial() for lane in lanes])
        shares = torch.tensor([[run.branch_noise] for run in runs], dtype=torch.float64, device=device)
        noise = shares * theta.double().square().mean(dim=1, keepdim=True).sqrt()
        return cls(lanes, 0, theta, runs[0].optimizer.init(theta), noise)

    @property
    def _optimizer(self) -> Optimizer:
        return self.lanes[0].run.optimizer

    def keep(self, chosen: Sequence[int]) -> None:
        """Goes on with these lanes alone, and the copies of the first that the computation needs."""
        rows = [*chosen, *[chosen[0]] * self.mode.copies(len(chosen))]
        index = torch.tensor(rows, device=self.theta.device)
        self.theta, self.noise = self.theta[index], self.noise[index]
        self.state = {name: kept[index] for name, kept in self.state.items()}
        self._rows = [self.lanes[row] for row in rows]
        self.lanes = self._rows[: len(chosen)]
        self._problems = [lane.problem for lane in self._rows]
        self._schedules = [(lane.run, lane.run.updates) for lane in self._rows]
        self._hyper = _scalars([lane.run.optimizer for lane in self._rows], self.theta.device)
        self._rates: list[float] = []
        self._batches = Batches([lane.run for lane in self._rows])
        self._train = self._objective([lane.problem.train for lane in self._rows])
        self._test = self._objective([lane.problem.test for lane in self._rows])
        self._is_noisy = bool(self.noise.any())
        self._first_end = min(0 if run.stop else updates for run, updates in self._schedules)

    def advance(self) -> list[Lane]:
        """Observes theta_s and updates the lanes that do not end there.

        Returns:
            The lanes that ended.
        """
        moment = self._moment()
        self._observe(moment)
        ended = self._ended(moment)
        if ended:
            left = [number for number, lane in enumerate(self.lanes) if lane not in ended]
            if not left:
                self.lanes = []
                return ended
            self.keep(left)
            moment = self._moment()
        self._update(moment)
        return ended

    def _moment(self) -> Moment:
        hyper, batch = self._hyper_parameters(), self._batch()
        return Moment(self._problems, self.step, self.theta, self.state, hyper, self._train, self._test, batch)

    def _hyper_parameters(self) -> Hyper:
        if self._schedules[0][0].lr is None:
            return self._hyper
        rates = [_rate(run, min(self.step, updates - 1), updates) for run, updates in self._schedules]
        if rates != self._rates:
            column = torch.tensor(rates, dtype=torch.float64, device=self.theta.device).unsqueeze(1)
            self._rates, self._hyper = rates, {**self._hyper, "lr": column}
        return self._hyper

    def _batch(self) -> LaneObjective:
        if self.lanes[0].run.is_full_batch:
            return self._train
        samples = [lane.problem.train for lane in self._rows]
        indices = self._batches.indices(self.step)
        if self.mode.name == "vectorised":
            return VectorisedObjective(self.lanes[0].problem, pick_samples(samples, indices))
        return self._objective([held.pick(chosen) for held, chosen in zip(samples, indices, strict=True)])

    def _objective(self, samples: Sequence[Samples]) -> LaneObjective:
        if self.mode.name == "vectorised":
            return VectorisedObjective(self.lanes[0].problem, stack_samples(samples))
        return SequentialObjective([lane.problem for lane in self._rows], samples)

    def _observe(self, moment: Moment) -> None:
        due = [observable for observable in self.lanes[0].run.observe if observable.is_due(self.step)]
        for number, lane in enumerate(self.lanes if due else ()):
            snapshot = Snapshot(moment, number)
            try:
                for observable in due:
                    memory = lane.memories.get(observable.name, {})
                    values, lane.memories[observable.name] = observable.measure(snapshot, memory)
                    lane.record.add(observable, self.step, values)
            except Exception as error:  # a defect of a member or too little memory: this lane's, not its neighbours'
                lane.error = error

    def _ended(self, moment: Moment) -> list[Lane]:
        losses = moment.batch.value(moment.theta)
        if self.step < self._first_end and not any(lane.error for lane in self.lanes):
            sums = moment.theta.sum(dim=1) + losses
            if sums.isfinite().all():  # then so is all that was added up
                return []
        is_finite, has_loss = moment.theta.isfinite().all(dim=1).tolist(), losses.isfinite().tolist()
        facts = zip(self.lanes, is_finite, has_loss, strict=False)
        return [
            lane
            for number, (lane, *held) in enumerate(facts)
            if lane.error or _has_ended(lane.record, Snapshot(moment, number), *held)
        ]

    def _update(self, moment: Moment) -> None:
        random = KeyedRandom([lane.run.seed for lane in self._rows], self.step)
        self.theta, self.state = self._optimizer.update(moment.batch, moment.theta, moment.state, moment.hyper, random)
        if self._is_noisy:
            self.theta = self.theta + self.noise.to(self.theta.dtype) * random.normal("branch_noise", self.theta)
        self.step += 1


def train_run(run: Run, device: torch.device, start: np.ndarray | None = None) -> Record:
    """Trains and observes one run.

    Args:
        run: the run.
        device: where it trains.
        start: the parameters (P,) that a run with a `start` begins with, as `start_parameters` reads them.

    Returns:
        What was recorded: entries for theta_0 to theta_T, fewer where it stopped or diverged.
    """
    group = Group.start([run], device, {run.id: start})
    (lane,) = group.lanes
    while group.lanes:
        group.advance()
    if lane.error:
        raise lane.error
    return lane.record


def _rate(run: Run, step: int, updates: int) -> float:
    return (run.lr or 0.0) * run.schedule.factor(step, updates)


def _scalars(optimizers: Sequence[Optimizer], device: torch.device) -> Hyper:
    names = [entry.name for entry in fields(optimizers[0])]  # type: ignore[arg-type]
    columns = {name: [getattr(optimizer, name) for optimizer in optimizers] for name in names}
    return {
        name: torch.tensor(column, dtype=torch.float64, device=device).unsqueeze(1)
        for name, column in columns.items()
        if isinstance(column[0], float)
    }


def _has_ended(record: Record, snapshot: Snapshot, is_finite: bool, has_loss: bool) -> bool:
    run, step = record.run, snapshot.step
    record.updates = step
    if not is_finite:
        record.status, record.reason = "diverged", f"a parameter is not finite after {step} updates"
        return True
    if not has_loss:
        record.status, record.reason = "diverged", f"the loss is not finite after {step} updates"
        return True
    if run.stop is not None:
        record.status = "not_reached"
        if step % run.stop.every == 0 and _is_met(run.stop, snapshot):
            record.status, record.reason = "stopped", f"the stopping rule is met after {step} updates"
            return True
    return step == run.updates


def _is_met(stop: Stop, snapshot: Snapshot) -> bool:
    if stop.train_loss is not None:
        return snapshot.train.loss <= stop.train_loss
    return stop.train_accuracy is not None and snapshot.train.accuracy >= stop.train_accuracy
