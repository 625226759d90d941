"""Regression on a polynomial of a few directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.datasets import Data, Dataset
from stepscape.datasets._hermite import directions, hermite, noise, normal_inputs
from stepscape.fields import Count, Index, NonNegativeReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np


@member("multi_index", source="arXiv:2202.08658 (staircase)")
class MultiIndex(Dataset):
    """Standard normal inputs x; targets f(W x) + noise xi, for r random orthonormal rows of W.

    With z = W x, `additive` is sum_i He_k(z_i) / sqrt(k! r), and `staircase`, where each direction is seen through
    those before it, (z_1 + z_1 z_2 + ... + z_1 ... z_r) / sqrt(r). Both have unit variance. Only training targets are
    noisy. Another `train_size`, `test_size` or `noise` leaves W and the samples that both have as they were.
    """

    has_classes: ClassVar[bool] = False
    inputs: Annotated[Count, describe("dimension of an input")] = 32
    directions: Annotated[Count, describe("how many directions matter, r; at most `inputs`")] = 3
    link: Annotated[Literal["additive", "staircase"], describe("the function of z")] = "staircase"
    degree: Annotated[Count, describe("of the polynomials of `additive`, k")] = 2
    train_size: Annotated[Count, describe("training samples", "samples")] = 500
    test_size: Annotated[Count, describe("test samples", "samples")] = 500
    noise: Annotated[NonNegativeReal, describe("standard deviation of the noise on training targets", "targets")] = 0.0
    subset_seed: Annotated[Index, describe("draws directions, inputs and noise; apart from the run's seed")] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.directions > self.inputs:
            raise PydanticCustomError("directions", "at most as many directions as inputs")
        return self

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    @property
    def outputs(self) -> int:
        return 1

    def weights(self) -> np.ndarray:
        """The directions W (directions, inputs)."""
        return directions(self.inputs, self.directions, self.subset_seed)

    def load(self) -> Data:
        train = normal_inputs(self.subset_seed, "training", self.train_size, self.inputs)
        test = normal_inputs(self.subset_seed, "test", self.test_size, self.inputs)
        targets = self._targets(train) + self.noise * noise(self.subset_seed, self.train_size)
        return Data(train, targets, test, self._targets(test))

    def _targets(self, inputs: np.ndarray) -> np.ndarray:
        z = inputs @ self.weights().T
        terms: np.ndarray = hermite(self.degree, z) if self.link == "additive" else z.cumprod(axis=1)
        return terms.sum(axis=1, keepdims=True) / self.directions**0.5
