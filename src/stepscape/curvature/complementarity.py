"""Semidefinite complementarity problems of a few rows: the covariance of an oscillation that holds curvature down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_ENOUGH = 1e-12  # residual at which iterations end; what they reach beyond is rounding
_STEPS, _PATIENCE = 100, 10  # Newton steps at most, and in a row without a smaller residual
_TO_BOUNDARY = 0.98  # of the way to where a matrix loses its definiteness, at most; the last digits want it near 1


@dataclass(frozen=True)
class Complementary:
    """A solution.

    Attributes:
        matrix: X, (k, k).
        residual: how far X is from solving the problem: the largest of -min eig X / |X|, -min eig Y / |A| and
            |<X, Y>| / (|X| |A|), with spectral norms; 0 where X = 0 does.
        iterations: Newton steps.
    """

    matrix: Array
    residual: float
    iterations: int


def solve_complementarity(offset: Array, operator: Array) -> Complementary:
    """X >= 0 with Y = A + B[X] >= 0 and <X, Y> = 0.

    By a primal-dual Newton method with the direction of Helmberg, Kojima and Monteiro and a predictor-corrector step,
    on A and B scaled to 1; one row in closed form. For k up to 10: dense matrices of k (k + 1) / 2 rows are solved.

    Args:
        offset: A, (k, k), symmetric.
        operator: B, (m, m) with m = k (k + 1) / 2, in coordinates that keep products: X_ii as it is, X_ij times
            sqrt(2), in the order of `pairs`. Its symmetric part is positive definite, or nothing is promised.

    Returns:
        Complementary: X and its residual. What has no solution ends with a large residual.

    Source: Helmberg, Rendl, Vanderbei & Wolkowicz 1996 (SIAM J. Optim. 6); Mehrotra 1992 (SIAM J. Optim. 2).
    """
    if not (np.isfinite(offset).all() and np.isfinite(operator).all()):
        return Complementary(np.full_like(offset, np.nan), np.inf, 0)
    if np.linalg.eigvalsh(offset)[0] >= 0:
        return Complementary(np.zeros_like(offset), 0.0, 0)
    height, slope = np.abs(offset).max(), np.trace(operator) / len(operator)
    if slope <= 0:
        return Complementary(np.zeros_like(offset), np.inf, 0)
    problem = _Problem(offset / height, operator / slope)
    found, iterations = (problem.single(), 0) if len(offset) == 1 else problem.newton()
    return Complementary(found * height / slope, problem.residual(found), iterations)


def pairs(k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a symmetric matrix's upper triangle: (0, 0), (0, 1) ... (0, k - 1), (1, 1) ..."""
    rows, columns = np.triu_indices(k)
    return rows, columns


def weights(k: int) -> Array:
    """1 for each diagonal entry of `pairs`, sqrt(2) for the others: coordinates that keep the product of matrices."""
    rows, columns = pairs(k)
    return np.where(rows == columns, 1.0, np.sqrt(2.0))


@dataclass(frozen=True)
class _Problem:
    offset: Array
    operator: Array

    @property
    def k(self) -> int:
        return len(self.offset)

    @cached_property
    def _basis(self) -> Array:
        """The matrices (m, k, k), orthonormal, that the coordinates belong to."""
        rows, columns = pairs(self.k)
        basis = np.zeros((len(rows), self.k, self.k))
        index = np.arange(len(rows))
        basis[index, rows, columns] = basis[index, columns, rows] = 1 / weights(self.k)
        return basis

    def flat(self, matrix: Array) -> Array:
        return np.asarray(matrix[pairs(self.k)] * weights(self.k))

    def square(self, flat: Array) -> Array:
        return np.asarray(np.tensordot(flat, self._basis, 1))

    def image(self, matrix: Array) -> Array:
        """A + B[X]."""
        return self.offset + self.square(self.operator @ self.flat(matrix))

    def single(self) -> Array:
        return np.maximum(0.0, -self.offset / self.operator)

    def residual(self, x: Array) -> float:
        y = self.image(x)
        size, height = np.linalg.norm(x, 2), np.linalg.norm(self.offset, 2)
        if size == 0:
            return float(max(0.0, -np.linalg.eigvalsh(y)[0] / height))
        faults = (-np.linalg.eigvalsh(x)[0] / size, -np.linalg.eigvalsh(y)[0] / height, abs((x * y).sum()))
        return float(max(0.0, faults[0], faults[1], faults[2] / (size * height)))

    def newton(self) -> tuple[Array, int]:
        x, y = np.eye(self.k), np.eye(self.k)
        best, found, since, iteration = np.inf, x, 0, 0
        while best > _ENOUGH and since < _PATIENCE and iteration < _STEPS:
            iteration += 1
            try:
                x, y = self._step(x, y)
            except np.linalg.LinAlgError:  # next to the solution, or where there is none, rounding decides
                break
            residual, since = self.residual(x), since + 1
            if residual < best:
                best, found, since = residual, x, 0
        return found, iteration

    def _step(self, x: Array, y: Array) -> tuple[Array, Array]:
        """One predictor-corrector step; X and Y stay positive definite."""
        inverse = np.linalg.inv(y)
        gap = self.image(x) - y
        scaling = self._scaling(x, inverse)
        matrix = np.eye(len(scaling)) + scaling @ self.operator
        mean = (x * y).sum() / self.k

        def direction(target: Array) -> tuple[Array, Array]:
            right = self.flat(_symmetric(target)) - scaling @ self.flat(gap)
            dx: Array = np.linalg.solve(matrix, right).astype(np.float64)
            return self.square(dx), gap + self.square(self.operator @ dx)

        dx, dy = direction(-x)
        length = min(1.0, _boundary(x, dx), _boundary(y, dy))
        ahead = ((x + length * dx) * (y + length * dy)).sum() / self.k
        centre = min(1.0, max(ahead / mean, 0.0) ** 3)
        dx, dy = direction(centre * mean * inverse - x - dx @ dy @ inverse)
        length = min(1.0, _TO_BOUNDARY * _boundary(x, dx), _TO_BOUNDARY * _boundary(y, dy))
        return _symmetric(x + length * dx), _symmetric(y + length * dy)

    def _scaling(self, x: Array, inverse: NDArray[np.floating]) -> Array:
        """Z -> (X Z Y^-1 + Y^-1 Z X) / 2 in coordinates."""
        images = x @ self._basis @ inverse
        return np.tensordot(_symmetric(images), self._basis, ((1, 2), (1, 2))).T


def _symmetric(matrix: Array) -> Array:
    return np.asarray((matrix + matrix.swapaxes(-1, -2)) / 2)


def _boundary(matrix: Array, direction: Array) -> float:
    """The largest t with matrix + t direction positive semidefinite."""
    root = np.linalg.cholesky(matrix)
    inner = np.linalg.solve(root, np.linalg.solve(root, direction).T)
    lowest = np.linalg.eigvalsh(_symmetric(inner))[0]
    return float("inf") if lowest >= 0 else -1 / lowest
