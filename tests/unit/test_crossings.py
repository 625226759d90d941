"""What happens before and after the sharpness reaches its threshold, on datasets whose truth is known."""

from __future__ import annotations

from math import inf, isnan
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from stepscape.analysis.crossings import Crossing, crossings, falling_share, rank_correlation, rising_share
from stepscape.analysis.edge import EdgeRule
from stepscape.analysis.flow_time import beside_flows, deviation_from_flow
from stepscape.claims import Claim
from stepscape.claims.follows_gradient_flow import FollowsGradientFlow
from stepscape.claims.loss_falls_below_threshold import LossFallsBelowThreshold
from stepscape.claims.loss_falls_in_the_long_run import LossFallsInTheLongRun
from stepscape.claims.loss_rises_at_threshold import LossRisesAtThreshold
from stepscape.claims.progressive_sharpening import ProgressiveSharpening
from tests.factories import SMALL_DIGITS, make_run, sharpness_dataset

UPDATES, EVERY = 300, 20
STEPS = list(range(0, UPDATES + 1, EVERY))
RISING = np.asarray([0.3 + 0.1 * index for index in range(8)] + [1.0] * 8)
"""Reaches 1 at step 140: the last measurement below it is at 120."""
CLAIMS: list[Claim] = [
    LossRisesAtThreshold(),
    LossFallsBelowThreshold(),
    LossFallsInTheLongRun(),
    ProgressiveSharpening(),
    FollowsGradientFlow(),
]


def dataset(ratios: list[np.ndarray], losses: list[np.ndarray] | None = None, **given: Any) -> xr.Dataset:
    """Runs that differ in their seed, with their ratios at `STEPS` and losses at every step."""
    ds = sharpness_dataset(np.stack(ratios), steps=STEPS, updates=UPDATES, **given)
    rows = [np.exp(-np.arange(UPDATES + 1) / 100)] * len(ratios) if losses is None else losses
    return ds.assign(train_loss=(("run", "step"), np.stack(rows))).assign_coords(step=np.arange(UPDATES + 1))


def zigzag(since: int, trend: float) -> np.ndarray:
    """A loss that falls until a step, and from there on goes up in every second update, about a line of that trend."""
    steps = np.arange(UPDATES + 1)
    falling = np.exp(-steps / 100)
    late = falling[since] * np.exp(trend * (steps - since)) * (1 + 0.05 * ((steps - since) % 2))
    return np.where(steps < since, falling, late)


def test_crossings_lie_between_two_measurements() -> None:
    never, above_at_once = 0.5 * RISING, np.full(16, 1.2)
    late = np.where(np.arange(16) < 12, 0.5, 1.2)
    ds = dataset([RISING, never, above_at_once, late])
    assert crossings(ds, EdgeRule()) == [Crossing(0, 120, 140), Crossing(1, 300, None)]


def test_runs_that_diverged_or_were_never_measured_have_no_crossing() -> None:
    ds = dataset([RISING, np.full(16, np.nan)], status=["diverged", "completed"])
    assert crossings(ds, EdgeRule()) == []


def test_shares_are_those_of_a_count_by_hand() -> None:
    ds = dataset([RISING], [zigzag(140, -0.001)])
    assert rising_share(ds, 0, 0, 140, 1e-3) == 0
    assert rising_share(ds, 0, 140, inf, 1e-3) == 0.5
    assert rising_share(ds, 0, 140, inf, 0.06) == 0, "none rises by as much as that"
    assert isnan(rising_share(ds, 0, 400, inf, 1e-3))
    assert falling_share(ds, 0, 140, 4) == 1
    assert falling_share(dataset([RISING], [zigzag(140, 0.001)]), 0, 140, 4) == 0
    assert isnan(falling_share(ds, 0, 298, 4))


def test_rank_correlation_is_that_of_scipy() -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal(30), random.integers(5, size=30).astype(float)
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, rel=1e-12)
    assert isnan(rank_correlation(x, np.ones(30)))


