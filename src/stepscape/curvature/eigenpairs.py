"""Extreme eigenpairs of a symmetric operator, each with its residual, and a search for what the start has missed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stepscape.curvature.basis import ROUNDING_FLOOR, Array, Basis
from stepscape.curvature.products import Operator

_RANDOM_SHARE = 0.3  # of a warm start: enough to find an eigenvector that the rows given do not contain
_MISS = 0.03  # smallest overlap with a random direction that a search sees, in standard deviations of the overlap


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenpairs of a symmetric operator, algebraically largest first; j of them: the k largest, then the smallest.

    Attributes:
        values: (j,) float64 on the CPU, descending. An eigenvalue lies within residual * |value| of each.
        vectors: (j, dim) in the operator's dtype and on its device, unit norm.
        residuals: (j,) float64 on the CPU, |Hv - lambda v| / |lambda|; 0 where H v = 0, infinite where only lambda is.
        products: how often the operator was applied.
        converged: (j,) bool: the residual is below the tolerance, or |Hv - lambda v| below the dtype's
            `ROUNDING_FLOOR` times |H|, so that eigenvalues near zero end too.

    Where a product was not finite, all numbers are NaN and `converged` is False.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    products: int
    converged: Tensor


def top_eigenpairs(
    hvp: Operator,
    dim: int,
    k: int = 5,
    *,
    bottom: int = 0,
    tol: float = 1e-3,
    start: Tensor | None = None,
    generator: np.random.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    max_products: int | None = None,
    search: bool = True,
) -> Eigenpairs:
    """Largest `k` eigenpairs of a symmetric operator, and the `bottom` smallest, by thick-restart Lanczos.

    A small residual proves *an* eigenpair, never the top one: a Krylov space holds one vector of every eigenspace and
    nothing that its start is orthogonal to, and two eigenvalues closer than the tolerance converge as one. So when
    the pairs have converged, a second, random start searches their complement until an eigenvalue above the k-th
    would have shown, and what it finds joins the pairs: repeated eigenvalues are returned as often as they occur.

    The smallest come from the same basis. They are not searched for: a repeated one may be returned once.

    A step costs, beside the product, two passes over the basis. Memory: (2 (k + bottom) + 41) dim numbers at most.

    Args:
        hvp: maps (dim,) to (dim,); symmetric. Must not change its argument.
        dim: length of a vector.
        k: number of largest pairs, in 1..dim.
        bottom: number of smallest pairs, in 0..dim - k.
        tol: relative residual |Hv - lambda v| / |lambda| at which a pair counts as converged; at least the dtype's
            `ROUNDING_FLOOR`.
        start: (j, dim), unit rows that resemble the eigenvectors, such as those of an earlier step; a random
            direction is mixed in. With j = k + bottom, vectors are signed such that <x_i, start_i> >= 0.
        generator: source of the random directions, drawn in float64 and cast; default: seeded with 0.
        dtype: float32 or float64, of the vectors that `hvp` maps.
        device: where these vectors lie.
        max_products: products after which pairs that have not converged are returned as they are; at least
            k + bottom, default 20 (k + bottom) + 400.
        search: whether to search the complement. Without it the k values may skip repeated and nearly repeated ones.

    Returns:
        Eigenpairs: the k largest and then the `bottom` smallest, all in descending order. Unless `start` gives the
            signs, each vector's entry of largest magnitude is positive.

    Raises:
        ValueError: k, bottom, tol, start, dtype or max_products is not as said above, or hvp returns another shape
            than (dim,).

    Source: Wu & Simon 2000 (SIAM J. Matrix Anal. Appl. 22), thick-restart Lanczos. The random part of the start and
    the search are ours (docs/numerics.md).
    """
    limit = 20 * (k + bottom) + 400 if max_products is None else max_products
    _check(dim, k, bottom, tol, start, dtype, limit)
    random = np.random.default_rng(0) if generator is None else generator
    basis = Basis(hvp, dim, min(dim, 2 * (k + bottom) + 40), dtype, device)
    solver = _Solver(basis, k, bottom, tol, limit, random)
    basis.append(solver.first_direction(start))
    pairs = solver.converge()
    while search and pairs.converged.all() and solver.search(pairs.values[k - 1].item()):
        pairs = solver.converge()
    return signed(replace(pairs, products=basis.products), start)


def signed(pairs: Eigenpairs, reference: Tensor | None) -> Eigenpairs:
    """The same pairs with the vectors' signs fixed.

    Args:
        pairs: k pairs.
        reference: (k, dim), vectors with which each is to have a non-negative product. With another number of rows, or
            None, each vector's entry of largest magnitude becomes positive.

    Returns:
        Eigenpairs: new pairs; those given are left as they are.
    """
    vectors = pairs.vectors
    if reference is not None and len(reference) == len(vectors):
        products = (vectors * reference.to(vectors)).sum(1)
    else:
        products = vectors.amax(1) + vectors.amin(1)
    return replace(pairs, vectors=vectors * torch.where(products < 0, -1.0, 1.0).to(vectors)[:, None])


@dataclass
class _Solver:
    basis: Basis
    k: int
    bottom: int
    tol: float
    limit: int
    random: np.random.Generator

    def first_direction(self, start: Tensor | None) -> Tensor:
        noise = self._noise()
        if start is None:
            return self.basis.orthonormal(noise)
        noise *= _RANDOM_SHARE * len(start) ** 0.5 / torch.linalg.vector_norm(noise)
        return self.basis.orthonormal(start.to(noise).sum(0) + noise)

    def converge(self) -> Eigenpairs:
        """Extends the basis until the wanted Ritz pairs have converged, or it can grow no more."""
        basis = self.basis
        while basis.finite and basis.size < self.k + self.bottom:
            self._append()
        while basis.finite:
            values, coefficients = basis.spectrum()
            wanted = self._wanted
            sizes = basis.residuals(coefficients[:, wanted])
            converged = sizes <= self._allowed(values)
            if converged.all() or basis.size == basis.dim or basis.products >= self.limit:
                return self._pairs(values[wanted], coefficients[:, wanted], sizes, converged)
            self._extend(values, coefficients, wanted[converged.argmin()])
        return _not_finite(basis, self.k + self.bottom)

    def search(self, lowest: float) -> bool:
        """Whether a random direction leads to an eigenvalue larger than `lowest` that the pairs do not hold.

        Let q_0, q_1, ... be the Lanczos chain of a random unit vector q_0 in the complement of the basis, p_j its
        orthonormal polynomials, and u an eigenvector there, of an eigenvalue lambda above `level`: `lowest` and the
        tolerance. Then <q_j, u> = p_j(lambda) <q_0, u>. If a p_j(level) is negative, the chain has a Ritz value above
        `level`: found. Otherwise the p_j grow beyond it, so that 1 >= |<q_j, u>| >= p_j(level) |<q_0, u>|, and the
        answer is no when |<q_0, u>| would have to be below `_MISS` / sqrt(dim), which has probability 2.4 %; or when
        the basis is full, after 38 products at least.

        Args:
            lowest: the k-th eigenvalue found.

        Returns:
            bool: whether the basis now holds a direction that `converge` should go on with.
        """
        basis = self.basis
        if basis.size == basis.dim:
            return False
        values, coefficients = basis.spectrum()
        margin = max(self.tol * abs(lowest), self._rounding(values))
        level = lowest + margin
        self._keep_what_hides_nothing(values, coefficients, level, margin)
        direction: Tensor | None = basis.orthonormal(self._noise())
        before, here, beta = 0.0, 1.0, 0.0
        while basis.size < basis.capacity and basis.products < self.limit:
            basis.append(direction)
            last = basis.size - 1
            ahead = (level - basis.projection[last, last]) * here - beta * before  # basis.beta * p_{j+1}(level)
            if ahead < 0 or not basis.finite:
                return True
            if ahead * _MISS >= basis.beta * basis.dim**0.5:
                return False
            before, here, beta = here, ahead / basis.beta, basis.beta
            direction = None
        return False

    def _keep_what_hides_nothing(self, values: Array, coefficients: Array, level: float, margin: float) -> None:
        # A Ritz vector beyond the k-th may hold part of an eigenvector above `level`, which lowers the eigenvalue seen
        # from its complement by residual^2 / (level - value). It stays, and shortens the search, if that is < margin.
        converged = self.basis.residuals(coefficients) ** 2 <= margin * (level - values)
        converged[: self.k] = True
        kept = np.flatnonzero(converged)
        kept = np.union1d(kept[: 2 * self.k + 2], kept[kept >= len(values) - self.bottom])
        self.basis.shrink(values[kept], coefficients[:, kept])

    @cached_property
    def _wanted(self) -> NDArray[np.intp]:
        """Indices of the k largest and the `bottom` smallest of descending values (size,), size at least k + bottom."""
        return np.r_[: self.k, -self.bottom : 0]

    def _pairs(self, values: Array, coefficients: Array, sizes: Array, converged: NDArray[np.bool_]) -> Eigenpairs:
        vectors = self.basis.combine(coefficients)
        vectors /= torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        relative = np.divide(sizes, abs(values), out=np.full_like(sizes, np.inf), where=values != 0)
        relative[sizes == 0] = 0.0
        return Eigenpairs(
            torch.from_numpy(values),
            vectors,
            torch.from_numpy(relative),
            self.basis.products,
            torch.from_numpy(converged),
        )

    def _extend(self, values: Array, coefficients: Array, lagging: int) -> None:
        """Appends what the residual of the Ritz vector `lagging` points to."""
        basis = self.basis
        basis.aim(coefficients[:, lagging])
        if basis.size == basis.capacity:
            top, bottom = 2 * self.k + 2, 2 * self.bottom + 2 if self.bottom else 0
            kept = np.r_[:top, len(values) - bottom : len(values)]
            basis.shrink(values[kept], coefficients[:, kept])
        self._append()

    def _append(self) -> None:
        self.basis.append(self.basis.orthonormal(self._noise()) if self.basis.exhausted else None)

    def _allowed(self, values: Array) -> Array:
        return np.maximum(self.tol * abs(values[self._wanted]), self._rounding(values))

    def _rounding(self, values: Array) -> float:
        return ROUNDING_FLOOR[self.basis.rows.dtype] * float(abs(values).max())

    def _noise(self) -> Tensor:
        return torch.from_numpy(self.random.standard_normal(self.basis.dim)).to(self.basis.rows)


def _not_finite(basis: Basis, k: int) -> Eigenpairs:
    nothing = torch.full((k,), torch.nan, dtype=torch.float64)
    vectors = torch.full((k, basis.dim), torch.nan, dtype=basis.rows.dtype, device=basis.rows.device)
    return Eigenpairs(nothing, vectors, nothing.clone(), basis.products, torch.zeros(k, dtype=torch.bool))


def _check(
    dim: int, k: int, bottom: int, tol: float, start: Tensor | None, dtype: torch.dtype, max_products: int
) -> None:
    if dtype not in ROUNDING_FLOOR:
        raise ValueError(f"dtype is {dtype}; allowed: torch.float32, torch.float64. Convert the parameters.")
    if not 1 <= k <= dim:
        raise ValueError(f"k is {k}; allowed: 1 to dim = {dim}. Ask for as many pairs as there are.")
    if not 0 <= bottom <= dim - k:
        raise ValueError(f"bottom is {bottom}; allowed: 0 to dim - k = {dim - k}. Ask for as many pairs as there are.")
    if not ROUNDING_FLOOR[dtype] <= tol < 1:
        raise ValueError(
            f"tol is {tol:g}; allowed: below 1 and, for what rounding leaves in {dtype}, "
            f"at least {ROUNDING_FLOOR[dtype]:g}. Raise it or work in float64."
        )
    if start is not None and (start.ndim != 2 or start.shape[0] < 1 or start.shape[1] != dim):
        raise ValueError(
            f"start has shape {tuple(start.shape)}; allowed: (j, {dim}) with j at least 1. "
            "Give eigenvectors as rows, or None to start cold."
        )
    if max_products < k + bottom:
        raise ValueError(
            f"max_products is {max_products}; allowed: at least k + bottom = {k + bottom}. Each pair takes one product."
        )
