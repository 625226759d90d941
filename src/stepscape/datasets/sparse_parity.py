"""Parity of a few bits among many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.datasets import Data, Dataset
from stepscape.datasets._classes import Targets, class_targets
from stepscape.fields import Count, Index, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np


@member("sparse_parity", source="arXiv:2207.08799")
class SparseParity(Dataset):
    """Inputs x uniform on {-1, 1}^inputs; the target is the product of k of their coordinates, drawn once.

    Another `train_size` or `test_size` leaves the coordinates and the samples that both have as they were.
    """

    inputs: Annotated[Count, describe("dimension of an input", "bits")] = 20
    degree: Annotated[Count, describe("how many coordinates matter, k; at most `inputs`", "bits")] = 3
    targets: Annotated[Targets, describe("the product itself (`sign`), or two classes (`one_hot`)")] = "sign"
    train_size: Annotated[Count, describe("training samples", "samples")] = 500
    test_size: Annotated[Count, describe("test samples", "samples")] = 500
    subset_seed: Annotated[Index, describe("draws coordinates and samples; apart from the run's seed")] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.degree > self.inputs:
            raise PydanticCustomError("degree", "a degree of at most `inputs`")
        return self

    @property
    def has_classes(self) -> bool:  # type: ignore[override]
        """Only one-hot rows are classes."""
        return self.targets == "one_hot"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    @property
    def outputs(self) -> int:
        return 2 if self.targets == "one_hot" else 1

    def coordinates(self) -> np.ndarray:
        """Those that matter, (degree,), in order."""
        import numpy as np

        from stepscape.training.random import generator

        return np.sort(generator(self.subset_seed, "coordinates").permutation(self.inputs)[: self.degree])

    def load(self) -> Data:
        train, test = (
            self._bits(subset, size) for subset, size in (("training", self.train_size), ("test", self.test_size))
        )
        return Data(train, self._parity(train), test, self._parity(test))

    def _bits(self, subset: str, size: int) -> np.ndarray:
        from stepscape.training.random import generator

        return 2.0 * generator(self.subset_seed, f"{subset} inputs").integers(2, size=(size, self.inputs)) - 1

    def _parity(self, inputs: np.ndarray) -> np.ndarray:
        positive = inputs[:, self.coordinates()].prod(axis=1) > 0
        return class_targets(positive.astype(int), 2, self.targets)
