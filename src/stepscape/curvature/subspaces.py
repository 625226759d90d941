"""Subspaces spanned by orthonormal rows: overlaps, angles, a null to compare them with, and sketches to store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature.basis import Array

_BLOCKS = 8  # entries a coordinate has in a sketch: with one, two of the few large coordinates could fall together


def overlap(first: Tensor, second: Tensor) -> float:
    """|U V^T|_F^2 / k: the mean squared cosine of the principal angles; 1 for the same subspace, k / P by chance.

    Args:
        first: U (k, P), orthonormal rows.
        second: V (k, P), orthonormal rows.

    Returns:
        The overlap; NaN where an entry is.

    Source: Gur-Ari, Roberts & Dyer 2018 (arXiv:1812.04754).
    """
    return (_products(first, second).square().sum() / len(first)).item()


def principal_cosines(first: Tensor, second: Tensor) -> Array:
    """Cosines of the principal angles between two subspaces.

    Args:
        first: (k, P), orthonormal rows.
        second: (k, P), orthonormal rows.

    Returns:
        (k,), descending; NaN where an entry is.

    Source: Björck & Golub 1973 (Mathematics of Computation 27).
    """
    products = _products(first, second)
    if not bool(products.isfinite().all()):
        return np.full(len(first), np.nan)
    cosines: Array = torch.linalg.svdvals(products).numpy()
    return cosines


def span_alignment(vectors: Tensor, spanning: Tensor) -> Tensor:
    """How much of each vector lies in a subspace: the length of its projection.

    Args:
        vectors: (k, d), rows of length 1.
        spanning: (m, d), whose rows span the subspace; they need not be independent.

    Returns:
        (k,), between 0 and 1: with one row |cos| of the angle to it, with none but zeros 0.
    """
    _, sizes, basis = torch.linalg.svd(spanning, full_matrices=False)
    rounding = max(spanning.shape) * torch.finfo(spanning.dtype).eps
    return torch.linalg.vector_norm(vectors @ basis[sizes > rounding * sizes.max()].T, dim=1)


def shuffled_overlaps(vectors: Tensor, sizes: Sequence[int], draws: int, random: np.random.Generator) -> Array:
    """Overlaps of a subspace with itself after its coordinates are permuted inside each tensor of parameters.

    Top eigenvectors live in few coordinates, such as the biases of the last layer, so unrelated ones overlap by far
    more than k / P; the permutation keeps what share of each vector is in each tensor, and nothing else.

    Args:
        vectors: (k, P), orthonormal rows.
        sizes: numbers of entries of the tensors that the flat parameters consist of, in order, of sum P.
        draws: number of permutations.
        random: where they come from.

    Returns:
        (draws,), the overlaps.
    """
    starts = np.cumsum([0, *sizes[:-1]])
    found = np.empty(draws)
    for draw in range(draws):
        order = [start + random.permutation(size) for start, size in zip(starts, sizes, strict=True)]
        found[draw] = overlap(vectors, vectors[:, torch.from_numpy(np.concatenate(order)).to(vectors.device)])
    return found


def sketch(vectors: Tensor, size: int, random: np.random.Generator) -> Tensor:
    """Orthonormal rows (k, size) whose overlaps are about those of the rows given, if all are sketched alike.

    Every coordinate is added, with a random sign, to one random entry in each of eight blocks; then the rows are
    orthonormalised in order, so that the first j span the sketch of the first j vectors. The error of an overlap
    depends on `size`, hardly on P: below 0.02 at 1,024 (docs/numerics.md). With P at most `size` nothing is lost.

    Args:
        vectors: (k, P), orthonormal rows.
        size: length of a sketched row, at least k and a multiple of 8, or at least P.
        random: where signs and places come from: in the same state for all subspaces that are to be compared.

    Returns:
        (k, min(size, P)) float64 on the CPU; NaN where an entry is.

    Source: Nelson & Nguyen 2013 (FOCS), sparse subspace embeddings with one entry a block.
    """
    parameters = vectors.shape[1]
    rows = vectors.double().cpu()
    if parameters > size:
        width = size // _BLOCKS
        sketched = torch.zeros(len(rows), size, dtype=torch.float64)
        for block in sketched.split(width, dim=1):
            places = torch.from_numpy(random.integers(0, width, parameters))
            signs = torch.from_numpy(2.0 * random.integers(0, 2, parameters) - 1.0)
            block.index_add_(1, places, rows * signs)
        rows = sketched
    if not bool(rows.isfinite().all()):
        return torch.full_like(rows, torch.nan)
    return torch.linalg.qr(rows.T)[0].T


def _products(first: Tensor, second: Tensor) -> Tensor:
    return (first.double() @ second.double().T).cpu()
