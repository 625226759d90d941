"""Eigensolvers, one function each, all of one shape: (problem, k, tol, seed) to the pairs and what they cost.

Everything that a user would have to do is inside: building the operator, converting vectors, all products.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.problem import Problem
from stepscape.curvature import hvp, top_eigenpairs

_LOADED = 1000  # images in a batch of the code of arXiv:2103.00065


@dataclass(frozen=True)
class Found:
    """What a solver returns.

    Attributes:
        values: (k,), descending.
        vectors: (k, P), unit norm.
        products: how often the Hessian was multiplied with a vector.
    """

    values: Tensor
    vectors: Tensor
    products: int


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *given: Any) -> Any:
        """The function's value."""
        self.calls += 1
        return self.function(*given)


def ours(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """`top_eigenpairs` from a cold start, with the search for what the start has missed."""
    return _ours(problem, k, tol, seed, search=True)


def ours_without_search(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """`top_eigenpairs` from a cold start."""
    return _ours(problem, k, tol, seed, search=False)


def _ours(problem: Problem, k: int, tol: float, seed: int, *, search: bool) -> Found:
    theta = problem.theta
    random = np.random.default_rng(seed)
    operator = hvp(problem.loss, theta)
    pairs = top_eigenpairs(operator, len(theta), k, tol=tol, generator=random, dtype=theta.dtype, search=search)
    return Found(pairs.values, pairs.vectors, pairs.products)


def edge_of_stability(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """What the code of arXiv:2103.00065 does: `eigsh` at tol 0, for the largest magnitude, from a start of its own."""
    # That code loads the images and builds the gradient's graph anew for every product, and names no dtype.
    dataset = TensorDataset(problem.inputs, problem.targets)

    def multiply(vector: np.ndarray) -> np.ndarray:
        direction = torch.tensor(vector, dtype=problem.theta.dtype).flatten()
        product = torch.zeros_like(direction)
        for inputs, targets in DataLoader(dataset, batch_size=_LOADED, shuffle=False):
            loss = problem.criterion(problem.module(inputs), targets) * (len(inputs) / len(dataset))
            product += _rebuilt_product(loss, problem.parameters, direction)
        return product.numpy()

    return _arpack(Counted(multiply), len(problem.theta), k)


def eigsh_rebuilt(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """The same with the images at hand as one tensor."""

    def multiply(vector: np.ndarray) -> np.ndarray:
        direction = torch.tensor(vector, dtype=problem.theta.dtype).flatten()
        return _rebuilt_product(problem.module_loss(), problem.parameters, direction).numpy()

    return _arpack(Counted(multiply), len(problem.theta), k)


def _rebuilt_product(loss: Tensor, parameters: list[Tensor], direction: Tensor) -> Tensor:
    grads = torch.autograd.grad(loss, parameters, create_graph=True)
    along = nn.utils.parameters_to_vector(grads) @ direction
    return nn.utils.parameters_to_vector(torch.autograd.grad(along, parameters))


def eigsh_kept(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """ARPACK at the same tolerance, on products whose graph is kept."""
    theta = problem.theta
    product = hvp(problem.loss, theta)
    operator = Counted(lambda vector: product(torch.from_numpy(vector.ravel()).to(theta)).numpy())
    return _arpack(operator, len(theta), k, which="LA", tol=tol, v0=_start(len(theta), seed))


def pyhessian(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """PyHessian: power iteration with deflation, stopped when the eigenvalue changes by less than tol."""
    package = import_module("pyhessian.hessian")  # the package gives the same name to a class
    torch.manual_seed(seed)
    product = Counted(package.hessian_vector_product)
    with patch.object(package, "hessian_vector_product", product), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")
        data = (problem.inputs, problem.targets)
        solver = package.hessian(problem.module, problem.criterion, data=data, cuda=False)
        values, vectors = solver.eigenvalues(tol=tol, top_n=k)
    problem.module.zero_grad(set_to_none=True)  # its backward pass leaves a graph on the parameters
    rows = torch.stack([nn.utils.parameters_to_vector(vector).detach() for vector in vectors])
    return _sorted(torch.tensor(values), rows, product.calls)


def hessian_eigenthings_default(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """hessian-eigenthings: Lanczos with as many steps as it takes unless told, 2k."""
    return _hessian_eigenthings(problem, k, tol, seed, steps=2 * k)


def hessian_eigenthings_long(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """hessian-eigenthings: Lanczos with 6k steps, which are enough here; it has no rule that ends it."""
    return _hessian_eigenthings(problem, k, tol, seed, steps=6 * k)


def _hessian_eigenthings(problem: Problem, k: int, tol: float, seed: int, *, steps: int) -> Found:
    from hessian_eigenthings import HessianOperator, lanczos

    def loss(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return problem.criterion(module(batch[0]), batch[1])

    operator = HessianOperator(problem.module, [(problem.inputs, problem.targets)], loss)
    product = Counted(operator.matvec)
    with patch.object(operator, "matvec", product):
        found = lanczos(operator, k=k, max_iter=steps, tol=tol, which="LA", seed=seed)
    return _sorted(found.eigenvalues, found.eigenvectors, product.calls)


def curvlinops(problem: Problem, k: int, tol: float, seed: int) -> Found:
    """ARPACK at the same tolerance on curvlinops' Hessian, without its check of determinism."""
    from curvlinops import HessianLinearOperator

    data = [(problem.inputs, problem.targets)]
    loss = nn.MSELoss(reduction="sum")  # one of the losses that it takes: 2N times ours
    hessian = HessianLinearOperator(problem.module, loss, problem.parameters, data, check_deterministic=False)
    product = Counted(hessian.to_scipy().matvec)
    dim = len(problem.theta)
    found = _arpack(product, dim, k, dtype=np.float32, which="LA", tol=tol, v0=_start(dim, seed))
    return Found(found.values / (2 * len(problem.inputs)), found.vectors, found.products)


SOLVERS: dict[str, Callable[[Problem, int, float, int], Found]] = {
    "edge-of-stability": edge_of_stability,
    "the same, images at hand": eigsh_rebuilt,
    "eigsh, kept products": eigsh_kept,
    "stepscape": ours,
    "stepscape, search=False": ours_without_search,
    "pyhessian": pyhessian,
    "hessian-eigenthings, 2k steps": hessian_eigenthings_default,
    "hessian-eigenthings, 6k steps": hessian_eigenthings_long,
    "curvlinops in eigsh": curvlinops,
}
"""What is compared; the first is what CPU time is a ratio of."""

PACKAGES = {
    "pyhessian": "pyhessian",
    "hessian-eigenthings, 2k steps": "hessian_eigenthings",
    "hessian-eigenthings, 6k steps": "hessian_eigenthings",
    "curvlinops in eigsh": "curvlinops",
}
"""The package that a solver needs, where it is not one of Stepscape's own."""


def _arpack(operator: Counted, dim: int, k: int, *, dtype: Any = None, **options: Any) -> Found:
    # Without a dtype scipy finds it by one product of its own, which is counted too.
    values, vectors = eigsh(LinearOperator((dim, dim), matvec=operator, dtype=dtype), k, **options)
    return _sorted(torch.from_numpy(values), torch.from_numpy(vectors.T.copy()), operator.calls)


def _start(dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(dim)


def _sorted(values: Tensor, vectors: Tensor, products: int) -> Found:
    order = values.argsort(descending=True)
    rows = vectors[order]
    return Found(values[order], rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True), products)
