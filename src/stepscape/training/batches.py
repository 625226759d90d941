"""Which samples an update sees."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from stepscape.study.run import Run
from stepscape.training.random import generator


class Batches:
    """The batches of runs of one batch size and one training-set size.

    A permutation keyed by (seed, epoch) is cut into floor(N / B) batches; the rest of the samples is dropped.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._seeds = [run.seed for run in runs]
        self._size, self._batch = runs[0].train_size, runs[0].batch
        self._epoch = -1
        self._orders = torch.empty(0, dtype=torch.int64)

    def indices(self, step: int) -> Tensor:
        """The samples (runs, B) of the update from `step` to `step` + 1."""
        epoch, index = divmod(step, self._size // self._batch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._orders = torch.stack([_order(seed, epoch, self._size) for seed in self._seeds])
        return self._orders[:, index * self._batch : (index + 1) * self._batch]


@lru_cache(maxsize=64)
def _order(seed: int, epoch: int, size: int) -> Tensor:
    return torch.from_numpy(generator(seed, "batches", epoch).permutation(size))
