"""Ways to follow eigenpairs along a trajectory, all of one shape: (problem, step, k, tol, memory) to a measurement.

`memory` is what the last measurement returned for the next, None at the first. Building the operator is inside.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.problem import Problem
from benchmarks.solvers import Found, eigsh_rebuilt
from stepscape.curvature import Operator, hvp
from stepscape.observables.hessian_top import HessianTop
from stepscape.training.random import generator

MOST_ITERATIONS = 5000
_NO_STEP = 1e-6  # below it a direction is rounding


@dataclass(frozen=True)
class Measurement:
    """The pairs of one step.

    Attributes:
        found: the pairs, and the products without those of an audit.
        audit_products: products of the audit.
        memory: for the next measurement.
    """

    found: Found
    audit_products: int = 0
    memory: Any = None


Follower = Callable[[Problem, int, int, float, Any], Measurement]


@dataclass(frozen=True)
class View:
    """What the observables' solve looks at of a snapshot."""

    theta: Tensor
    step: int

    def random(self, purpose: str) -> np.random.Generator:
        """A generator keyed by purpose and step, for seed 0."""
        return generator(0, purpose, self.step)

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The value: nobody shares it."""
        return compute()


def audited(problem: Problem, step: int, k: int, tol: float, memory: Any) -> Measurement:
    """Stepscape, as a study's `hessian_top` measures: the first and every tenth measurement is audited."""
    return _ours(HessianTop(k=k, tol=tol, every=1), problem, step, memory)


def not_audited(problem: Problem, step: int, k: int, tol: float, memory: Any) -> Measurement:
    """Stepscape with `audit_every: 0`."""
    return _ours(HessianTop(k=k, tol=tol, every=1, audit_every=0), problem, step, memory)


def _ours(observable: HessianTop, problem: Problem, step: int, memory: Any) -> Measurement:
    theta = problem.theta
    view: Any = View(theta, step)
    tracked, kept = observable.solve("hessian", hvp(problem.loss, theta), view, memory or {})
    pairs = tracked.pairs
    return Measurement(Found(pairs.values, pairs.vectors, pairs.products), tracked.audit_products, kept)


def eigsh(problem: Problem, step: int, k: int, tol: float, memory: Any) -> Measurement:
    """`eigsh` with its defaults, from a cold start, on products that build the graph anew."""
    return Measurement(eigsh_rebuilt(problem, k, tol, step))


def power_iteration(problem: Problem, step: int, k: int, tol: float, memory: Any) -> Measurement:
    """Power iteration, a pair after the other, each until its residual in the deflated operator is below tol.

    Args:
        problem: where.
        step: seed of the starts.
        k: pairs.
        tol: relative residual.
        memory: unused: every measurement starts cold.

    Returns:
        The pairs.

    Raises:
        RuntimeError: a pair takes more than `MOST_ITERATIONS` products.
    """
    operator, random = hvp(problem.loss, problem.theta), np.random.default_rng(step)
    values, vectors, products = torch.zeros(0), torch.zeros(0, len(problem.theta)), 0
    for _ in range(k):
        vector = _unit(torch.from_numpy(random.standard_normal(len(problem.theta))).to(vectors))
        for _ in range(MOST_ITERATIONS):
            image = operator(vector) - (values * (vectors @ vector)) @ vectors
            value = image @ vector
            products += 1
            if torch.linalg.vector_norm(image - value * vector) <= tol * value.abs():
                break
            vector = _unit(image)
        else:
            raise RuntimeError(f"power iteration did not converge in {MOST_ITERATIONS} products")
        values, vectors = torch.cat((values, value[None])), torch.cat((vectors, vector[None]))
    order = values.argsort(descending=True)
    return Measurement(Found(values[order], vectors[order], products))


def lobpcg(problem: Problem, step: int, k: int, tol: float, memory: Tensor | None) -> Measurement:
    """LOBPCG as the code of arXiv:2410.24206 runs it, with 4k products an iteration; here the true residual ends it."""
    return _lobpcg(problem, step, k, tol, memory, anew=True)


