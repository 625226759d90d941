"""Regression on what a random network says."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar

from stepscape.datasets import Data, Dataset
from stepscape.fields import Count, Index, NonNegativeReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np


@member("teacher", source="Seung, Sompolinsky & Tishby 1992 (students and teachers)")
class Teacher(Dataset):
    """Standard normal inputs x; targets W_L tanh(W_{L-1} ... tanh(W_1 x)) + noise xi, of a random teacher.

    The entries of W_l are normal with variance 1 / fan in, so that the numbers in each layer are of order one; there
    are no biases. An `mlp` with the same hidden layers can represent the teacher. Only training targets are noisy: the
    test loss is that against the teacher itself. Another `train_size`, `test_size` or `noise` leaves the teacher and
    the samples that both have as they were.
    """

    has_classes: ClassVar[bool] = False
    inputs: Annotated[Count, describe("dimension of an input")] = 20
    hidden: Annotated[
        tuple[Count, ...], describe("widths of the teacher's hidden layers; none for a linear teacher", "units")
    ] = (10,)
    outputs: Annotated[Count, describe("targets of one sample")] = 1
    train_size: Annotated[Count, describe("training samples", "samples")] = 500
    test_size: Annotated[Count, describe("test samples", "samples")] = 500
    noise: Annotated[NonNegativeReal, describe("standard deviation of the noise on training targets", "targets")] = 0.0
    subset_seed: Annotated[Index, describe("draws teacher, inputs and noise; apart from the run's seed")] = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    def weights(self) -> list[np.ndarray]:
        """The teacher's matrices W_1 ... W_L, (fan out, fan in) each."""
        from stepscape.training.random import generator

        random = generator(self.subset_seed, "teacher")
        widths = pairwise([self.inputs, *self.hidden, self.outputs])
        return [random.standard_normal((fan_out, fan_in)) / fan_in**0.5 for fan_in, fan_out in widths]

    def load(self) -> Data:
        from stepscape.training.random import generator

        train, test = (
            generator(self.subset_seed, f"teacher's {subset} inputs").standard_normal((size, self.inputs))
            for subset, size in (("training", self.train_size), ("test", self.test_size))
        )
        noise = generator(self.subset_seed, "teacher's noise").standard_normal((self.train_size, self.outputs))
        return Data(train, self._targets(train) + self.noise * noise, test, self._targets(test))

    def _targets(self, inputs: np.ndarray) -> np.ndarray:
        import numpy as np

        *hidden, last = self.weights()
        for layer in hidden:
            inputs = np.tanh(inputs @ layer.T)
        return inputs @ last.T
