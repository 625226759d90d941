"""Sharpness of the batch: the largest eigenvalues of the Hessian of the loss that the next update descends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepscape.observables import Variable
from stepscape.observables._tracking import TopEigenvalues
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np

    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("batch_top", source="arXiv:2006.09092")
class BatchTop(TopEigenvalues):
    """The largest eigenvalues of the Hessian of the loss of the batch that the next update will use.

    A measurement starts from the eigenvectors of the batch measured before. The threshold is that of `hessian_top`:
    of an update that sees this batch again and again.
    """

    def variables(self, run: Run) -> tuple[Variable, ...]:
        return self.eigenvalue_variables("batch_hessian", "the Hessian of the batch's loss")

    def gradients(self, run: Run) -> float:
        return super().gradients(run) * run.batch / run.train_size

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, np.ndarray | float], Memory]:
        threshold = None if snapshot.run.optimizer.preconditions else snapshot.threshold
        return self.track("batch_hessian", snapshot.batch_hessian, threshold, snapshot, memory)
