"""Spectral density of a symmetric operator, with its trace and Frobenius norm, from random probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stepscape.curvature.basis import Array, Basis
from stepscape.curvature.eigenpairs import Eigenpairs
from stepscape.curvature.products import Operator


@dataclass(frozen=True)
class Density:
    """A quadrature of the spectral density for each probe: (1/dim) sum_i f(lambda_i) is about sum_j w_j f(x_j).

    Attributes:
        nodes: (probes, m), x, descending: Ritz values.
        weights: (probes, m), w, of sum 1 in each row. Where a probe's Krylov space is exhausted before m products, the
            last node is repeated with weight 0. Where a product was not finite, the probe's nodes and weights are NaN.
        dim: number of eigenvalues.
        products: how often the operator was applied.
    """

    nodes: Array
    weights: Array
    dim: int
    products: int

    @property
    def trace(self) -> tuple[float, float]:
        """Hutchinson's estimate of tr H, the mean over probes of v^T H v, and its standard error; NaN of one probe."""
        return _mean_and_error(self.dim * (self.weights * self.nodes).sum(1))

    @property
    def frobenius(self) -> tuple[float, float]:
        """|H|_F from the mean over probes of |H v|^2, and its standard error, that of the mean over 2 |H|_F."""
        square, error = _mean_and_error(self.dim * (self.weights * self.nodes**2).sum(1))
        norm = float(np.sqrt(square))
        return norm, error / (2 * norm) if norm else error


def spectral_density(
    hvp: Operator,
    dim: int,
    *,
    steps: int = 40,
    generators: Sequence[np.random.Generator],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    deflated: Eigenpairs | None = None,
) -> Density:
    """Stochastic Lanczos quadrature, with full reorthogonalisation.

    A probe v has independent entries of +1 and -1, so that E v^T f(H) v = tr f(H) for every f. From v / sqrt(dim),
    `steps` Lanczos steps give a tridiagonal T; its eigenvalues are the nodes, the squared first components of its
    eigenvectors the weights, and the quadrature is that of v^T f(H) v / dim, exact for polynomials of degree up to
    2 steps - 1. The first two moments are the probes' own estimates of the trace and the squared Frobenius norm.

    Eigenpairs that are known are taken out: probes are drawn in their complement, and the known eigenvalues join every
    quadrature with their exact weight, 1 / dim. So they add nothing to the noise of the probes.

    Takes steps products a probe; memory: (steps + 1) dim numbers.

    Args:
        hvp: maps (dim,) to (dim,); symmetric. Must not change its argument.
        dim: length of a vector.
        steps: products and nodes of a probe, at least 2; m = min(steps, dim).
        generators: one a probe, source of its signs.
        dtype: float32 or float64, of the vectors that `hvp` maps.
        device: where these vectors lie.
        deflated: eigenpairs, k of them, as `top_eigenpairs` returns them; they join the nodes, so that m grows by k.

    Returns:
        Density: nodes and weights of every probe.

    Raises:
        ValueError: steps is below 2, there is no generator, or hvp returns another shape than (dim,).

    Source: Ubaru, Chen & Saad 2017 (SIAM J. Matrix Anal. Appl. 38); for Hessians of networks Ghorbani et al. 2019
    (arXiv:1901.10159). Trace: Hutchinson 1990 (Communications in Statistics 19).
    """
    if steps < 2 or not generators:
        raise ValueError(f"{steps} steps and {len(generators)} generators; allowed: at least 2 and at least 1.")
    known = torch.empty(0, dim, dtype=dtype, device=device) if deflated is None else deflated.vectors
    project = _projection(known)
    bases = []
    for random in generators:
        basis = Basis(lambda vector: project(hvp(vector)), dim, min(steps, dim - len(known)), dtype, device)
        bases.append((*_quadrature(basis, random, project), basis.products))
    nodes, weights, products = zip(*bases, strict=True)
    found = Density(np.stack(nodes), np.stack(weights), dim, sum(products))
    return found if deflated is None else _joined(found, deflated.values.numpy())


def density_curve(nodes: Array, weights: Array, at: Array, width: float) -> Array:
    """Smoothed density: Gaussians at the nodes, averaged over probes. Its integral is 1.

    Args:
        nodes: (probes, m).
        weights: (probes, m).
        at: (n,), eigenvalues at which the curve is wanted.
        width: standard deviation of a Gaussian. Narrower than the distance of nodes, the peaks of the curve are
            single nodes and mean nothing.

    Returns:
        (n,), the density at each.
    """
    distances = (np.asarray(at)[:, None] - nodes.ravel()) / width
    kernels = np.exp(-(distances**2) / 2) / (width * np.sqrt(2 * np.pi))
    curve: Array = kernels @ weights.ravel() / len(nodes)
    return curve


def counting_function(nodes: Array, weights: Array, levels: Array, dim: int) -> Array:
    """How many of the `dim` eigenvalues exceed each level in magnitude: N(|lambda| > s), averaged over probes.

    Args:
        nodes: (probes, m).
        weights: (probes, m).
        levels: (n,), the s.
        dim: number of eigenvalues.

    Returns:
        (n,), the numbers, not rounded.
    """
    above = np.abs(nodes.ravel()) > np.asarray(levels)[:, None]
    numbers: Array = dim * (above @ weights.ravel()) / len(nodes)
    return numbers


def _projection(known: Tensor) -> Operator:
    """The part of a vector that is orthogonal to the rows."""
    return (lambda vector: vector - (known @ vector) @ known) if len(known) else (lambda vector: vector)


def _joined(found: Density, known: Array) -> Density:
    probes, count = len(found.nodes), len(known)
    nodes = np.hstack((np.tile(known, (probes, 1)), found.nodes))
    exact = np.full((probes, count), 1 / found.dim)
    weights = np.hstack((exact, found.weights * (1 - count / found.dim)))
    order = np.argsort(-nodes, axis=1, kind="stable")
    nodes, weights = (np.take_along_axis(numbers, order, axis=1) for numbers in (nodes, weights))
    return Density(nodes, weights, found.dim, found.products)


def _quadrature(basis: Basis, random: np.random.Generator, project: Operator) -> tuple[Array, Array]:
    signs = 2.0 * random.integers(0, 2, basis.dim) - 1.0
    basis.append(basis.orthonormal(project(torch.from_numpy(signs).to(basis.rows))))
    while basis.finite and basis.size < basis.capacity and not basis.exhausted:
        basis.append()
    if not basis.finite:
        nothing = np.full(basis.capacity, np.nan)
        return nothing, nothing.copy()
    values, coefficients = basis.spectrum()
    missing = (0, basis.capacity - basis.size)
    return np.pad(values, missing, mode="edge"), np.pad(coefficients[0] ** 2, missing)


def _mean_and_error(samples: Array) -> tuple[float, float]:
    if len(samples) == 1:
        return float(samples[0]), float("nan")
    return float(samples.mean()), float(samples.std(ddof=1) / np.sqrt(len(samples)))
