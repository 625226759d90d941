"""Regression on a polynomial of one direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from stepscape.datasets import Data, Dataset
from stepscape.datasets._hermite import directions, hermite, noise, normal_inputs
from stepscape.fields import Count, Index, NonNegativeReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np


@member("single_index", source="arXiv:2305.10633")
class SingleIndex(Dataset):
    """Standard normal inputs x; targets He_k(w . x) / sqrt(k!) + noise xi, for a random direction w of unit length.

    He_k is the probabilists' Hermite polynomial, so k is the information exponent and targets have unit variance. Only
    training targets are noisy. Another `train_size`, `test_size` or `noise` leaves w and the samples that both have as
    they were.
    """

    has_classes: ClassVar[bool] = False
    inputs: Annotated[Count, describe("dimension of an input")] = 32
    degree: Annotated[Count, describe("of the polynomial, k")] = 2
    train_size: Annotated[Count, describe("training samples", "samples")] = 500
    test_size: Annotated[Count, describe("test samples", "samples")] = 500
    noise: Annotated[NonNegativeReal, describe("standard deviation of the noise on training targets", "targets")] = 0.0
    subset_seed: Annotated[Index, describe("draws direction, inputs and noise; apart from the run's seed")] = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    @property
    def outputs(self) -> int:
        return 1

    def direction(self) -> np.ndarray:
        """The direction w (inputs,)."""
        return directions(self.inputs, 1, self.subset_seed)[0]

    def load(self) -> Data:
        train = normal_inputs(self.subset_seed, "training", self.train_size, self.inputs)
        test = normal_inputs(self.subset_seed, "test", self.test_size, self.inputs)
        targets = self._targets(train) + self.noise * noise(self.subset_seed, self.train_size)
        return Data(train, targets, test, self._targets(test))

    def _targets(self, inputs: np.ndarray) -> np.ndarray:
        return hermite(self.degree, inputs @ self.direction()[:, None])
