"""Eigenpairs along a trajectory: warm starts, and audits that correct a blind one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stepscape.curvature import Tracked, hvp, top_eigenpairs, track_eigenpairs
from tests.cases import PROBLEMS
from tests.references import dense_hessian, dense_top

SPECTRUM = torch.cat((torch.linspace(5, 0, 60), torch.tensor([10.0, 9.0]), torch.linspace(1, 0, 39))).double()
SEEN = 60  # entries of the first block, in which the blind solver stays


class Blind(np.random.Generator):
    """Draws nothing outside the first block."""

    def standard_normal(self, size: int) -> np.ndarray:  # type: ignore[override]
        draw = super().standard_normal(size)
        draw[SEEN:] = 0.0
        return draw


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def blind() -> Blind:
    return Blind(np.random.PCG64(0))


def track(**options) -> Tracked:
    defaults = {"tol": 1e-4, "previous": torch.eye(101, dtype=torch.float64)[:2], "generator": blind()}
    return track_eigenpairs(lambda vector: SPECTRUM * vector, 101, 2, dtype=torch.float64, **{**defaults, **options})


def assert_values(tracked: Tracked, expected: list[float] | Tensor, relative: float = 1e-5) -> None:
    expected = torch.as_tensor(expected, dtype=torch.float64)
    error = ((tracked.pairs.values - expected) / expected).abs()
    assert error.max() <= relative, f"{tracked.pairs.values} for {expected}"


def test_blind_warm_start_is_wrong_without_an_audit() -> None:
    tracked = track()
    assert tracked.pairs.converged.all()
    assert_values(tracked, SPECTRUM[:2])
    assert math.isnan(tracked.audit)
    assert tracked.audit_products == 0


def test_audit_catches_a_blind_warm_start_and_replaces_it() -> None:
    tracked = track(audit_generator=seeded(1))
    assert_values(tracked, [10.0, 9.0])
    assert tracked.audit == pytest.approx((10.0 - SPECTRUM[0].item()) / 10.0, rel=1e-5)
    assert tracked.pairs.vectors[0].abs().argmax() == SEEN
    assert tracked.pairs.products == track().pairs.products


def test_audit_keeps_the_warm_pairs_where_the_cold_ones_are_blind() -> None:
    tracked = track(generator=seeded(1), audit_generator=blind())
    assert_values(tracked, [10.0, 9.0])
    assert tracked.audit == pytest.approx((10.0 - SPECTRUM[0].item()) / SPECTRUM[0].item(), rel=1e-5)


def test_random_part_of_a_warm_start_needs_no_audit() -> None:
    assert_values(track(generator=seeded(1)), [10.0, 9.0])


def test_audit_finds_repeated_eigenvalues_that_a_warm_solve_without_search_skips() -> None:
    spectrum = torch.arange(1, 302, dtype=torch.float64) ** -1.0
    spectrum[1] = 1.0
    options = {"tol": 1e-4, "previous": None, "generator": seeded(0), "dtype": torch.float64, "search": False}
    tracked = track_eigenpairs(lambda vector: spectrum * vector, 301, 2, audit_generator=seeded(1), **options)
    assert_values(tracked, [1.0, 1.0])
    assert tracked.audit == pytest.approx(1 - 1 / 3, rel=1e-5)


def test_audit_that_agrees_changes_nothing() -> None:
    plain, audited = (track(generator=seeded(1), audit_generator=audit) for audit in (None, seeded(2)))
    assert audited.audit < 1e-6
    assert audited.audit_products > 0
    assert audited.pairs.products == plain.pairs.products
    assert torch.equal(audited.pairs.vectors, plain.pairs.vectors)


@pytest.mark.parametrize("blind_warm", [True, False])
def test_audit_keeps_the_better_pairs_of_each_end(blind_warm: bool) -> None:
    """Negative eigenvalues, one hidden and one seen: the end at which a solve is blind comes from the other."""
    spectrum = SPECTRUM.clone()
    spectrum[SEEN + 1], spectrum[5] = -3.0, -2.0
    previous = torch.eye(101, dtype=torch.float64)[[0, 1, 5]]
    generators = (blind(), seeded(1)) if blind_warm else (seeded(1), blind())
    tracked = track_eigenpairs(
        lambda vector: spectrum * vector,
        101,
        2,
        bottom=1,
        tol=1e-4,
        previous=previous,
        generator=generators[0],
        audit_generator=generators[1],
        dtype=torch.float64,
    )
    assert_values(tracked, [10.0, spectrum[0], -3.0])
    assert tracked.audit_bottom == pytest.approx(1 / 3 if blind_warm else 1 / 2, rel=1e-5)
    assert (tracked.pairs.vectors @ tracked.pairs.vectors.T - torch.eye(3)).abs().max() < 1e-3


def test_replaced_pairs_have_the_signs_of_the_previous() -> None:
    previous = torch.zeros(2, 101, dtype=torch.float64)
    previous[0, SEEN], previous[1, 0] = -1.0, 1.0  # the first eigenvector is known, the second hidden
    assert_values(track(previous=previous), [10.0, SPECTRUM[0]])
    replaced = track(previous=previous, audit_generator=seeded(1))
    assert_values(replaced, [10.0, 9.0])
    assert replaced.pairs.vectors[0, SEEN] < -0.999


def test_follows_a_trajectory_for_fewer_products_than_cold_solves() -> None:
    problem = PROBLEMS["wide_mlp-mse"]
    theta, previous, warm, cold = problem.theta, None, 0, 0
    for step in range(6):
        multiply = hvp(problem.loss, theta)
        tracked = track_eigenpairs(
            multiply, problem.dim, 3, tol=1e-3, previous=previous, generator=seeded(step), dtype=torch.float64
        )
        assert_values(tracked, dense_top(dense_hessian(problem.loss, theta), 3))
        if previous is not None:
            assert ((tracked.pairs.vectors * previous).sum(1) > 0).all()
            warm += tracked.pairs.products
            cold += top_eigenpairs(multiply, problem.dim, 3, dtype=torch.float64, generator=seeded(step)).products
        point = theta.clone().requires_grad_()
        theta = theta - 0.02 * torch.autograd.grad(problem.loss(point), point)[0]
        previous = tracked.pairs.vectors
    assert warm < cold


def test_previous_that_is_not_finite_starts_cold() -> None:
    lost = torch.full((2, 101), torch.nan, dtype=torch.float64)
    again, cold = (track(previous=previous, generator=seeded(1)) for previous in (lost, None))
    assert_values(cold, [10.0, 9.0])
    assert torch.equal(again.pairs.vectors, cold.pairs.vectors)


def test_product_that_is_not_finite_is_a_result() -> None:
    tracked = track_eigenpairs(
        lambda vector: vector * torch.nan, 9, 2, tol=1e-3, previous=None, generator=seeded(0), audit_generator=seeded(1)
    )
    assert tracked.pairs.values.isnan().all()
    assert math.isnan(tracked.audit)
    assert tracked.audit_products == 1


def test_zero_operator_has_an_audit_of_zero() -> None:
    tracked = track_eigenpairs(
        torch.zeros_like, 9, 2, tol=1e-3, previous=None, generator=seeded(0), audit_generator=seeded(1)
    )
    assert tracked.pairs.values.tolist() == [0.0, 0.0]
    assert tracked.audit == 0.0


def test_refuses_what_the_solver_refuses() -> None:
    with pytest.raises(ValueError, match="k is 0; allowed: 1 to dim = 101"):
        track_eigenpairs(torch.zeros_like, 101, 0, tol=1e-3, previous=None, generator=seeded(0))
