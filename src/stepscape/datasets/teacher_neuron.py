"""A neuron to be learnt."""

from __future__ import annotations

from typing import Annotated, ClassVar

from stepscape.datasets import Data, Dataset
from stepscape.fields import Count, Index, describe
from stepscape.registry import member


@member("teacher_neuron", source="Xu & Du, arXiv:2302.10034")
class TeacherNeuron(Dataset):
    """One sample: the weights v of a teacher neuron, of length 1, for models that know the population risk.

    Its target is 0, the least risk. The test sample is the training sample: a population has no other.
    """

    has_classes: ClassVar[bool] = False
    inputs: Annotated[Count, describe("dimension of v")] = 10
    subset_seed: Annotated[Index, describe("draws the direction of v; apart from the run's seed")] = 0

    @property
    def train_size(self) -> int:  # type: ignore[override]
        """One sample."""
        return 1

    @property
    def test_size(self) -> int:  # type: ignore[override]
        """The training sample."""
        return 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    @property
    def outputs(self) -> int:
        return 1

    def load(self) -> Data:
        import numpy as np

        from stepscape.training.random import generator

        drawn = generator(self.subset_seed, "teacher neuron").standard_normal((1, self.inputs))
        teacher, target = drawn / np.linalg.norm(drawn), np.zeros((1, 1))
        return Data(teacher, target, teacher, target)
