"""Regression on a Chebyshev polynomial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from stepscape.datasets import Data, Dataset
from stepscape.fields import Count, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np


@member("chebyshev", source="arXiv:2103.00065")
class Chebyshev(Dataset):
    """The Chebyshev polynomial T_k at points that divide [-1, 1] evenly, both ends among them; nothing is random.

    Test points are the middles of equal parts of [-1, 1].
    """

    has_classes: ClassVar[bool] = False
    degree: Annotated[Count, describe("of the polynomial, k")] = 4
    train_size: Annotated[Count, describe("training points; one alone is -1", "samples")] = 20
    test_size: Annotated[Count, describe("test points", "samples")] = 100

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def outputs(self) -> int:
        return 1

    def load(self) -> Data:
        import numpy as np

        train = np.linspace(-1, 1, self.train_size)[:, None]
        test = (2 * np.arange(self.test_size)[:, None] + 1) / self.test_size - 1
        return Data(train, self._polynomial(train), test, self._polynomial(test))

    def _polynomial(self, points: np.ndarray) -> np.ndarray:
        import numpy as np

        values: np.ndarray = np.polynomial.chebyshev.chebval(points, [0.0] * self.degree + [1.0])
        return values
