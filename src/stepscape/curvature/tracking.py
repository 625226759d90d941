"""Eigenpairs followed along a trajectory: warm starts, audited by cold ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature.basis import ROUNDING_FLOOR
from stepscape.curvature.eigenpairs import Eigenpairs, signed, top_eigenpairs
from stepscape.curvature.products import Operator


@dataclass(frozen=True)
class Tracked:
    """Eigenpairs of one step of a trajectory.

    Attributes:
        pairs: the pairs to keep, and to start the next step from. Their `products` are those of the warm solve,
            whichever pairs were kept.
        audit: largest difference of one of the k largest eigenvalues between the warm and the cold solve, relative to
            the magnitude of the cold solve's first; NaN where no audit was made or a product was not finite.
        audit_bottom: likewise of the smallest, relative to that of the cold solve's smallest; NaN where none is asked
            for.
        audit_products: products of the cold solve; 0 without an audit.
    """

    pairs: Eigenpairs
    audit: float
    audit_bottom: float
    audit_products: int


def track_eigenpairs(
    hvp: Operator,
    dim: int,
    k: int,
    *,
    bottom: int = 0,
    tol: float,
    previous: Tensor | None,
    generator: np.random.Generator,
    audit_generator: np.random.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    search: bool = True,
) -> Tracked:
    """Largest `k` eigenpairs, and the `bottom` smallest, at the next step of a trajectory, started from the last's.

    A warm start may be blind to an eigenvector that has grown since, and would stay blind for the rest of the
    trajectory. An audit solves once more from a random direction alone and keeps the pairs with the larger sum of
    values: the sum of k Ritz values never exceeds that of the k largest eigenvalues, and reaches it only in their
    eigenspace. Of the smallest it keeps those with the smaller sum. At equal sums, to rounding, the warm pairs stay.

    The result depends on `previous`: a run that is resumed must reload it to reproduce its numbers.

    Args:
        hvp: maps (dim,) to (dim,); symmetric.
        dim: length of a vector.
        k: number of largest pairs, in 1..dim.
        bottom: number of smallest pairs, in 0..dim - k.
        tol: relative residual at which a pair counts as converged, as in `top_eigenpairs`.
        previous: (j, dim), unit vectors found at the last step; None, or with numbers that are not finite, for a
            cold start.
        generator: source of the warm solve's random directions.
        audit_generator: source of those of the cold solve; None for no audit. A generator of its own, so that the
            warm pairs are the same with and without an audit.
        dtype: float32 or float64.
        device: where the vectors lie.
        search: whether the warm solve searches the complement, as in `top_eigenpairs`; the cold solve always does.

    Returns:
        Tracked: the pairs kept, the audit, and its products.

    Raises:
        ValueError: as `top_eigenpairs`.

    Source: Fan 1949 (PNAS 35), the sum of the k largest eigenvalues as a maximum; the audit is ours.
    """
    start = previous if previous is not None and bool(torch.isfinite(previous).all()) else None
    solve = partial(top_eigenpairs, hvp, dim, k, bottom=bottom, tol=tol, dtype=dtype, device=device)
    warm = solve(start=start, generator=generator, search=search)
    if audit_generator is None:
        return Tracked(warm, math.nan, math.nan, 0)
    cold = solve(generator=audit_generator)
    top, low = slice(None, k), slice(k, None)
    rounding = ROUNDING_FLOOR[dtype] * cold.values.abs().sum()
    higher = bool(cold.values[top].sum() > warm.values[top].sum() + rounding)
    lower = bool(cold.values[low].sum() < warm.values[low].sum() - rounding)
    kept = warm
    if higher or lower:
        from_cold = torch.tensor([higher] * k + [lower] * bottom)
        kept = _merged(warm, signed(cold, start), from_cold)
    return Tracked(kept, _difference(warm, cold, top), _difference(warm, cold, low), cold.products)


def _merged(warm: Eigenpairs, cold: Eigenpairs, from_cold: Tensor) -> Eigenpairs:
    return replace(
        warm,
        values=torch.where(from_cold, cold.values, warm.values),
        vectors=torch.where(from_cold.to(cold.vectors.device)[:, None], cold.vectors, warm.vectors),
        residuals=torch.where(from_cold, cold.residuals, warm.residuals),
        converged=torch.where(from_cold, cold.converged, warm.converged),
    )


def _difference(warm: Eigenpairs, cold: Eigenpairs, end: slice) -> float:
    found, expected = warm.values[end], cold.values[end]
    if not len(found):
        return math.nan
    largest = (found - expected).abs().max()
    return 0.0 if largest == 0 else (largest / expected[0 if end.start is None else -1].abs()).item()
