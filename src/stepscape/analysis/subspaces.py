"""Overlaps of subspaces between all pairs of measurements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def overlap_map(sketches: NDArray[np.floating], k: int | None = None) -> NDArray[np.float64]:
    """|U_s U_t^T|_F^2 / k for all pairs of measurements, from stored sketches or vectors.

    Args:
        sketches: (measurement, vector, entry), orthonormal rows, such as `subspace_sketch` of a run; rows of NaN
            where nothing was measured.
        k: of the leading subspaces, those of the first k rows; default: all.

    Returns:
        (measurement, measurement), symmetric; NaN where one of the two was not measured.
    """
    rows = np.asarray(sketches, np.float64)[:, :k]
    measurements, leading, entries = rows.shape
    flat = rows.reshape(measurements * leading, entries)
    squares = np.square(flat @ flat.T).reshape(measurements, leading, measurements, leading)
    overlaps: NDArray[np.float64] = squares.sum(axis=(1, 3)) / leading
    return overlaps
