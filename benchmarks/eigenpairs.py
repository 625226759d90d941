"""The top eigenpairs of one Hessian by several packages: products, CPU seconds, errors.

Run from the repository's root as `python -m benchmarks.eigenpairs`; benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import scipy
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.problem import Problem, make_problem
from benchmarks.solvers import PACKAGES, SOLVERS, Found
from stepscape.curvature import Operator, hvp

REFERENCE_TOL = 1e-8
MOST_PRODUCTS, MOST_CPU = 32, 0.3
"""The bar for a cold solve of five pairs at tol 1e-3: products, and CPU seconds relative to the first solver."""


@dataclass(frozen=True)
class Reference:
    """The same Hessian in float64: its products, and its largest eigenvalues (k,)."""

    operator: Operator
    values: Tensor


@dataclass(frozen=True)
class Row:
    """One solver, over all repeats.

    Attributes:
        products: most products with the Hessian.
        seconds: median CPU seconds.
        residual: largest |Hv - lambda v| / |lambda|, computed in float64.
        error: largest relative error of an eigenvalue.
        bounded: whether every eigenvalue was within its residual of the reference's.
    """

    products: int
    seconds: float
    residual: float
    error: float
    bounded: bool


def solve_reference(problem: Problem, k: int) -> Reference:
    """The k largest eigenvalues in float64 by ARPACK.

    Args:
        problem: the problem, in float32.
        k: how many.

    Returns:
        The reference.

    Raises:
        RuntimeError: a residual is above `REFERENCE_TOL`.
    """
    exact = problem.double()
    operator = hvp(exact.loss, exact.theta)
    dim = len(exact.theta)
    product = LinearOperator((dim, dim), lambda v: operator(torch.from_numpy(v.ravel())).numpy(), dtype=np.float64)
    values, vectors = eigsh(product, k, which="LA", tol=REFERENCE_TOL, v0=np.random.default_rng(0).standard_normal(dim))
    found = Found(torch.from_numpy(values[::-1].copy()), torch.from_numpy(vectors.T[::-1].copy()), 0)
    worst = residuals(operator, found).max().item()
    if worst > REFERENCE_TOL:
        raise RuntimeError(f"the reference's residual is {worst:.1e}; it must be {REFERENCE_TOL:g} at most")
    return Reference(operator, found.values)


def residuals(operator: Operator, found: Found) -> Tensor:
    """|Hv - lambda v| / |lambda| of each pair (k,), in float64."""
    values, vectors = found.values.double(), found.vectors.double()
    images = torch.stack([operator(vector) for vector in vectors])
    return torch.linalg.vector_norm(images - values[:, None] * vectors, dim=1) / values.abs()


def measure(solver: str, problem: Problem, reference: Reference, tol: float, repeats: int) -> Row:
    """Runs a solver with the seeds 0 to repeats - 1."""
    seconds, products, worst, errors, bounded = [], [], [], [], True
    for seed in range(repeats):
        started = time.process_time()
        found = SOLVERS[solver](problem, len(reference.values), tol, seed)
        seconds.append(time.process_time() - started)
        products.append(found.products)
        residual = residuals(reference.operator, found)
        gaps = (found.values.double() - reference.values).abs()
        bounded &= bool((gaps <= residual * found.values.double().abs() + REFERENCE_TOL * reference.values.abs()).all())
        worst.append(residual.max().item())
        errors.append((gaps / reference.values.abs()).max().item())
    return Row(max(products), median(seconds), max(worst), max(errors), bounded)


def compare(problem: Problem, k: int, tol: float, repeats: int) -> Iterator[str]:
    """The table, line by line, and what became of the bar."""
    reference = solve_reference(problem, k)
    yield "largest eigenvalues: " + " ".join(f"{value:.6f}" for value in reference.values.tolist())
    yield ""
    yield f"{'solver':<32}{'products':>9}{'CPU s':>8}{'ratio':>7}{'residual':>10}{'error':>9}  within residual"
    SOLVERS["stepscape"](problem, k, tol, 0)  # the first solve of a process pays for its start
    rows: dict[str, Row] = {}
    for solver in SOLVERS:
        if solver in PACKAGES and find_spec(PACKAGES[solver]) is None:
            yield f"{solver:<32}not installed"
            continue
        row = rows[solver] = measure(solver, problem, reference, tol, repeats)
        ratio = row.seconds / rows[next(iter(SOLVERS))].seconds
        yield (
            f"{solver:<32}{row.products:>9}{row.seconds:>8.2f}{ratio:>7.2f}{row.residual:>10.1e}{row.error:>9.1e}"
            f"  {'yes' if row.bounded else 'no'}"
        )
    yield ""
    yield from judge(rows[next(iter(SOLVERS))], rows["stepscape"], tol)


def judge(first: Row, own: Row, tol: float) -> Iterator[str]:
    """What became of the bar, line by line."""
    share = own.seconds / first.seconds
    yield f"stepscape: {own.products} products, {bar(own.products <= MOST_PRODUCTS, f'at most {MOST_PRODUCTS}')}"
    yield f"stepscape: {share:.2f} of the first solver's CPU seconds, {bar(share <= MOST_CPU, f'at most {MOST_CPU:g}')}"
    yield f"stepscape: largest residual {own.residual:.1e}, {bar(own.residual <= tol, f'at most {tol:g}')}"
    yield f"stepscape: errors within residuals, {bar(own.bounded, 'all')}"


def bar(met: bool, wanted: str) -> str:
    """How a bar is reported."""
    return f"the bar is {wanted}: {'met' if met else 'NOT MET'}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eigenpairs", description=__doc__)
    parser.add_argument("--images", type=Path, help="npz with x_train (n, 32, 32, 3), y_train; default: generated")
    parser.add_argument("--samples", type=int, default=1000, help="training images")
    parser.add_argument("--hidden", type=int, nargs="+", default=[200, 200], help="widths of the hidden layers")
    parser.add_argument("--steps", type=int, default=100, help="of gradient descent before the Hessian is taken")
    parser.add_argument("--lr", type=float, default=0.02, help="of these steps")
    parser.add_argument("-k", type=int, default=5, help="eigenpairs")
    parser.add_argument("--tol", type=float, default=1e-3, help="relative residual")
    parser.add_argument("--repeats", type=int, default=3, help="solves each, from different random starts")
    options = parser.parse_args(arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            _report(options)
    finally:
        torch.set_num_threads(before)


def _report(options: argparse.Namespace) -> None:
    problem = make_problem(options.images, options.samples, options.hidden)
    problem.descend(options.steps, options.lr)
    source = f"of {options.images.name}" if options.images else "generated, no real ones: give --images"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, scipy {scipy.__version__}"
    print(f"{versions}, one thread, float32")
    print(f"{options.samples} images, {source}; hidden layers {options.hidden}, {len(problem.theta)} parameters")
    print(
        f"after {options.steps} steps of gradient descent, lr {options.lr:g}: loss {problem.module_loss().item():.4f}"
    )
    print(f"top {options.k}, tol {options.tol:g}; of {options.repeats} solves the median CPU seconds, else the worst")
    for line in compare(problem, options.k, options.tol, options.repeats):
        print(line, flush=True)


if __name__ == "__main__":
    main()
