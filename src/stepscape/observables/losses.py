"""Losses and accuracies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stepscape.observables import Observable, Variable
from stepscape.registry import member

if TYPE_CHECKING:
    from stepscape.observables import Memory
    from stepscape.study.run import Run
    from stepscape.training.snapshot import Snapshot


@member("losses")
class Losses(Observable):
    """The loss, and the share of samples whose largest output is their class, on the full training and test sets."""

    def variables(self, run: Run) -> tuple[Variable, ...]:
        quantities = ("loss", "accuracy") if run.dataset.has_classes else ("loss",)
        return tuple(
            Variable(f"{subset}_{quantity}", f"{quantity} on the {name} set", dtype=run.dtype, summary=True)
            for quantity in quantities
            for subset, name in (("train", "training"), ("test", "test"))
        )

    def gradients(self, run: Run) -> float:
        forward = 1 / 3
        own = 0.0 if run.is_full_batch else forward  # with full batches the update needs this forward pass anyway
        return own + forward * run.dataset.test_size / run.train_size

    def measure(self, snapshot: Snapshot, memory: Memory) -> tuple[Mapping[str, float], Memory]:
        train, test = snapshot.train, snapshot.test
        values = {"train_loss": train.loss, "test_loss": test.loss}
        if snapshot.run.dataset.has_classes:
            values |= {"train_accuracy": train.accuracy, "test_accuracy": test.accuracy}
        return values, memory
