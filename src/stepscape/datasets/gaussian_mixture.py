"""Classification of Gaussian clouds."""

from __future__ import annotations

from typing import Annotated, ClassVar

from stepscape.datasets import Data, Dataset
from stepscape.datasets._classes import class_targets
from stepscape.datasets._mixtures import around, class_means
from stepscape.fields import Count, Index, NonNegativeReal, describe
from stepscape.registry import member


@member("gaussian_mixture")
class GaussianMixture(Dataset):
    """Inputs mu_c + xi with standard normal xi; sample i is of class c = i mod `classes`.

    The means mu_c lie at distance `separation` from the origin in random directions. Another `train_size` or
    `test_size` leaves the means and the samples that both have as they were.
    """

    has_classes: ClassVar[bool] = True
    inputs: Annotated[Count, describe("dimension of an input")] = 20
    classes: Annotated[Count, describe("clouds, one a class", "classes")] = 3
    separation: Annotated[NonNegativeReal, describe("length of the means", "standard deviations")] = 3.0
    train_size: Annotated[Count, describe("training samples", "samples")] = 500
    test_size: Annotated[Count, describe("test samples", "samples")] = 500
    subset_seed: Annotated[Index, describe("draws means and samples; apart from the run's seed")] = 0

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    @property
    def outputs(self) -> int:
        return self.classes

    def load(self) -> Data:
        import numpy as np

        means = class_means(self.classes, self.inputs, self.separation, self.subset_seed)
        train, test = (np.arange(size) % self.classes for size in (self.train_size, self.test_size))
        return Data(
            around(means, train, "training", self.subset_seed),
            class_targets(train, self.classes, "one_hot"),
            around(means, test, "test", self.subset_seed),
            class_targets(test, self.classes, "one_hot"),
        )
