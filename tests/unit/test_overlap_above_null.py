from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.subspaces import overlaps_at_lag
from stepscape.claims.overlap_above_null import OverlapAboveNull

STEPS = [0, 20, 40, 60, 80]
K, ENTRIES = 2, 6


def turning(angle: float) -> np.ndarray:
    """A plane whose second vector turns by `angle` a measurement: the overlap after n is (1 + cos^2(n angle)) / 2."""
    planes = np.zeros((len(STEPS), K, ENTRIES))
    planes[:, 0, 0] = 1
    for index in range(len(STEPS)):
        planes[index, 1, 1:3] = np.cos(index * angle), np.sin(index * angle)
    return planes


def dataset(angles: list[float], null: float) -> xr.Dataset:
    runs = len(angles)
    dims = ("run", "hessian_subspace_measurement", "vector", "entry")
    return xr.Dataset(
        {
            "subspace_sketch": (dims, np.stack([turning(angle) for angle in angles])),
            "subspace_null_largest": (dims[:2], np.full((runs, len(STEPS)), null)),
        },
        {
            "run": [f"{index:016x}" for index in range(runs)],
            "hessian_subspace_step": (dims[1], STEPS),
            "lr": ("run", np.full(runs, 0.1)),
            "seed": ("run", np.arange(runs)),
        },
    )


def test_overlaps_at_a_lag_are_those_of_the_closed_form() -> None:
    found = overlaps_at_lag(dataset([0.1, 0.4], 0.1), lag=40, since=20)
    np.testing.assert_allclose(found, [(1 + np.cos(2 * angle) ** 2) / 2 for angle in (0.1, 0.4)], rtol=1e-12)
    assert np.isnan(overlaps_at_lag(dataset([0.1], 0.1), lag=40, since=60)).all()


@pytest.mark.parametrize(("null", "verdict"), [(0.1, "supported"), (0.999, "not_supported"), (0.95, "undecided")])
def test_verdicts(null: float, verdict: str) -> None:
    found = OverlapAboveNull(since=0).judge(dataset([0.15, 0.16, 0.17], null))
    assert found.verdict == verdict, found
    assert f"the null is {null:.3f}" in found.reason
    assert found.runs["judged"] == 3


def test_too_few_runs_are_not_testable() -> None:
    found = OverlapAboveNull(since=0).judge(dataset([0.05, 0.2], 0.1))
    assert found.verdict == "not_testable"
    assert "at least 3 must" in found.reason