def lobpcg_carried(problem: Problem, step: int, k: int, tol: float, memory: Tensor | None) -> Measurement:
    """LOBPCG whose images are carried along: k products an iteration at most."""
    return _lobpcg(problem, step, k, tol, memory, anew=False)


def _lobpcg(problem: Problem, step: int, k: int, tol: float, memory: Tensor | None, *, anew: bool) -> Measurement:
    """LOBPCG from the last eigenvectors on forward-over-reverse products, those of a block vectorised.

    Args:
        problem: where.
        step: seed of the first start.
        k: pairs, the size of the block.
        tol: relative residual.
        memory: (k, P), the last eigenvectors.
        anew: whether the basis is multiplied anew in every iteration; else only residuals that are too large are.

    Returns:
        The pairs.

    Raises:
        RuntimeError: the block takes more than `MOST_ITERATIONS` products.

    Source: Knyazev 2001 (SIAM J. Sci. Comput. 23).
    """
    operator = Counted(forward_over_reverse(problem))
    if memory is None:
        noise = np.random.default_rng(step).standard_normal((k, len(problem.theta)))
        memory = torch.from_numpy(noise).to(problem.theta)
    space = _orthonormal(memory)
    images = operator(space)
    while operator.rows < MOST_ITERATIONS:
        projection = (space @ images.T).double()
        values, coefficients = torch.linalg.eigh((projection + projection.T) / 2)
        best = coefficients.flip(1)[:, :k].T.to(space)
        vectors = best @ space
        multiplied = operator(vectors) if anew else best @ images
        top = values.flip(0)[:k].to(space)
        residuals = multiplied - top[:, None] * vectors
        lagging = torch.linalg.vector_norm(residuals, dim=1) > tol * top.abs()
        if not lagging.any():
            return Measurement(Found(top, vectors, operator.rows), memory=vectors)
        moves = _directions(best)
        directions = moves @ space
        added = _orthonormal(residuals if anew else residuals[lagging], vectors, directions)
        space = torch.cat((vectors, added, directions))
        images = operator(space) if anew else torch.cat((multiplied, operator(added), moves @ images))
    raise RuntimeError(f"LOBPCG did not converge in {MOST_ITERATIONS} products")


class Counted:
    """An operator on blocks that counts the rows it has multiplied."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self.rows = 0

    def __call__(self, block: Tensor) -> Tensor:
        """The images of the rows."""
        self.rows += len(block)
        return self._operator(block)


def forward_over_reverse(problem: Problem) -> Operator:
    """Products with the Hessian by forward-mode differentiation of the gradient: (j, P) to (j, P)."""
    theta, grad = problem.theta, torch.func.grad(problem.loss)
    multiply = torch.func.vmap(lambda vector: torch.func.jvp(grad, (theta,), (vector,))[1])

    def without_warning(vectors: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".torch.jit.script. is deprecated")  # torch's own use of it
            return multiply(vectors)

    return without_warning


def _directions(best: Tensor) -> Tensor:
    """What the step from the block, the first coordinates, to its Ritz vectors adds; orthonormal rows, beside them."""
    steps = best.double().clone()
    steps[:, : len(best)] = 0
    steps -= steps @ best.T.double() @ best.double()
    _, sizes, rows = torch.linalg.svd(steps, full_matrices=False)
    return rows[sizes > _NO_STEP].to(best)


def _orthonormal(rows: Tensor, *others: Tensor) -> Tensor:
    for _ in range(2):
        for other in others:
            rows = rows - rows @ other.T @ other
        rows = torch.linalg.qr(rows.T)[0].T
    return rows


def _unit(vector: Tensor) -> Tensor:
    return vector / torch.linalg.vector_norm(vector)


FOLLOWERS: dict[str, Follower] = {
    "stepscape": not_audited,
    "stepscape, audited": audited,
    "eigsh, rebuilt products": eigsh,
    "power iteration, deflated": power_iteration,
    "warm LOBPCG, basis anew": lobpcg,
    "warm LOBPCG, images carried": lobpcg_carried,
}
"""What is compared; the first is what CPU time is a ratio of, and the second what studies do."""
