"""Eigenpairs followed along a trajectory: warm starts, audited by cold ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature.eigenpairs import ROUNDING_FLOOR, Eigenpairs, signed, top_eigenpairs
from stepscape.curvature.products import Operator


@dataclass(frozen=True)
class Tracked:
    """Eigenpairs of one step of a trajectory.

    Attributes:
        pairs: the pairs to keep, and to start the next step from. Their `products` are those of the warm solve,
            whichever pairs were kept.
        audit: largest difference of an eigenvalue between the warm and the cold solve, relative to the magnitude of
            the cold solve's first; NaN where no audit was made or a product was not finite.
        audit_products: products of the cold solve; 0 without an audit.
    """

    pairs: Eigenpairs
    audit: float
    audit_products: int


def track_eigenpairs(
    hvp: Operator,
    dim: int,
    k: int,
    *,
    tol: float,
    previous: Tensor | None,
    generator: np.random.Generator,
    audit_generator: np.random.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    search: bool = True,
) -> Tracked:
    """Largest `k` eigenpairs at the next step of a trajectory, started from those of the last.

    A warm start may be blind to an eigenvector that has grown since, and would stay blind for the rest of the
    trajectory. An audit solves once more from a random direction alone and keeps the pairs with the larger sum of
    values: the sum of k Ritz values never exceeds that of the k largest eigenvalues, and reaches it only in their
    eigenspace. At equal sums, to rounding, the warm pairs stay.

    The result depends on `previous`: a run that is resumed must reload it to reproduce its numbers.

    Args:
        hvp: maps (dim,) to (dim,); symmetric.
        dim: length of a vector.
        k: number of pairs, in 1..dim.
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
    warm = top_eigenpairs(
        hvp, dim, k, tol=tol, start=start, generator=generator, dtype=dtype, device=device, search=search
    )
    if audit_generator is None:
        return Tracked(warm, math.nan, 0)
    cold = top_eigenpairs(hvp, dim, k, tol=tol, generator=audit_generator, dtype=dtype, device=device)
    rounding = ROUNDING_FLOOR[dtype] * cold.values.abs().sum()
    if bool(cold.values.sum() > warm.values.sum() + rounding):
        kept = replace(signed(cold, start), products=warm.products)
    else:
        kept = warm
    return Tracked(kept, _difference(warm, cold), cold.products)


def _difference(warm: Eigenpairs, cold: Eigenpairs) -> float:
    largest = (warm.values - cold.values).abs().max()
    return 0.0 if largest == 0 else (largest / cold.values[0].abs()).item()
