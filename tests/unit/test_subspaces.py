"""Overlaps, angles, nulls and sketches of subspaces, alone and along a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from torch import Tensor

from stepscape.analysis.subspaces import overlap_map
from stepscape.curvature import overlap, principal_cosines, shuffled_overlaps, sketch
from stepscape.registry import make
from stepscape.study.run import Run
from stepscape.training.problem import Problem
from stepscape.training.record import Record
from tests.factories import SMALL_DIGITS, make_run, train
from tests.references import dense_hessian


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def orthonormal(k: int, dim: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.from_numpy(seeded(seed).standard_normal((dim, k))))[0].T


def turned(rows: Tensor, amount: float, seed: int) -> Tensor:
    noise = torch.from_numpy(seeded(seed).standard_normal(rows.shape)) / rows.shape[1] ** 0.5
    return torch.linalg.qr((rows + amount * noise).T)[0].T


def exact(first: np.ndarray, second: np.ndarray) -> float:
    """From SciPy's principal angles."""
    return float(np.mean(np.cos(subspace_angles(first.T, second.T)) ** 2))


@pytest.mark.parametrize("amount", [0.0, 0.3, 1.0, 10.0])
def test_overlap_and_cosines_are_those_of_the_principal_angles(amount: float) -> None:
    first = orthonormal(4, 50, 0)
    second = turned(first, amount, 1)
    angles = subspace_angles(first.numpy().T, second.numpy().T)
    assert overlap(first, second) == pytest.approx(np.mean(np.cos(angles) ** 2), abs=1e-12)
    np.testing.assert_allclose(principal_cosines(first, second), np.sort(np.cos(angles))[::-1], atol=1e-12)
    mixed = orthonormal(4, 4, 2) @ second
    assert overlap(first, mixed) == pytest.approx(overlap(first, second), abs=1e-12)


def test_what_is_not_finite_is_nan() -> None:
    rows = orthonormal(3, 40, 0)
    lost = rows.clone()
    lost[1, 2] = torch.nan
    for first, second in ((rows, lost), (lost, rows)):
        assert np.isnan(overlap(first, second))
        assert np.isnan(principal_cosines(first, second)).all()
    for size in (16, 64):
        assert sketch(lost, size, seeded(0)).isnan().all()
    assert np.isnan(shuffled_overlaps(lost, [20, 20], 2, seeded(0))).all()


def test_permutations_stay_inside_their_tensor() -> None:
    """Vectors that are constant in each tensor overlap with their permutations fully, in whatever tensor they are."""
    sizes = [30, 1, 9]
    rows = torch.zeros(3, 40, dtype=torch.float64)
    for row, start, size in zip(rows, np.cumsum([0, *sizes[:-1]]), sizes, strict=True):
        row[start : start + size] = size**-0.5
    np.testing.assert_allclose(shuffled_overlaps(rows, sizes, 5, seeded(0)), 1.0, atol=1e-12)
    assert (shuffled_overlaps(rows, [40], 5, seeded(0)) < 0.99).all()


def test_null_of_vectors_in_one_tensor_is_that_of_chance_there() -> None:
    """k / size of the tensor, not k / P: a random subspace of dimension k in s coordinates overlaps by k / s."""
    rows = torch.cat((torch.zeros(5, 900, dtype=torch.float64), orthonormal(5, 50, 3)), dim=1)
    null = shuffled_overlaps(rows, [900, 50], 400, seeded(1))
    assert len(set(null.tolist())) == 400
    error = null.std() / len(null) ** 0.5
    print(f"mean {null.mean():.4f} +- {error:.4f} for 0.1")
    assert abs(null.mean() - 0.1) < 0.01


def test_sketch_of_fewer_parameters_loses_nothing() -> None:
    first, second = orthonormal(3, 40, 0), orthonormal(3, 40, 1)
    sketches = [sketch(rows, 40, seeded(0)) for rows in (first, second)]
    assert sketches[0].shape == (3, 40)
    assert overlap(*sketches) == pytest.approx(overlap(first, second), abs=1e-12)


def test_sketch_keeps_the_order_of_the_vectors() -> None:
    rows = orthonormal(6, 5000, 0)
    whole, leading = (sketch(part, 256, seeded(0)) for part in (rows, rows[:2]))
    torch.testing.assert_close(whole[:2].abs(), leading.abs())
    torch.testing.assert_close(whole @ whole.T, torch.eye(6, dtype=torch.float64))


TRACKED: dict[str, Any] = {"every": 10, "references": [0, 20], "vectors": True}


def edge_run(**fields: Any) -> Run:
    return make_run(
        SMALL_DIGITS,
        dataset={"name": "digits", "train_size": 200, "test_size": 10},
        model={"name": "mlp", "hidden": [32, 32]},
        lr=0.57,
        budget={"steps": 160},
        observe={"hessian_subspace": {**TRACKED, **fields}},
    )


@pytest.fixture(scope="module")
def recorded() -> Record:
    return train(edge_run())


