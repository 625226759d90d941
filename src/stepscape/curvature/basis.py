"""An orthonormal basis that grows one operator product at a time, and the operator's projection onto it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepscape.curvature.products import Operator

Array = NDArray[np.float64]

_ALIGNMENT = 64  # bytes


class Basis:
    """Orthonormal rows V, their images H V, and the projection T = V H V^T in float64 on the CPU.

    Attributes:
        rows: (capacity, dim), V; the first `size` of them are filled.
        images: (capacity, dim), H V.
        projection: (capacity, capacity), T.
        tail: (dim,), direction of the part of the newest image that is orthogonal to all rows: Lanczos's next row.
        beta: norm of that part; where it is 0, `tail` is NaN.
        size: rows filled.
        products: how often the operator was applied.
        finite: whether every product was.
    """

    def __init__(
        self, operator: Operator, dim: int, capacity: int, dtype: torch.dtype, device: torch.device | str
    ) -> None:
        """An empty basis of at most `capacity` rows of length `dim`: 2 * capacity * dim numbers of memory."""
        self.operator = operator
        self.rows = _aligned_rows(capacity, dim, dtype, device)
        self.images = _aligned_rows(capacity, dim, dtype, device)
        self.tail = _aligned_rows(1, dim, dtype, device)[0]
        self.projection = np.zeros((capacity, capacity))
        self.beta = 0.0
        self.size = 0
        self.products = 0
        self.finite = True

    @property
    def dim(self) -> int:
        """Length of a row."""
        return self.rows.shape[1]

    @property
    def capacity(self) -> int:
        """Largest number of rows."""
        return self.rows.shape[0]

    def append(self, direction: Tensor, coupled_from: int = 0) -> None:
        """Adds a row and its image, for one product.

        The image is orthogonalised twice: first against the rows that it is known to have a part in, then against all.

        Args:
            direction: (dim,), of unit norm and orthogonal to the rows, such as `tail`.
            coupled_from: the first row in which the image may have more than a rounding error: size - 1 where
                `direction` is the tail and the rows have not been replaced since, else 0.

        Raises:
            ValueError: the operator returned another shape than (dim,).
        """
        new = self.size
        self.rows[new].copy_(direction)
        image = self.operator(self.rows[new]).detach()
        if image.shape != direction.shape:
            raise ValueError(f"the operator returned shape {tuple(image.shape)}; allowed: ({self.dim},).")
        self.images[new].copy_(image)
        self.size += 1
        self.products += 1
        self.tail.copy_(image)
        first = self._project_out(self.tail, coupled_from)
        column = self._project_out(self.tail)
        column[coupled_from:] += first
        beta = torch.linalg.vector_norm(self.tail, dtype=torch.float64)  # no square leaves float64's range
        numbers = torch.cat((column.double(), beta[None])).cpu().numpy()  # the step's only transfer from the device
        self.projection[: self.size, new] = self.projection[new, : self.size] = numbers[:-1]
        self.beta = float(numbers[-1])
        self.tail /= self.beta
        self.finite = self.finite and bool(np.isfinite(numbers).all())

    def orthonormal(self, vector: Tensor) -> Tensor:
        """The part of a vector (dim,) that is orthogonal to all rows, to rounding, scaled to unit norm."""
        direction = _aligned_rows(1, self.dim, self.rows.dtype, self.rows.device)[0]
        direction.copy_(vector)
        for _ in range(2):
            direction /= torch.linalg.vector_norm(direction)
            self._project_out(direction)
        return direction / torch.linalg.vector_norm(direction)

    def spectrum(self) -> tuple[Array, Array]:
        """Ritz values (size,), descending, and their coefficients in the rows (size, size), a column each."""
        values, coefficients = np.linalg.eigh(self.projection[: self.size, : self.size])
        return values[::-1], coefficients[:, ::-1]

    def combine(self, coefficients: Array) -> tuple[Tensor, Tensor]:
        """Combinations of the rows and of their images, each (j, dim), for coefficients (size, j)."""
        weights = torch.as_tensor(coefficients.T.copy(), dtype=self.rows.dtype, device=self.rows.device)
        return weights @ self.rows[: self.size], weights @ self.images[: self.size]

    def shrink(self, values: Array, coefficients: Array) -> None:
        """Keeps Ritz pairs only, values (j,) and coefficients (size, j), for no products; the tail stays."""
        rows, images = self.combine(coefficients)
        self.size = len(values)
        self.rows[: self.size] = rows
        self.images[: self.size] = images
        self.projection[:] = 0.0
        np.fill_diagonal(self.projection[: self.size, : self.size], values)

    def _project_out(self, vector: Tensor, start: int = 0) -> Tensor:
        rows = self.rows[start : self.size]
        components = rows @ vector
        vector.addmv_(rows.T, components, alpha=-1)
        return components


def _aligned_rows(rows: int, dim: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    # Off a 64-byte boundary matrix-vector kernels may differ in the last bits: every row starts on one.
    step = _ALIGNMENT // dtype.itemsize
    return torch.empty(rows, -(-dim // step) * step, dtype=dtype, device=device)[:, :dim]
