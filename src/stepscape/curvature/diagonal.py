"""The diagonal of a symmetric operator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature.products import Operator


def estimated_diagonal(
    hvp: Operator,
    dim: int,
    generators: Sequence[np.random.Generator],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """The mean over random signs v of v * H v, entry by entry, and its standard error.

    Unbiased; the variance of one probe's entry i is the sum of H_ij^2 over j other than i. One product a probe.

    Args:
        hvp: maps (dim,) to (dim,); symmetric.
        dim: length of a vector.
        generators: one a probe, source of its signs.
        dtype: float32 or float64, of the vectors that `hvp` maps.
        device: where these vectors lie.

    Returns:
        The estimate (dim,) and its standard error (dim,), NaN of a single probe, both in float64.

    Source: Bekas, Kokiopoulou & Saad 2007 (Applied Numerical Mathematics 57).
    """
    count = len(generators)
    mean, squares = (torch.zeros(dim, dtype=torch.float64, device=device) for _ in range(2))
    for number, random in enumerate(generators, start=1):
        signs = torch.from_numpy(2.0 * random.integers(0, 2, dim) - 1.0).to(device, dtype)
        change = (signs * hvp(signs)).double() - mean
        mean += change / number
        squares += change**2 * ((number - 1) / number)
    error = (squares / (count - 1) / count).sqrt() if count > 1 else torch.full_like(mean, torch.nan)
    return mean, error
