"""Linear measurements of a matrix of low rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stepscape.datasets import Data, Dataset
from stepscape.fields import Count, Index, NonNegativeReal, describe
from stepscape.registry import member

if TYPE_CHECKING:
    import numpy as np


@member("matrix_sensing", source="Recht, Fazel & Parrilo, arXiv:0706.4138")
class MatrixSensing(Dataset):
    """Standard normal matrices A, d x d; targets <A, X> + noise xi, for one projection X on r random dimensions.

    X has r eigenvalues of 1, and tr X = r. Under `mse` the test loss of <A, M> is |M - X|_F^2 / 2 in expectation. Only
    training targets are noisy. Another `train_size`, `test_size` or `noise` leaves X and the samples that both
    have as they were.
    """

    has_classes: ClassVar[bool] = False
    size: Annotated[Count, describe("rows of the matrix, and columns, d")] = 30
    rank: Annotated[Count, describe("of the matrix, r; at most `size`")] = 1
    train_size: Annotated[Count, describe("training samples", "samples")] = 150
    test_size: Annotated[Count, describe("test samples", "samples")] = 500
    noise: Annotated[NonNegativeReal, describe("standard deviation of the noise on training targets", "targets")] = 0.0
    subset_seed: Annotated[Index, describe("draws X, measurements and noise; apart from the run's seed")] = 0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.rank > self.size:
            raise PydanticCustomError("rank", "at most as large a rank as the matrix has rows")
        return self

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.size, self.size)

    @property
    def outputs(self) -> int:
        return 1

    def matrix(self) -> np.ndarray:
        """X (size, size)."""
        import numpy as np

        from stepscape.training.random import generator

        random = generator(self.subset_seed, "sensed matrix")
        basis = np.linalg.qr(random.standard_normal((self.size, self.size)))[0][:, : self.rank]
        return basis @ basis.T

    def load(self) -> Data:
        from stepscape.training.random import generator

        train, test = (
            generator(self.subset_seed, f"{subset} measurements").standard_normal((count, *self.input_shape))
            for subset, count in (("training", self.train_size), ("test", self.test_size))
        )
        noise = generator(self.subset_seed, "measurement noise").standard_normal((self.train_size, 1))
        return Data(train, self._targets(train) + self.noise * noise, test, self._targets(test))

    def _targets(self, measurements: np.ndarray) -> np.ndarray:
        return measurements.reshape(len(measurements), -1) @ self.matrix().reshape(-1, 1)
