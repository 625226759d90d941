"""Which samples an update sees."""

from __future__ import annotations

import torch
from torch import Tensor

from stepscape.study.run import Run
from stepscape.training.random import generator


class Batches:
    """Batches of a run: a permutation keyed by (seed, epoch), cut into floor(N / B) batches; the rest is dropped."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._per_epoch = run.train_size // run.batch
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def indices(self, step: int) -> Tensor:
        """The samples (B,) of the update from `step` to `step` + 1."""
        epoch, index = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            order = generator(self._run.seed, "batches", epoch).permutation(self._run.train_size)
            self._epoch, self._order = epoch, torch.from_numpy(order)
        return self._order[index * self._run.batch : (index + 1) * self._run.batch]
