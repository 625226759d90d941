"""The complementarity solver: closed forms, random problems, and another method."""

from __future__ import annotations

import numpy as np
import pytest

from stepscape.curvature.complementarity import Array, pairs, solve_complementarity, weights


def problem(k: int, seed: int, condition: float = 100.0) -> tuple[Array, Array]:
    """A random offset, and an operator of spectrum 1/condition to 1 whose antisymmetric part is a tenth of it."""
    random = np.random.default_rng([k, seed])
    size = k * (k + 1) // 2
    rotation = np.linalg.qr(random.standard_normal((size, size)))[0]
    operator = rotation * np.geomspace(1 / condition, 1, size) @ rotation.T
    tilt = random.standard_normal((size, size)) * 0.1 / condition
    half = random.standard_normal((k, k))
    return (half + half.T) * 1e-3, (operator + tilt - tilt.T) * 1e2


def image(offset: Array, operator: Array, x: Array) -> Array:
    """A + B[X], with no code of the solver."""
    k = len(offset)
    found = offset.copy()
    places = [(i, j) for i in range(k) for j in range(i, k)]
    for p, (i, j) in enumerate(places):
        for q, (l, m) in enumerate(places):  # noqa: E741 (indices as in the formula)
            scale = (1 if i == j else 2**-0.5) * (1 if l == m else 2**0.5)
            found[i, j] += operator[p, q] * scale * x[l, m]
        found[j, i] = found[i, j]
    return found


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6, 10])
@pytest.mark.parametrize("condition", [10.0, 1e4])
def test_random_problems_are_solved(k: int, condition: float) -> None:
    worst, ranks = 0.0, set()
    for seed in range(15):
        offset, operator = problem(k, seed, condition)
        found = solve_complementarity(offset, operator)
        y = image(offset, operator, found.matrix)
        size, height = np.linalg.norm(found.matrix, 2) or 1.0, np.linalg.norm(offset, 2)
        faults = [
            -np.linalg.eigvalsh(found.matrix)[0] / size,
            -np.linalg.eigvalsh(y)[0] / height,
            abs(np.trace(found.matrix @ y)) / (size * height),
        ]
        worst = max(worst, *faults)
        assert found.residual == pytest.approx(max(0.0, *faults), abs=1e-10)
        ranks.add(int((np.linalg.eigvalsh(found.matrix) > 1e-5 * size).sum()))
    print(f"k = {k}, condition {condition:g}: worst residual {worst:.1e}; ranks {sorted(ranks)}")
    assert worst < 1e-8
    assert len(ranks) > 1, "solutions of one rank alone try little"


def test_one_row_is_a_closed_form() -> None:
    for offset, expected in ((-0.3, 0.15), (0.3, 0.0)):
        found = solve_complementarity(np.array([[offset]]), np.array([[2.0]]))
        assert found.matrix[0, 0] == pytest.approx(expected)
        assert found.residual == pytest.approx(0, abs=1e-15)


def test_separate_rows_are_closed_forms() -> None:
    """A diagonal, B the identity: X is the negative part of -A."""
    found = solve_complementarity(np.diag([-2.0, 1.0, -0.5]), np.eye(6))
    np.testing.assert_allclose(found.matrix, np.diag([2.0, 0.0, 0.5]), atol=1e-9)


def test_off_diagonals_matter_and_the_identity_projects() -> None:
    """With B the identity X is the projection of -A on the positive semidefinite matrices, whatever their basis."""
    half = np.random.default_rng(1).standard_normal((4, 4))
    values, vectors = np.linalg.eigh(half + half.T)
    expected = vectors * np.maximum(-values, 0) @ vectors.T
    found = solve_complementarity(half + half.T, np.eye(10)).matrix
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert np.abs(expected - np.diag(np.diag(expected))).max() > 0.1


def test_projected_gradients_reach_the_same_solution() -> None:
    """Of the symmetric case, which is the minimum of <X, B[X]> / 2 + <A, X>: another method, with no inverse."""
    for k in (2, 4):
        offset, operator = problem(k, 7, condition=10)
        operator = (operator + operator.T) / 2
        step = 1 / np.linalg.eigvalsh(operator)[-1]
        x = np.zeros((k, k))
        for _ in range(3000):
            values, vectors = np.linalg.eigh(x - step * image(offset, operator, x))
            x = vectors * np.maximum(values, 0) @ vectors.T
        found = solve_complementarity(offset, operator).matrix
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-5 * np.abs(x).max())


@pytest.mark.parametrize("bad", [np.zeros((3, 3)), -np.eye(3), np.full((3, 3), np.nan)])
def test_what_has_no_solution_says_so(bad: Array) -> None:
    assert solve_complementarity(-np.eye(2), bad).residual > 1e-3


def test_coordinates_keep_products() -> None:
    rows, columns = pairs(3)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    half = np.random.default_rng(0).standard_normal((2, 3, 3))
    one, other = half + half.swapaxes(1, 2)
    product = (one[pairs(3)] * weights(3)) @ (other[pairs(3)] * weights(3))
    assert product == pytest.approx(np.trace(one @ other))
