"""Eigenpairs above a level, followed along a trajectory on which they crowd together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature.eigenpairs import top_eigenpairs
from stepscape.curvature.products import Operator

_BLOCKS = 4  # vectors of the search space for each wanted, before it is restarted from the wanted ones


@dataclass(frozen=True)
class Leading:
    """The eigenpairs above a level, and one below it, by which it is seen that there are no more.

    Attributes:
        values: (j,) float64 on the CPU, descending.
        vectors: (j, dim), orthonormal.
        residual: the largest |Hv - lambda v| / |lambda|.
        products: how often the operator was applied.
    """

    values: Tensor
    vectors: Tensor
    residual: float
    products: int

    def above(self, level: float) -> int:
        """How many of the values are above a level."""
        return int((self.values > level).sum())


def follow_leading(
    hvp: Operator,
    start: Tensor,
    level: float,
    most: int,
    *,
    tol: float,
    generator: np.random.Generator,
    cold: bool = False,
) -> Leading:
    """All eigenpairs above `level`, and the next, from those of a moment before.

    Those at the start are refined as a block: eigenvalues that a flow holds at one value are no harder than others,
    where a Krylov space of one vector would hold one of them. When all are above the level there may be more, so that a
    cold solve, which also searches what it has not found, takes one more, until one is below.

    Args:
        hvp: maps (dim,) to (dim,) and (k, dim) to (k, dim); symmetric.
        start: (j, dim), orthonormal rows, j at least 1; vectors of zeros for a cold solve.
        level: the eigenvalue above which all are wanted.
        most: how many to follow at most, the one below included.
        tol: relative residual at which a pair counts as converged.
        generator: source of the cold solve's random directions.
        cold: whether to solve cold in any case, and to keep what is larger.

    Returns:
        Leading: at least one pair; with `most` of them the last may be above the level. Values are NaN where a product
        was not finite.
    """
    count, products, found = len(start), 0, None
    if bool(start.any()):
        found = _refined(hvp, start, tol)
        products = found.products
    while found is None or cold or (found.values[-1] > level and count < most):
        count = count if found is None or cold else count + 1
        solved = top_eigenpairs(
            hvp, start.shape[1], count, tol=tol, generator=generator, dtype=start.dtype, device=start.device
        )
        products += solved.products
        worst = float(solved.residuals.max())
        other = Leading(solved.values, solved.vectors, worst, products)
        cold = False
        found = other if found is None or not bool(other.values.sum() <= found.values.sum()) else found
    kept = max(1, min(found.above(level) + 1, len(found.values)))
    return Leading(found.values[:kept], found.vectors[:kept], found.residual, products)


def _refined(hvp: Operator, start: Tensor, tol: float) -> Leading:
    # Davidson 1975 (J. Comput. Phys. 17), in blocks and without a preconditioner: Rayleigh-Ritz on a space to which the
    # residuals of the wanted pairs are added until they are small.
    count, dim = start.shape
    basis = _orthonormal(start, None)
    images, products = hvp(basis), len(basis)
    limit = products + 20 * count
    while True:
        projected = (images @ basis.T).double().cpu().numpy()
        if not np.isfinite(projected).all():
            nothing = torch.full((count,), torch.nan, dtype=torch.float64)
            return Leading(nothing, torch.zeros_like(start), float("inf"), products)
        ritz, rotation = np.linalg.eigh((projected + projected.T) / 2)
        turn = torch.from_numpy(rotation[:, ::-1][:, :count].T.copy()).to(basis)
        values = torch.from_numpy(ritz[::-1][:count].copy())
        vectors, moved = turn @ basis, turn @ images
        residuals = moved - values.to(basis)[:, None] * vectors
        relative = torch.linalg.vector_norm(residuals, dim=1).double().cpu() / values.abs()
        lagging = ~(relative <= tol)
        room = min(_BLOCKS * count, dim)
        if not lagging.any() or products >= limit or len(basis) == dim:
            return Leading(values, vectors, float(relative.max()), products)
        if len(basis) + int(lagging.sum()) > room:
            basis, images = vectors, moved
        added = _orthonormal(residuals[lagging.to(residuals.device)], basis)[: dim - len(basis)]
        products += len(added)
        basis, images = torch.cat([basis, added]), torch.cat([images, hvp(added)])


def _orthonormal(rows: Tensor, basis: Tensor | None) -> Tensor:
    """Orthonormal rows of the span of `rows`, and orthogonal to a basis; twice, for what rounding leaves."""
    for _ in range(2):
        if basis is not None:
            rows = rows - (rows @ basis.T) @ basis
        rows = torch.linalg.qr(rows.T)[0].T.contiguous()
    return rows
