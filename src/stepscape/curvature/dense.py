"""All eigenvalues of an operator, from the matrix itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature.basis import Array
from stepscape.curvature.products import Operator


def dense_eigenvalues(operator: Operator, like: Tensor) -> Array:
    """All eigenvalues of a symmetric operator, by P products and a dense solver in float64.

    Args:
        operator: maps (k, P) to (k, P) row by row; symmetric.
        like: (P,), a vector of the dtype and device that `operator` takes.

    Returns:
        (P,), descending, float64; NaN where a product was not finite.

    Source: LAPACK's symmetric solver, on the mean of the matrix and its transpose.
    """
    rows = operator(torch.eye(len(like), dtype=like.dtype, device=like.device)).double().cpu().numpy()
    if not np.isfinite(rows).all():
        return np.full(len(like), np.nan)
    values: Array = np.linalg.eigvalsh((rows + rows.T) / 2)[::-1].copy()
    return values
