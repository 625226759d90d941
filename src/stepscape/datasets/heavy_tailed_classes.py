"""Classification where most classes are rare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.datasets import Data, Dataset
from stepscape.datasets._classes import class_targets
from stepscape.datasets._mixtures import Spread, around, class_means
from stepscape.fields import Count, Index, NonNegativeReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np


@member("heavy_tailed_classes", source="arXiv:2402.19449")
class HeavyTailedClasses(Dataset):
    """Clouds around random means, where class k = 1, 2, ... has a share proportional to 1 / k^exponent.

    Each class has one sample, and its share of the others, rounded by largest remainders, the first classes first.
    Around the means coordinates are standard normal, as in `gaussian_mixture`, or uniform between 0 and 1: then all
    inputs have a large mean in common, as in the paper. With `separation: 0` inputs say nothing of classes, and a model
    can only memorise them.
    """

    has_classes: ClassVar[bool] = True
    inputs: Annotated[Count, describe("dimension of an input")] = 64
    classes: Annotated[Count, describe("classes, the first the most frequent", "classes")] = 50
    exponent: Annotated[NonNegativeReal, describe("how fast shares fall; 0 for balanced classes")] = 1.0
    separation: Annotated[NonNegativeReal, describe("length of the means", "standard deviations")] = 3.0
    spread: Annotated[Spread, describe("law of the coordinates around the means")] = "normal"
    train_size: Annotated[Count, describe("training samples; one a class at least", "samples")] = 1000
    test_size: Annotated[Count, describe("test samples; one a class at least", "samples")] = 500
    subset_seed: Annotated[Index, describe("draws means and samples; apart from the run's seed")] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if min(self.train_size, self.test_size) < self.classes:
            raise PydanticCustomError("size", "train_size and test_size of at least `classes`, one sample each")
        return self

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    @property
    def outputs(self) -> int:
        return self.classes

    def counts(self, size: int) -> np.ndarray:
        """How many of `size` samples each class has, (classes,)."""
        import numpy as np

        shares = np.arange(1, self.classes + 1) ** -self.exponent
        exact = (size - self.classes) * shares / shares.sum()
        counts = np.floor(exact).astype(np.int64)
        largest = np.argsort(counts - exact, kind="stable")[: size - self.classes - counts.sum()]
        counts[largest] += 1
        return counts + 1

    def load(self) -> Data:
        import numpy as np

        means = class_means(self.classes, self.inputs, self.separation, self.subset_seed)
        train, test = (
            np.repeat(np.arange(self.classes), self.counts(size)) for size in (self.train_size, self.test_size)
        )
        return Data(
            around(means, train, "training", self.subset_seed, self.spread),
            class_targets(train, self.classes, "one_hot"),
            around(means, test, "test", self.subset_seed, self.spread),
            class_targets(test, self.classes, "one_hot"),
        )
