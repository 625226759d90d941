"""Largest eigenpairs against dense eigendecompositions, and what must not go wrong in silence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from stepscape.curvature import ROUNDING_FLOOR, Eigenpairs, hvp, preconditioned, top_eigenpairs
from tests.cases import PROBLEMS
from tests.references import dense_hessian, dense_top

K = 5
HESSIANS = {name: dense_hessian(problem.loss, problem.theta) for name, problem in PROBLEMS.items()}


def diagonal(spectrum: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda vector: spectrum.to(vector.dtype) * vector


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def solve(spectrum: Tensor, k: int, **options) -> Eigenpairs:
    return top_eigenpairs(diagonal(spectrum), len(spectrum), k, **{"dtype": torch.float64, **options})


def assert_within(pairs: Eigenpairs, expected: Tensor, bounds: Tensor) -> None:
    error = (pairs.values - expected).abs()
    worst = int((error - bounds).argmax())
    assert (error <= bounds).all(), (
        f"pair {worst}: {pairs.values[worst]} for {expected[worst]}, error {error[worst]:.2e} > {bounds[worst]:.2e}, "
        f"residual {pairs.residuals[worst]:.2e}"
    )


def assert_eigenpairs(pairs: Eigenpairs, matrix: Tensor, bound: float) -> None:
    """Unit vectors, orthogonal to each other, whose residuals are the ones reported, up to `bound` * |H|."""
    vectors, norm = pairs.vectors.double(), torch.linalg.matrix_norm(matrix, 2)
    gram = vectors @ vectors.T
    assert (gram - torch.eye(len(gram), dtype=torch.float64)).abs().max() <= bound
    residuals = torch.linalg.vector_norm(vectors @ matrix - pairs.values[:, None] * vectors, dim=1)
    reported = torch.where(pairs.values == 0, residuals, pairs.residuals * pairs.values.abs())
    difference = (residuals - reported).abs()
    assert difference.max() <= bound * norm, f"pair {int(difference.argmax())}: {residuals}, {pairs}"


# A linear model under mse has every eigenvalue once for each output: only the search finds more than one of them.
@pytest.mark.parametrize(
    ("name", "search"),
    [(name, search) for name in PROBLEMS for search in (True, False) if search or name != "linear-mse"],
)
def test_float64_eigenvalues_are_those_of_the_dense_hessian(name: str, search: bool) -> None:
    problem, matrix = PROBLEMS[name], HESSIANS[name]
    pairs = top_eigenpairs(
        hvp(problem.loss, problem.theta), problem.dim, K, tol=1e-4, dtype=torch.float64, search=search
    )
    expected = dense_top(matrix, K + 1)
    assert pairs.converged.all()
    assert_eigenpairs(pairs, matrix, 1e-13)
    assert_within(pairs, expected[:K], pairs.residuals * pairs.values.abs() + 1e-13 * expected[0])
    if expected[K - 1] - expected[K] >= 0.01 * expected[K - 1].abs():
        assert_within(pairs, expected[:K], 1e-5 * expected[:K].abs())


def test_most_problems_have_the_gap_that_the_tight_bound_needs() -> None:
    tops = [dense_top(matrix, K + 1) for matrix in HESSIANS.values()]
    assert sum(bool(top[-2] - top[-1] >= 0.01 * top[-2].abs()) for top in tops) >= len(tops) - 2


@pytest.mark.parametrize("name", PROBLEMS)
def test_float32_eigenvalues_are_those_of_the_dense_hessian(name: str) -> None:
    problem, matrix = PROBLEMS[name], HESSIANS[name]
    pairs = top_eigenpairs(hvp(problem.loss, problem.theta.float()), problem.dim, K, tol=1e-4)
    expected = dense_top(matrix, K)
    assert pairs.converged.all()
    assert pairs.vectors.dtype == torch.float32
    assert pairs.values.dtype == pairs.residuals.dtype == torch.float64
    assert_eigenpairs(pairs, matrix, 3e-6)
    assert_within(pairs, expected, pairs.residuals * pairs.values.abs() + 3e-6 * expected[0])


@pytest.mark.parametrize("bottom", [1, 3])
@pytest.mark.parametrize("name", [name for name in PROBLEMS if not name.startswith("linear")])
def test_both_ends_are_those_of_the_dense_hessian(name: str, bottom: int) -> None:
    """To a tolerance relative to each; the smallest of a linear model repeat, and are returned once."""
    problem, matrix = PROBLEMS[name], HESSIANS[name]
    pairs = top_eigenpairs(
        hvp(problem.loss, problem.theta), problem.dim, 2, bottom=bottom, tol=1e-4, dtype=torch.float64
    )
    dense = dense_top(matrix, problem.dim)
    assert pairs.converged.all()
    assert_eigenpairs(pairs, matrix, 1e-13)
    bounds = pairs.residuals * pairs.values.abs() + 1e-12 * dense[0]
    assert_within(pairs, torch.cat((dense[:2], dense[-bottom:])), bounds)


@pytest.mark.parametrize("name", ["tanh_mlp-mse", "wide_mlp-cross_entropy", "cnn-mse"])
def test_warm_start_at_both_ends_takes_fewer_products_and_agrees(name: str) -> None:
    problem, matrix = PROBLEMS[name], HESSIANS[name]
    vectors = torch.linalg.eigh(matrix)[1].flip(1).T[[0, 1, -1]]
    noise = torch.from_numpy(seeded(0).standard_normal(vectors.shape)) / problem.dim**0.5
    start = vectors + 0.03 * noise
    start /= start.norm(dim=1, keepdim=True)
    options = {"bottom": 1, "tol": 1e-2, "dtype": torch.float64, "search": False}
    multiply = hvp(problem.loss, problem.theta)
    cold, warm = (top_eigenpairs(multiply, problem.dim, 2, start=first, **options) for first in (None, start))
    expected = dense_top(matrix, problem.dim)[[0, 1, -1]]
    print(f"{name}: {cold.products} products cold, {warm.products} warm")
    for pairs in (cold, warm):
        assert_within(pairs, expected, 1e-3 * expected.abs())
    assert warm.products < cold.products
    assert ((warm.vectors * start).sum(1) > 0.9).all()


def test_preconditioned_eigenvalues_are_those_of_the_nonsymmetric_matrix() -> None:
    problem, matrix = PROBLEMS["tanh_mlp-mse"], HESSIANS["tanh_mlp-mse"]
    preconditioner = torch.linspace(-2, 2, problem.dim, dtype=torch.float64).exp()
    operator = preconditioned(hvp(problem.loss, problem.theta), preconditioner)
    pairs = top_eigenpairs(operator, problem.dim, K, tol=1e-6, dtype=torch.float64)
    expected = torch.linalg.eigvals(matrix / preconditioner[:, None]).real.sort(descending=True).values[:K]
    assert_within(pairs, expected, 1e-9 * expected)
    vectors = pairs.vectors * preconditioner**-0.5
    torch.testing.assert_close(
        vectors @ matrix / preconditioner, pairs.values[:, None] * vectors, rtol=0, atol=1e-5 * expected[0].item()
    )


@pytest.mark.parametrize("drift", [0.0, 1e-3, 1e-2])
@pytest.mark.parametrize("search", [True, False])
def test_start_without_the_top_eigenvector_still_finds_it(drift: float, search: bool) -> None:
    matrix = HESSIANS["wide_mlp-mse"]
    values, vectors = torch.linalg.eigh(matrix)
    top, first, blind = values.flip(0)[:K], vectors[:, -1], vectors.flip(1).T[1 : K + 1]
    found = []
    for repeat in range(20):
        noise = torch.from_numpy(seeded(repeat).standard_normal(blind.shape)) / len(first) ** 0.5
        start = blind + drift * (noise - torch.outer(noise @ first, first))
        pairs = top_eigenpairs(
            lambda vector: matrix @ vector,
            len(first),
            K,
            start=start / start.norm(dim=1, keepdim=True),
            generator=seeded(100 + repeat),
            dtype=torch.float64,
            search=search,
        )
        found.append(
            bool(((pairs.values - top).abs() <= 1e-3 * top).all() and (pairs.vectors[0] @ first).abs() > 0.999)
        )
    assert sum(found) == 20, f"missed in repeats {[repeat for repeat, right in enumerate(found) if not right]}"


@pytest.mark.parametrize("k", [1, 2])
def test_search_finds_the_top_eigenvector_that_a_loose_tolerance_leaves_no_time_for(k: int) -> None:
    matrix = HESSIANS["wide_mlp-mse"]
    values, vectors = torch.linalg.eigh(matrix)
    start = vectors.flip(1).T[1 : k + 1]

    def first_value(seed: int, search: bool) -> Tensor:
        return top_eigenpairs(
            lambda vector: matrix @ vector,
            len(matrix),
            k,
            tol=1e-2,
            start=start,
            generator=seeded(seed),
            dtype=torch.float64,
            search=search,
        ).values[0]

    found = {
        search: [bool(first_value(seed, search) > 0.999 * values[-1]) for seed in range(20)] for search in (True, False)
    }
    assert all(found[True]), found[True]
    assert not all(found[False])


@pytest.mark.parametrize("copies", [2, 3, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_repeated_eigenvalues_are_found_as_often_as_they_occur(copies: int, dtype: torch.dtype) -> None:
    spectrum = torch.arange(1, 501, dtype=torch.float64) ** -0.7
    spectrum[1 : 1 + copies] = spectrum[1].clone()
    expected = spectrum[:K]
    right = 0
    for seed in range(10):
        pairs = solve(spectrum, K, generator=seeded(seed), dtype=dtype)
        right += bool(((pairs.values - expected).abs() <= 1e-3 * expected).all())
    assert right == 10


@pytest.mark.parametrize(("search", "all_right"), [(True, True), (False, False)])
def test_two_eigenvalues_closer_than_the_tolerance_are_two(search: bool, all_right: bool) -> None:
    top = torch.tensor([0.547, 0.520, 0.509, 0.4679, 0.4651, 0.4543, 0.4068, 0.4004], dtype=torch.float64)
    spectrum = torch.cat((top, 0.38 * torch.linspace(1, 0, 1500, dtype=torch.float64) ** 4))
    solved = [solve(spectrum, K, tol=1e-2, generator=seeded(seed), search=search) for seed in range(20)]
    right = [bool(((pairs.values - top[:K]).abs() <= 5e-3 * top[:K]).all()) for pairs in solved]
    assert all(pairs.converged.all() for pairs in solved)
    assert all(right) == all_right, right


def test_without_the_search_repeated_eigenvalues_are_skipped() -> None:
    spectrum = torch.arange(1, 501, dtype=torch.float64) ** -0.7
    spectrum[1] = 1.0
    pairs = solve(spectrum, 3, search=False)
    assert pairs.converged.all()
    assert_within(pairs, spectrum[[0, 2, 3]], 1e-5 * spectrum[:3])


DEGENERATE = {
    "dim 1": (torch.tensor([-3.0]), 1),
    "zero": (torch.zeros(200), 3),
    "zero, k = dim": (torch.zeros(4), 4),
    "identity": (torch.ones(120), 4),
    "k = dim": (torch.linspace(-2, 5, 12), 12),
    "k = dim, beyond one basis": (torch.linspace(-2, 5, 90), 90),
    "rank below k": (torch.cat((torch.tensor([7.0, 2.0]), torch.zeros(298))), 5),
    "indefinite, rank below k": (torch.cat((torch.tensor([5.0, 3.0, -1.0, -2.0]), torch.zeros(296))), 4),
    "negative definite": (-torch.arange(1, 151).double(), 3),
    "negative, repeated": (-torch.arange(1, 301).double().div(3).ceil(), 4),
    "one large negative": (torch.cat((torch.tensor([-1e6]), torch.linspace(0.1, 4, 150))), 3),
    "one large positive": (torch.cat((torch.tensor([1e6]), torch.linspace(0.1, 4, 150))), 3),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_operators(case: str, dtype: torch.dtype) -> None:
    spectrum, k = DEGENERATE[case]
    spectrum = spectrum.double()
    pairs = solve(spectrum, k, dtype=dtype, max_products=2000)
    expected = spectrum.sort(descending=True).values[:k]
    assert pairs.converged.all()
    assert (pairs.values.diff() <= 0).all()
    assert_eigenpairs(pairs, torch.diag(spectrum), ROUNDING_FLOOR[dtype])
    floor = ROUNDING_FLOOR[dtype] * spectrum.abs().max()
    assert_within(pairs, expected, torch.maximum(1e-3 * expected.abs(), floor))


DISTINCT_BELOW = ["dim 1", "k = dim", "k = dim, beyond one basis", "indefinite, rank below k", "negative definite"]
DISTINCT_BELOW += ["one large negative", "one large positive"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", DISTINCT_BELOW)
def test_degenerate_operators_at_both_ends(case: str, dtype: torch.dtype) -> None:
    spectrum, k = DEGENERATE[case]
    spectrum, bottom = spectrum.double(), min(2, len(spectrum) - 1)
    pairs = solve(spectrum, min(k, len(spectrum) - bottom), bottom=bottom, dtype=dtype, max_products=2000)
    ordered = spectrum.sort(descending=True).values
    expected = torch.cat((ordered[: min(k, len(spectrum) - bottom)], ordered[len(spectrum) - bottom :]))
    assert pairs.converged.all()
    assert (pairs.values.diff() <= 0).all()
    assert_eigenpairs(pairs, torch.diag(spectrum), ROUNDING_FLOOR[dtype])
    floor = ROUNDING_FLOOR[dtype] * spectrum.abs().max()
    assert_within(pairs, expected, torch.maximum(1e-3 * expected.abs(), floor))


@pytest.mark.parametrize("search", [True, False])
def test_start_in_the_exact_eigenspace(search: bool) -> None:
    spectrum = torch.linspace(1, 0, 200, dtype=torch.float64) ** 4
    start = torch.eye(200, dtype=torch.float64)[:K]
    pairs = solve(spectrum, K, start=start, search=search)
    assert_within(pairs, spectrum[:K], 1e-5 * spectrum[:K])
    assert ((pairs.vectors * start).sum(1) > 0.99).all()


def test_start_that_cancels_is_a_cold_one() -> None:
    spectrum = torch.linspace(1, 0, 200, dtype=torch.float64) ** 4
    row = torch.eye(200, dtype=torch.float64)[:1]
    pairs = solve(spectrum, 3, start=torch.cat((row, -row)))
    assert_within(pairs, spectrum[:3], 1e-5 * spectrum[:3])


def test_restarts_keep_converging() -> None:
    spectrum = torch.linspace(0, 1, 400, dtype=torch.float64)
    pairs = solve(spectrum, 3, tol=1e-7, max_products=2000)
    assert pairs.products > 2 * (2 * 3 + 40)
    assert_eigenpairs(pairs, torch.diag(spectrum), 1e-13)
    assert_within(pairs, spectrum.flip(0)[:3], torch.full((3,), 1e-11, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-24, 1e24])
def test_magnitude_does_not_matter(scale: float) -> None:
    spectrum = torch.arange(1, 201, dtype=torch.float64) ** -1.0
    pairs = solve(scale * spectrum, K, dtype=torch.float32)
    assert pairs.converged.all()
    assert_within(pairs, scale * spectrum[:K], 1e-5 * scale * spectrum[:K])


def test_eigenvalues_whose_squares_leave_the_range_of_float64_are_not_known() -> None:
    """As of a run that is about to diverge: no warning, no number."""
    pairs = solve(1e200 * torch.arange(1, 201, dtype=torch.float64) ** -1.0, 3)
    assert torch.isnan(torch.as_tensor(pairs.values)).all()
    assert not pairs.converged.any()


def test_products_are_counted_and_fewer_than_arpack_takes() -> None:
    problem = PROBLEMS["wide_mlp-mse"]
    multiply = hvp(problem.loss, problem.theta)
    ours, arpack = [], []

    def operator(vector: Tensor) -> Tensor:
        ours.append(vector)
        return multiply(vector)

    def arpack_operator(vector: np.ndarray) -> np.ndarray:
        arpack.append(vector)
        return multiply(torch.from_numpy(vector.ravel().copy())).numpy()

    pairs = top_eigenpairs(operator, problem.dim, K, dtype=torch.float64)
    eigsh(
        LinearOperator((problem.dim,) * 2, matvec=arpack_operator, dtype=np.float64),
        k=K,
        which="LA",
        v0=np.ones(problem.dim),
    )
    assert pairs.products == len(ours) < len(arpack)


def test_products_run_out() -> None:
    spectrum = torch.linspace(0, 1, 400, dtype=torch.float64)
    pairs = solve(spectrum, 3, max_products=9)
    assert pairs.products == 9
    assert not pairs.converged.any()
    assert (pairs.residuals > 1e-3).all()
    assert (pairs.values <= spectrum.flip(0)[:3]).all()
    assert_eigenpairs(pairs, torch.diag(spectrum), 1e-13)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("product", [1, 7, 30])
def test_product_that_is_not_finite_ends_in_nan(bad: float, product: int) -> None:
    calls = 0

    def operator(vector: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        result = torch.linspace(0, 1, 300) * vector
        result[5] = bad if calls == product else result[5]
        return result

    pairs = top_eigenpairs(operator, 300, 2)
    assert pairs.products == product
    assert pairs.values.isnan().all()
    assert pairs.residuals.isnan().all()
    assert pairs.vectors.shape == (2, 300)
    assert pairs.vectors.isnan().all()
    assert pairs.converged.tolist() == [False, False]


def test_product_that_is_not_finite_in_the_search_ends_in_nan() -> None:
    spectrum = torch.arange(1, 301, dtype=torch.float64) ** -1.0
    without = solve(spectrum, 2, search=False).products
    calls = 0

    def operator(vector: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return spectrum * vector if calls <= without else torch.full_like(vector, torch.nan)

    pairs = top_eigenpairs(operator, 300, 2, dtype=torch.float64)
    assert pairs.products == without + 1
    assert pairs.values.isnan().all()


def misaligned(vector: Tensor, offset: int) -> Tensor:
    memory = torch.empty(vector.numel() + offset, dtype=vector.dtype)
    memory[offset:] = vector
    return memory[offset:]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_bits_wherever_the_memory_starts(dtype: torch.dtype) -> None:
    spectrum = torch.arange(1, 604, dtype=dtype) ** -0.5  # an odd dim
    solved = []
    for offset in [0, 0, 1, 3, 7, 13]:
        start = misaligned(torch.ones(603, dtype=dtype) / 603**0.5, offset)[None]
        operator = lambda vector, offset=offset: misaligned(spectrum * vector, offset)  # noqa: E731
        solved.append(top_eigenpairs(operator, 603, 3, start=start, dtype=dtype, generator=seeded(1)))
    for pairs in solved[1:]:
        assert pairs.products == solved[0].products
        for field in ("values", "vectors", "residuals"):
            assert torch.equal(getattr(pairs, field), getattr(solved[0], field)), field


def test_operator_is_given_aligned_vectors() -> None:
    starts = []

    def operator(vector: Tensor) -> Tensor:
        starts.append(vector.data_ptr() % 64)
        return torch.linspace(0, 1, 203) * vector

    top_eigenpairs(operator, 203, 2)
    assert set(starts) == {0}


def test_generator_decides_the_bits() -> None:
    spectrum = torch.arange(1, 301, dtype=torch.float64) ** -1.0
    default, zero, one = (
        solve(spectrum, 2),
        solve(spectrum, 2, generator=seeded(0)),
        solve(spectrum, 2, generator=seeded(1)),
    )
    assert torch.equal(default.vectors, zero.vectors)
    assert not torch.equal(default.vectors, one.vectors)


def test_signs_follow_the_start_or_the_largest_entry() -> None:
    spectrum = torch.arange(1, 301, dtype=torch.float64) ** -1.0
    cold = solve(spectrum, 3)
    assert (cold.vectors.gather(1, cold.vectors.abs().argmax(1, keepdim=True)) > 0).all()
    start = cold.vectors * torch.tensor([[1.0], [-1.0], [-1.0]])
    assert ((solve(spectrum, 3, start=start).vectors * start).sum(1) > 0).all()
    fewer = solve(spectrum, 2, start=start)
    assert (fewer.vectors.gather(1, fewer.vectors.abs().argmax(1, keepdim=True)) > 0).all()


REFUSALS = {
    "k of zero": ({"k": 0}, r"k is 0; allowed: 1 to dim = 8"),
    "k beyond dim": ({"k": 9}, r"k is 9; allowed: 1 to dim = 8"),
    "tol below float32": ({"tol": 1e-6}, r"tol is 1e-06; allowed: below 1 .*float32, at least 1e-05"),
    "tol below float64": ({"tol": 1e-13, "dtype": torch.float64}, r"tol is 1e-13; .*float64, at least 1e-12"),
    "tol of one": ({"tol": 1.0}, r"tol is 1; allowed: below 1"),
    "tol of nan": ({"tol": float("nan")}, r"tol is nan; allowed"),
    "half precision": ({"dtype": torch.float16}, r"torch.float16; allowed: torch.float32, torch.float64"),
    "vector as start": ({"start": torch.ones(8)}, r"start has shape \(8,\); allowed: \(j, 8\)"),
    "start of another length": ({"start": torch.ones(2, 7)}, r"start has shape \(2, 7\); allowed: \(j, 8\)"),
    "start without rows": ({"start": torch.ones(0, 8)}, r"start has shape \(0, 8\); allowed: \(j, 8\)"),
    "bottom below zero": ({"bottom": -1}, r"bottom is -1; allowed: 0 to dim - k = 6"),
    "bottom beyond dim": ({"bottom": 7}, r"bottom is 7; allowed: 0 to dim - k = 6"),
    "too few products for both": ({"bottom": 2, "max_products": 3}, r"max_products is 3; .* k \+ bottom = 4"),
    "too few products": ({"max_products": 1}, r"max_products is 1; allowed: at least k \+ bottom = 2"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_what_is_allowed(case: str) -> None:
    options, message = REFUSALS[case]
    with pytest.raises(ValueError, match=message):
        top_eigenpairs(lambda vector: vector, 8, **{"k": 2, **options})


def test_operator_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(1, 8\); allowed: \(8,\)"):
        top_eigenpairs(lambda vector: vector[None], 8, 2)
