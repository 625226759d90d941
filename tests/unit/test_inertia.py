"""Turns of top subspaces in steps and in time, on planes that turn as they are told to."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.inertia import Lag, Turn, crowd_gaps, overlap_by_lag, overlaps_of_seeds, turns
from stepscape.claims.overlap_falls_at_threshold import OverlapFallsAtThreshold
from tests.factories import SMALL_DIGITS, make_run
from tests.unit.test_overlap_above_null import STEPS, turning

K = 2
RATES = [0.2, 0.6]


def dataset(angles: list[float], rates: list[float], modes: list[int], seeds: int = 3) -> xr.Dataset:
    """Of each learning rate `seeds` runs: the angle their plane turns by a measurement, their modes at the edge."""
    runs = len(rates) * seeds
    lr = np.repeat(rates, seeds)
    ratios = np.asarray([[1.0] * count + [0.5] * (3 - count) for count in np.repeat(modes, seeds)])
    threshold = np.broadcast_to((2 / lr)[:, None], (runs, len(STEPS)))
    dims = ("run", "hessian_subspace_measurement", "vector", "entry")
    top = ("run", "hessian_top_measurement")
    planes = np.stack([turning(angle * (1 + 0.01 * (i % seeds))) for i, angle in enumerate(np.repeat(angles, seeds))])
    return xr.Dataset(
        {
            "subspace_sketch": (dims, planes),
            "hessian_eigenvalue": ((*top, "eigenvalue"), ratios[:, None, :] * threshold[..., None]),
            "hessian_threshold": (top, threshold),
        },
        {
            "run": [f"{index:016x}" for index in range(runs)],
            "hessian_subspace_step": (dims[1], STEPS),
            "hessian_top_step": (top[1], STEPS),
            "lr": ("run", lr),
            "seed": ("run", [*range(seeds)] * len(rates)),
        },
    )


def shared(turned: float) -> float:
    """The overlap of two of the planes."""
    return (1 + np.cos(turned) ** 2) / 2


def test_turns_are_all_pairs_with_the_overlap_of_the_closed_form() -> None:
    found = turns(dataset([0.1], [0.2], [0]), 0, since=20)
    assert [(turn.first, turn.second) for turn in found] == [(20, 40), (20, 60), (20, 80), (40, 60), (40, 80), (60, 80)]
    assert [turn.overlap for turn in found] == pytest.approx([shared(0.1 * turn.lag / 20) for turn in found])


def test_padding_is_no_measurement() -> None:
    ds = dataset([0.1], [0.2], [0])
    padded = ds.pad(vector=(0, 1), entry=(0, 2))
    assert turns(padded, 0, 0) == turns(ds, 0, 0)
    assert overlaps_of_seeds(padded, 0) == overlaps_of_seeds(ds, 0)


def test_lags_are_in_steps_or_in_time() -> None:
    turn = Turn(20, 60, 1.0)
    assert Lag(40).fits(turn, 0.6)
    assert not Lag(24).fits(turn, 0.6)
    assert Lag(24, in_time=True).fits(turn, 0.6)
    assert not Lag(24, in_time=True).fits(turn, 0.2)


def test_overlaps_by_lag_are_means_over_pairs() -> None:
    found = overlap_by_lag(dataset([0.1], [0.2], [0], seeds=1), since=0)
    assert found == pytest.approx({lag: shared(0.1 * lag / 20) for lag in (20, 40, 60, 80)})


def test_other_seeds_share_what_their_planes_share() -> None:
    ds = dataset([0.1], [0.2], [0], seeds=2)
    expected = [shared(0.001 * index) for index in range(len(STEPS))]
    assert overlaps_of_seeds(ds, 0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("lag", "in_time", "wide", "verdict"),
    [
        (20, False, 0.3, "supported"),  # three times the angle in a step, at three times the learning rate
        (12, True, 0.6, "supported"),  # further in the same time too
        (12, True, 0.2, "not_supported"),  # further in a step, and less far in the same time
    ],
)
def test_verdicts(lag: float, in_time: bool, wide: float, verdict: str) -> None:
    found = OverlapFallsAtThreshold(lag=lag, in_time=in_time, since=0).judge(dataset([0.1, wide], RATES, [0, 3]))
    measurements = {rate: (lag / rate if in_time else lag) / 20 for rate in RATES}
    gaps = [shared(wide * measurements[0.6] * f) - shared(0.1 * measurements[0.2] * f) for f in (1.0, 1.01, 1.02)]
    assert found.value == pytest.approx(np.mean(gaps), abs=1e-9)
    assert found.verdict == verdict, found


def test_pairs_without_a_crowd_at_both_ends_do_not_count() -> None:
    ds = dataset([0.1, 0.3], RATES, [0, 2])
    assert not crowd_gaps(ds, Lag(20), 0, 0.9, several=3).values
    assert len(crowd_gaps(ds, Lag(20), 0, 0.9, several=2).values) == 3
    found = OverlapFallsAtThreshold(lag=20, since=0).judge(ds)
    assert found.verdict == "not_testable"
    assert "at least 3 must" in found.reason


def test_subspaces_must_be_sketched() -> None:
    top = {"every": 4, "k": 2}
    run = make_run(SMALL_DIGITS, observe={"hessian_top": top, "hessian_subspace": {**top, "sketch": 0}})
    assert "no subspace_sketch" in OverlapFallsAtThreshold().fault(run)
