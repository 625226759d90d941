"""A quadratic loss with a known Hessian, for tests and teaching."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from stepscape.datasets import Data, Dataset
from stepscape.fields import Index, PositiveReal, describe
from stepscape.registry import member


@member("quadratic")
class Quadratic(Dataset):
    """Linear regression without noise: with `{name: linear, bias: false}` and `mse`, the Hessian has this spectrum.

    Inputs X = sqrt(n) U diag(sqrt(eigenvalues)) V' with random orthogonal U, V, so that X'X / n has the eigenvalues
    asked for; targets X w for a random w of unit length. The test samples are the training samples.
    """

    has_classes: ClassVar[bool] = False
    eigenvalues: Annotated[
        tuple[PositiveReal, ...], Field(min_length=1), describe("the Hessian's eigenvalues; as many inputs")
    ] = (1.0, 0.5, 0.25, 0.1)
    subset_seed: Annotated[Index, describe("draws the directions and the solution")] = 0

    @property
    def train_size(self) -> int:  # type: ignore[override]
        """As many samples as eigenvalues."""
        return len(self.eigenvalues)

    @property
    def test_size(self) -> int:  # type: ignore[override]
        """The training samples."""
        return len(self.eigenvalues)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (len(self.eigenvalues),)

    @property
    def outputs(self) -> int:
        return 1

    def load(self) -> Data:
        import numpy as np

        from stepscape.training.random import generator

        n = len(self.eigenvalues)
        random = generator(self.subset_seed, "quadratic")
        left, right = (np.linalg.qr(random.standard_normal((n, n)))[0] for _ in range(2))
        inputs = np.sqrt(n) * left @ np.diag(np.sqrt(self.eigenvalues)) @ right.T
        solution = random.standard_normal((n, 1))
        targets = inputs @ (solution / np.linalg.norm(solution))
        return Data(inputs, targets, inputs, targets)