def test_all_pairs_from_sketches_are_near_the_exact_ones(recorded: Record) -> None:
    """3,466 parameters, ten eigenvectors, from the start to beyond the edge of stability; 1,024 entries."""
    kept = np.stack(recorded.values["subspace_vector"]).astype(float)
    found = overlap_map(np.stack(recorded.values["subspace_sketch"]))
    pairs = [(first, second) for first in range(len(kept)) for second in range(first)]
    expected = np.array([exact(kept[first], kept[second]) for first, second in pairs])
    errors = np.array([found[pair] for pair in pairs]) - expected
    print(f"overlaps {expected.min():.2f} to {expected.max():.2f}; error {np.abs(errors).max():.4f} at most")
    assert expected.min() < 0.4 < 0.8 < expected.max()
    assert np.abs(errors).max() <= 0.02
    np.testing.assert_allclose(np.diag(found), 1.0, atol=1e-3)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    leading = overlap_map(kept, 3)
    assert leading[4, 2] == pytest.approx(exact(kept[4, :3], kept[2, :3]), abs=1e-3)


def test_recorded_overlaps_are_those_of_the_recorded_vectors(recorded: Record) -> None:
    """float16 vectors err by 1e-4; what could not be compared yet is NaN."""
    kept = np.stack(recorded.values["subspace_vector"]).astype(float)
    lags = np.stack(recorded.values["subspace_overlap"])
    references = np.stack(recorded.values["subspace_reference_overlap"])
    for index, vectors in enumerate(kept):
        for lag in (1, 2):
            expected = exact(vectors, kept[index - lag]) if index >= lag else np.nan
            np.testing.assert_allclose(lags[index, lag - 1], expected, atol=1e-3)
        for place, reference in enumerate((0, 2)):
            expected = exact(vectors, kept[reference]) if index >= reference else np.nan
            np.testing.assert_allclose(references[index, place], expected, atol=1e-3)
    cosines = np.stack(recorded.values["subspace_cosine"])
    np.testing.assert_allclose((cosines**2).mean(axis=1)[1:], lags[1:, 0], atol=1e-5)
    null, largest = (np.stack(recorded.values[f"subspace_null{end}"]) for end in ("", "_largest"))
    print(f"null {null.min():.3f} to {null.max():.3f}, largest {largest.max():.3f}; k / P = 0.003")
    assert (largest >= null).all()
    assert (null > 0.003).all()
    assert np.nanmax(largest) < np.nanmin(lags[5:])


def test_subspace_and_gradient_share_are_those_of_the_dense_hessian() -> None:
    run = make_run(
        SMALL_DIGITS, dtype="float64", observe={"hessian_subspace": {"every": 6, "k": 3, "vectors": True, "tol": 1e-8},
        "parameters": {"every": 6}},
    )  # fmt: skip
    record, problem = train(run), Problem(run, torch.device("cpu"))
    previous = None
    for index, theta in enumerate(record.values["parameters"]):
        point = torch.from_numpy(theta).requires_grad_()
        loss = problem.loss_on(problem.train)
        dense = torch.linalg.eigh(dense_hessian(loss, point.detach()))[1].flip(1)[:, :3].numpy()
        (gradient,) = torch.autograd.grad(loss(point), point)
        share = np.sum((dense.T @ gradient.numpy()) ** 2) / gradient.square().sum().item()
        assert record.values["gradient_share"][index] == pytest.approx(share, rel=1e-5)
        assert exact(record.values["subspace_vector"][index].T.astype(float).T, dense.T) == pytest.approx(1, abs=1e-3)
        if previous is not None:
            expected = exact(dense.T, previous.T)
            assert record.values["subspace_overlap"][index][0] == pytest.approx(expected, rel=1e-5)
        previous = dense


@pytest.mark.parametrize(("fields", "solves"), [({}, 3), ({"tol": 1e-3}, 6), ({"bottom": 1}, 6), ({"every": 4}, 6)])
def test_eigenpairs_are_found_once_for_all_that_ask_the_same(
    fields: dict[str, Any], solves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another clock only the first; and what is recorded is the same alone and together."""
    subspace = {"every": 6, "k": 3, "tol": 1e-2, "vectors": True}
    top = {"every": 6, "k": 3, "tol": 1e-2, **fields}
    alone = {
        **train(make_run(SMALL_DIGITS, observe={"hessian_subspace": subspace})).values,
        **train(make_run(SMALL_DIGITS, observe={"hessian_top": top})).values,
    }
    from stepscape import curvature

    calls = []
    track = curvature.track_eigenpairs
    monkeypatch.setattr(curvature, "track_eigenpairs", lambda *a, **o: calls.append(1) or track(*a, **o))
    run = make_run(SMALL_DIGITS, observe={"hessian_subspace": subspace, "hessian_top": top})
    together = train(run).values
    assert len(calls) == solves
    assert together.keys() == alone.keys()
    for name, values in together.items():
        assert np.stack(values).tobytes() == np.stack(alone[name]).tobytes(), name
    shared = run.observable("hessian_subspace").gradients(run)
    assert (shared < 10) == (not fields)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"references": [5]}, "references"),
        ({"references": [180]}, "references"),
        ({"sketch": 8}, "sketch"),
        ({"sketch": 100}, "sketch"),
        ({"k": 4000, "sketch": 0}, "k"),
    ],
)
def test_refuses_what_cannot_be_measured(fields: dict[str, Any], place: str) -> None:
    observable = make("observable", {"name": "hessian_subspace", "every": 20, **fields}, "hessian_subspace")
    fault = observable.fault(edge_run(references=[]))
    assert fault is not None
    assert fault[0] == place
