"""A snapshot: what an observable may look at."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from torch import Tensor

from stepscape.training.random import generator

if TYPE_CHECKING:
    from stepscape.curvature import Operator
    from stepscape.optimizers import Hyper, State
    from stepscape.study.run import Run
    from stepscape.training.objective import LaneObjective
    from stepscape.training.problem import Evaluation, Problem

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Moment:
    """All lanes after `step` updates. What is computed for one of them is computed for all, once.

    Attributes:
        problems: data, network and loss of each lane.
        step: updates done.
        theta: parameters (lanes, P).
        state: the optimizer's state.
        hyper: the hyper-parameters of the update about to be taken; after the last update of a lane, of that one.
        train: the objective on the full training sets.
        test: the objective on the test sets.
        batch: the objective on the batches of the update about to be taken.
    """

    problems: Sequence[Problem]
    step: int
    theta: Tensor
    state: State
    hyper: Hyper
    train: LaneObjective
    test: LaneObjective
    batch: LaneObjective

    @cached_property
    def preconditioner(self) -> Tensor | None:
        """Diagonals (lanes, P) of the preconditioner of the update about to be taken; None where it is the identity."""
        optimizer = self.problems[0].run.optimizer
        return optimizer.preconditioner(self.batch, self.theta, self.state, self.hyper)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One run after `step` updates. What is computed from it is computed once, whoever asks.

    Attributes:
        moment: the run and its neighbours.
        lane: which of the lanes is the run.
    """

    moment: Moment
    lane: int
    _shared: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    @property
    def problem(self) -> Problem:
        """Data, network and loss."""
        return self.moment.problems[self.lane]

    @property
    def run(self) -> Run:
        """The run."""
        return self.problem.run

    @property
    def step(self) -> int:
        """Updates done."""
        return self.moment.step

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` returns, computed for the first observable that asks for `key` and shared with the others.

        Args:
            key: holds all that decides the value, so that no value depends on what else is observed.
            compute: takes no arguments.

        Returns:
            The value.
        """
        if key not in self._shared:
            self._shared[key] = compute()
        found: T = self._shared[key]
        return found

    @cached_property
    def theta(self) -> Tensor:
        """Parameters (P,)."""
        return self.moment.theta[self.lane].clone()  # fresh memory is aligned, a row may not be

    @property
    def state(self) -> dict[str, Tensor]:
        """What the optimizer keeps of this run."""
        return {name: held[self.lane] for name, held in self.moment.state.items()}

    @property
    def train(self) -> Evaluation:
        """Loss and accuracy on the full training set."""
        return self.moment.train.evaluations(self.moment.theta)[self.lane]

    @property
    def test(self) -> Evaluation:
        """Loss and accuracy on the test set."""
        return self.moment.test.evaluations(self.moment.theta)[self.lane]

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient (P,) of the full training loss."""
        return self.moment.train.gradient(self.moment.theta)[self.lane].clone()

    @cached_property
    def hessian(self) -> Operator:
        """Products with the Hessian of the full training loss; the gradient graph is built once a snapshot."""
        return self.problem.hessian(self.theta)

    @cached_property
    def gauss_newton(self) -> Operator:
        """Products with the Gauss-Newton matrix of the full training loss; graphs are built once a snapshot."""
        return self.problem.gauss_newton(self.theta)

    @cached_property
    def batch_hessian(self) -> Operator:
        """Products with the Hessian of the loss of the batch that the update about to be taken uses."""
        if self.run.is_full_batch:
            return self.hessian
        return self.problem.hessian(self.theta, self.moment.batch.samples(self.lane))

    @cached_property
    def preconditioner(self) -> Tensor | None:
        """Diagonal (P,) of the preconditioner of the update about to be taken; None where it is the identity."""
        diagonal = self.moment.preconditioner
        return None if diagonal is None else diagonal[self.lane].clone()

    @property
    def learning_rate(self) -> float | None:
        """That of the update about to be taken; None for optimizers without one."""
        return float(self.moment.hyper["lr"][self.lane]) if self.run.optimizer.has_lr else None

    @property
    def threshold(self) -> float | None:
        """The largest stable lambda_1(P^-1 H) at the learning rate of the update about to be taken."""
        lr = self.learning_rate
        return self.run.optimizer.threshold(lr) if lr else None

    def random(self, purpose: str) -> np.random.Generator:
        """A generator keyed by (seed, purpose, step)."""
        return generator(self.run.seed, purpose, self.step)