@pytest.mark.parametrize(
    ("claim", "trend", "since", "verdict"),
    [
        (LossRisesAtThreshold(), -0.001, 140, "supported"),
        (LossRisesAtThreshold(), -0.001, 299, "not_supported"),
        (LossFallsBelowThreshold(), -0.001, 140, "supported"),
        (LossFallsBelowThreshold(), -0.001, 60, "not_supported"),
        (LossFallsInTheLongRun(), -0.001, 140, "supported"),
        (LossFallsInTheLongRun(), 0.001, 140, "not_supported"),
    ],
)
def test_verdicts_on_losses(claim: Claim, trend: float, since: int, verdict: str) -> None:
    found = claim.judge(dataset([RISING] * 3, [zigzag(since, trend)] * 3))
    assert found.verdict == verdict, found
    assert found.runs["judged"] == 3


def test_runs_below_the_threshold_to_the_end_count_as_below_it() -> None:
    found = LossFallsBelowThreshold().judge(dataset([0.5 * RISING] * 3))
    assert (found.verdict, found.value) == ("supported", 1)
    assert "3 runs never reached it" in found.reason


@pytest.mark.parametrize(("order", "verdict"), [(1, "supported"), (-1, "not_supported")])
def test_verdicts_on_sharpening(order: int, verdict: str) -> None:
    path = np.concatenate([RISING[:7][::order], RISING[7:]])
    found = ProgressiveSharpening().judge(dataset([path] * 3))
    assert found.verdict == verdict, found
    expected = spearmanr(STEPS[:8], path[:8]).statistic
    assert found.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_too_few_runs_are_not_judged(claim: Claim) -> None:
    found = claim.judge(dataset([RISING] * 2))
    assert (found.verdict, found.value) == ("not_testable", None)
    assert "at least 3 must" in found.reason


def test_losses_must_be_recorded_at_every_step() -> None:
    observe = {"losses": {"every": 2}, "hessian_top": {"every": 4}}
    assert "every step" in LossRisesAtThreshold().fault(make_run(SMALL_DIGITS, observe=observe))
    observe = {"losses": {"every": 1}, "hessian_top": {"every": 4}}
    assert LossRisesAtThreshold().fault(make_run(SMALL_DIGITS, observe=observe)) == ""


# --------------------------------------------------------------------------------------------------------------- flows


def with_flows(factor: float, seeds: int = 3) -> xr.Dataset:
    """Runs at lr 0.5 with the sharpness (1 + t) / 50 at time t, and flows at lr 0.25, half as long, that are apart."""
    steps = np.asarray(STEPS)
    run, flow = (1 + 0.5 * steps) / 50, (1 + 0.25 * steps) / 50 / factor
    rates = [0.5] * seeds + [0.25] * seeds
    ratios = [run * 0.5 / 2] * seeds + [flow * 0.25 / 2] * seeds
    ds = dataset(ratios, lr=rates, seed=[*range(seeds)] * 2)
    ds["optimizer"] = ("run", np.asarray(["gd"] * seeds + ["stable_flow"] * seeds, object))
    return ds.assign(hessian_threshold=ds.hessian_threshold.where(ds.optimizer == "gd"))  # flows state none


def test_runs_are_beside_the_flow_of_their_seed() -> None:
    assert dict(beside_flows(with_flows(1.0))) == {0: 3, 1: 4, 2: 5}
    assert dict(beside_flows(with_flows(1.0).isel(run=[0, 4]))) == {}


@pytest.mark.parametrize(("factor", "until"), [(1.0, 20.0), (1.1, 20.0), (1.1, inf)])
def test_deviations_are_at_equal_time(factor: float, until: float) -> None:
    assert deviation_from_flow(with_flows(factor), 0, 3, until) == pytest.approx(factor - 1, abs=1e-12)


@pytest.mark.parametrize(
    ("factors", "verdict"), [([1.01] * 3, "supported"), ([1.2] * 3, "not_supported"), ([1.0, 1.04, 1.1], "undecided")]
)
def test_verdicts_on_flows(factors: list[float], verdict: str) -> None:
    parts = [with_flows(factor).isel(run=[seed, 3 + seed]) for seed, factor in enumerate(factors)]
    found = FollowsGradientFlow().judge(xr.concat(parts, "run"))
    assert found.verdict == verdict, found
    assert found.value == pytest.approx(np.mean(factors) - 1, abs=1e-12)
    assert found.runs["judged"] == 3


def test_flows_have_no_threshold_and_may_be_judged() -> None:
    observe = {"hessian_top": {"every": 4}}
    flow = make_run(SMALL_DIGITS, optimizer="stable_flow", observe=observe)
    assert FollowsGradientFlow().fault(flow) == ""
    assert ProgressiveSharpening().fault(flow) != ""
