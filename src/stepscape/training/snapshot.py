"""A snapshot: what an observable may look at."""

from __future__ import annotations

from collections.abc import Callable, Hashable
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


@dataclass(frozen=True)
class Snapshot:
    """One run after `step` updates. What is computed from it is computed once, whoever asks.

    Attributes:
        run: the run.
        step: updates done.
        lane: parameters (1, P).
        state: the optimizer's state.
        hyper: the hyper-parameters of the update about to be taken; after the last update, of that one.
        full: the objective on the full training set.
        batch: the objective on the batch of the update about to be taken.
        problem: data, network and loss.
    """

    run: Run
    step: int
    lane: Tensor
    state: State
    hyper: Hyper
    full: LaneObjective
    batch: LaneObjective
    problem: Problem
    _shared: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

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

    @property
    def theta(self) -> Tensor:
        """Parameters (P,)."""
        return self.lane[0]

    @property
    def train(self) -> Evaluation:
        """Loss and accuracy on the full training set."""
        return self.full.evaluations(self.lane)[0]

    @cached_property
    def test(self) -> Evaluation:
        """Loss and accuracy on the test set."""
        return self.problem.evaluate(self.theta, self.problem.test)

    @property
    def gradient(self) -> Tensor:
        """Gradient (P,) of the full training loss."""
        return self.full.gradient(self.lane)[0]

    @cached_property
    def hessian(self) -> Operator:
        """Products with the Hessian of the full training loss; the gradient graph is built once a snapshot."""
        return self.problem.hessian(self.theta)

    @cached_property
    def preconditioner(self) -> Tensor | None:
        """Diagonal (P,) of the preconditioner of the update about to be taken; None where it is the identity."""
        diagonal = self.run.optimizer.preconditioner(self.batch, self.lane, self.state, self.hyper)
        return None if diagonal is None else diagonal[0]

    @property
    def threshold(self) -> float | None:
        """The largest stable lambda_1(P^-1 H) at the learning rate of `hyper`."""
        if not self.run.optimizer.has_lr or float(self.hyper["lr"]) == 0:
            return None
        return self.run.optimizer.threshold(float(self.hyper["lr"]))

    def random(self, purpose: str) -> np.random.Generator:
        """A generator keyed by (seed, purpose, step)."""
        return generator(self.run.seed, purpose, self.step)
