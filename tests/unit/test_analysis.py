"""Intervals, the edge rule and verdicts, on data whose answer is known."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.bootstrap import Interval, nested_bootstrap, nested_slope
from stepscape.analysis.edge import EdgeRule, sharpness_ratio
from stepscape.analysis.grouping import configurations, differing
from stepscape.analysis.pairs import full_batch_gaps
from stepscape.analysis.verdicts import judge_study
from stepscape.claims import Judgement, within
from stepscape.claims.hovers_at_threshold import HoversAtThreshold
from stepscape.store.collect import open_study
from stepscape.study.paths import Paths
from tests.factories import collected, make_study, sharpness_dataset

# --------------------------------------------------------------------------------------------------------- bootstrap


def _hierarchy(random: np.random.Generator, groups: int, members: int, between: float, inside: float) -> np.ndarray:
    """Values (groups, members) of mean zero: a shift a group, and noise."""
    shifts = between * random.standard_normal((groups, 1))
    return shifts + inside * random.standard_normal((groups, members))


def _interval(values: np.ndarray, **settings: Any) -> Interval:
    groups = np.repeat(np.arange(len(values)), values.shape[1]).tolist()
    return nested_bootstrap(values.ravel().tolist(), groups, **settings)


@pytest.mark.parametrize(("between", "inside"), [(1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_spread_is_that_of_the_two_stage_law(between: float, inside: float) -> None:
    """Var = S_b^2 / a + S_w^2 / (a b), with S^2 the variances (divisor n) of group means and inside groups."""
    values = _hierarchy(np.random.default_rng(0), 60, 5, between, inside)
    variance = values.mean(axis=1).var() / 60 + values.var(axis=1).mean() / 300
    found = _interval(values, confidence=0.682689492, resamples=20_000)
    ratio = (found.high - found.low) / 2 / np.sqrt(variance)
    print(f"between {between}, inside {inside}: half width over the closed form {ratio:.4f}")
    assert abs(ratio - 1) < 0.03
    assert found.value == pytest.approx(values.mean(), abs=1e-15)


@pytest.mark.parametrize(
    ("groups", "between", "inside", "least", "most"),
    [
        (20, 1.0, 0.3, 0.90, 0.97),  # configurations differ more than seeds, as measured
        (20, 0.3, 1.0, 0.92, 1.00),  # seeds count twice where both stages are resampled, on the safe side
        (6, 1.0, 0.3, 0.80, 0.95),  # few groups: too narrow, by sqrt((a - 1) / a) and for want of Student's t
    ],
)
def test_coverage_of_the_95_percent_interval(
    groups: int, between: float, inside: float, least: float, most: float
) -> None:
    random = np.random.default_rng(1)
    draws = [_hierarchy(random, groups, 3, between, inside) for _ in range(400)]
    found = [_interval(draw, resamples=600, seed=index) for index, draw in enumerate(draws)]
    coverage = np.mean([interval.low <= 0 <= interval.high for interval in found])
    print(f"{groups} groups of 3, between {between}, inside {inside}: covered {coverage:.3f}")
    assert least <= coverage <= most


def test_groups_of_unequal_size_weigh_as_their_members_do() -> None:
    values, groups = [1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"]
    found = nested_bootstrap(values, groups)
    assert found == Interval(2.0, 1.0, 5.0)


def test_bootstrap_of_what_does_not_vary() -> None:
    assert nested_bootstrap([2.0], ["a"]) == Interval(2.0, 2.0, 2.0)
    assert nested_bootstrap([2.0] * 4, list("aabb")) == Interval(2.0, 2.0, 2.0)


def test_bootstrap_is_a_function_of_its_seed() -> None:
    values = np.random.default_rng(0).standard_normal((5, 3))
    assert _interval(values) == _interval(values)
    assert _interval(values) != _interval(values, seed=1)
    assert _interval(values, confidence=0.5).low > _interval(values).low


@pytest.mark.parametrize(("values", "groups"), [([], []), ([1.0], []), ([1.0, 2.0], ["a"])])
def test_bootstrap_refuses_values_without_groups(values: list[float], groups: list[str]) -> None:
    with pytest.raises(ValueError, match="a group for each"):
        nested_bootstrap(values, groups)


# -------------------------------------------------------------------------------------------------------- nested slope


def _points(random: np.random.Generator, copies: int, slope: float) -> tuple[list[float], list[float], list[int]]:
    """Three x, `copies` configurations at each and three seeds in each; configurations differ more than seeds."""
    x = np.repeat(np.log([0.4, 0.57, 0.8]), copies)
    y = slope * x[:, None] + _hierarchy(random, len(x), 3, 0.02, 0.005)
    return np.repeat(x, 3).tolist(), y.ravel().tolist(), np.repeat(np.arange(len(x)), 3).tolist()


@pytest.mark.parametrize(("copies", "least", "most"), [(1, 0.69, 0.83), (2, 0.86, 0.96), (10, 0.90, 0.98)])
def test_coverage_of_the_nested_slope(copies: int, least: float, most: float) -> None:
    random = np.random.default_rng(4)
    found = [nested_slope(*_points(random, copies, -1.0), resamples=600, seed=index) for index in range(400)]
    coverage = np.mean([interval.low <= -1 <= interval.high for interval in found])
    print(f"{3 * copies} groups of 3: covered {coverage:.3f}")
    assert least <= coverage <= most


def test_nested_slope_is_that_of_least_squares() -> None:
    x, y, groups = _points(np.random.default_rng(5), 2, -1.0)
    found = nested_slope(x, y, groups)
    assert found.value == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-12)
    assert found.low < found.value < found.high


def test_nested_slope_of_exact_data_whatever_is_drawn() -> None:
    """Resamples of one x alone have no slope; the others must all have the one that there is."""
    x = [1000.0, 1000.0, 1001.0, 1001.0]
    found = nested_slope(x, [-3 * value for value in x], [0, 0, 1, 1])
    assert (found.value, found.low, found.high) == pytest.approx((-3, -3, -3), rel=1e-12)


@pytest.mark.parametrize(("x", "y"), [([], []), ([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0])])
def test_nested_slope_refuses_what_has_none(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="a y for each, and two x"):
        nested_slope(x, y, ["a"] * len(x))


# -------------------------------------------------------------------------------------------------------------- pairs


def _batches(sizes: list[int], seeds: int = 2) -> xr.Dataset:
    """Runs at two learning rates, each on the full batch of 100 and on smaller ones."""
    rows = [(lr, size, seed) for lr in (0.1, 0.2) for size in [*sizes, 100] for seed in range(seeds)]
    lr, size, seed = (np.asarray(column) for column in zip(*rows, strict=True))
    ds = sharpness_dataset(np.ones((len(rows), 1)), steps=[0], updates=1, lr=lr.tolist(), seed=seed.tolist())
    return ds.assign_coords(batch_size=("run", size), full_batch=("run", size == 100))


def test_gaps_are_between_runs_that_are_alike() -> None:
    ds = _batches([8, 32])
    value = 1000 * ds.lr.values + 10 * ds.seed.values + np.log2(ds.batch_size.values)
    gaps = full_batch_gaps(ds, value)
    expected = [np.log2(100 / 8)] * 2 + [np.log2(100 / 32)] * 2
    np.testing.assert_allclose(gaps.values, expected * 2, rtol=1e-12)
    assert len(set(gaps.groups)) == 4, "two learning rates, two batch sizes"
    assert gaps.groups[0] == gaps.groups[1] != gaps.groups[2]


def test_gaps_leave_out_what_has_no_partner() -> None:
    ds = _batches([8])
    value = np.where(ds.full_batch, 1.0, 0.25)
    value[0] = nan
    lonely = ds.isel(run=[index for index in range(8) if index != 6])  # the full batch at lr 0.2, seed 0
    assert full_batch_gaps(lonely, np.delete(value, 6)).values == [0.75, 0.75]
    assert full_batch_gaps(ds.isel(run=~ds.full_batch.values), np.ones(4)).values == []


def test_mean_of_gaps_is_the_nested_one() -> None:
    ds = _batches([8], seeds=3)
    value = np.random.default_rng(0).standard_normal(ds.sizes["run"])
    gaps = full_batch_gaps(ds, value)
    assert gaps.mean(0.9) == nested_bootstrap(gaps.values, gaps.groups, confidence=0.9)


def test_settings_that_differ() -> None:
    ds = _batches([8, 32])
    assert differing(ds, ()) == ["batch_size", "full_batch", "lr"]
    assert differing(ds, ("lr", "full_batch")) == ["batch_size"]
    assert differing(ds.isel(run=[0, 1]), ()) == []
    assert configurations(ds, ("batch_size", "full_batch"))[0] == configurations(ds, ("batch_size", "full_batch"))[2]


# --------------------------------------------------------------------------------------------------------- the ratio


def test_ratio_is_sharpness_over_threshold() -> None:
    ratios = np.asarray([[0.5, 1.25, nan], [2.0, 0.25, 1.0]])
    found = sharpness_ratio(sharpness_dataset(ratios, steps=[0, 10, 20], updates=20, lr=[0.1, 0.7]))
    np.testing.assert_allclose(found.values, ratios, rtol=1e-15)
    assert found.dims == ("run", "measured_step")
    assert found.measured_step.values.tolist() == [0, 10, 20]
    assert found.lr.values.tolist() == [0.1, 0.7]


def test_ratio_prefers_the_preconditioned_sharpness_and_drops_its_first(tmp_path: Path) -> None:
    """Real runs: plain descent has its ratio from `hessian_top`, Adam from `preconditioned_top`, on other clocks."""
    grid = [
        {"lr": [0.5, 1.0], "observe": {"hessian_top": {"every": 4, "k": 2}}},
        {"optimizer": "adam", "lr": 0.01, "observe": {"hessian_top": {"every": 5}, "preconditioned_top": {"every": 5}}},
    ]
    ds = collected(make_study(tmp_path, grid=grid), Paths(tmp_path / "results"))
    ratio = sharpness_ratio(ds)
    assert ratio.run.values.tolist() == ds.run.values.tolist()
    assert ratio.measured_step.values.tolist() == [0, 4, 5, 8, 10]
    adam, *descents = ratio.values
    assert ds.optimizer.values.tolist() == ["adam", "gd", "gd"]
    assert np.isnan(adam[[0, 1, 3]]).all()
    own = ds.isel(run=0)
    expected = own.preconditioned_eigenvalue.values[1:, 0] / own.preconditioned_threshold.values[1:]
    np.testing.assert_array_equal(adam[[2, 4]], expected)
    for found, lr in zip(descents, (0.5, 1.0), strict=True):
        np.testing.assert_allclose(found[[0, 1, 3]], lr / 2, rtol=1e-3)  # the largest eigenvalue is 1
        assert np.isnan(found[[2, 4]]).all()


def test_ratio_needs_a_sharpness() -> None:
    ds = sharpness_dataset(np.ones((1, 1)), steps=[0], updates=1).drop_vars("hessian_eigenvalue")
    with pytest.raises(ValueError, match="no sharpness"):
        sharpness_ratio(ds)


# ------------------------------------------------------------------------------------------------------ the edge rule

STEPS = [0, 19, 20, 100, 199, 200, 201, 300]


@pytest.mark.parametrize(
    ("name", "ratio", "status", "outcome"),
    [
        ("at the first step that counts", [0, 0, 1, 0, 0, 0, 0, 0], "completed", "reached"),
        ("before it counts", [2, 2, 0, 0, 0, 0, 0, 0], "completed", "never"),
        ("before it counts, and again", [2, 2, 0, 1.5, 0, 0, 0, 0], "completed", "reached"),
        ("exactly at two thirds", [0, 0, 0, 0, 0, 1, 0, 0], "completed", "reached"),
        ("just behind two thirds", [0, 0, 0, 0, 0, 0, 1, 1], "completed", "late"),
        ("early and late", [0, 0, 0, 1, 0, 0, 1, 1], "completed", "reached"),
        ("just below", [0.999999] * 8, "completed", "never"),
        ("never measured", [nan] * 8, "completed", "never"),
        ("measured now and then", [nan, nan, nan, 1.0, nan, 0.5, nan, 0.5], "completed", "reached"),
        ("infinite", [0, 0, 0, inf, 0, 0, 0, 0], "completed", "reached"),
        ("diverged", [0, 0, 1.5, nan, nan, nan, nan, nan], "diverged", "diverged"),
    ],
)
def test_outcomes(name: str, ratio: list[float], status: str, outcome: str) -> None:
    ds = sharpness_dataset(np.asarray([ratio], float), steps=STEPS, updates=300, status=[status])
    assert EdgeRule().outcomes(sharpness_ratio(ds), ds.n_steps, ds.status) == [outcome], name


def test_two_thirds_is_two_thirds_of_every_number_of_updates() -> None:
    for third in range(11, 500):
        ds = sharpness_dataset(np.ones((1, 1)), steps=[2 * third], updates=3 * third)
        ratio = xr.DataArray([[1.0]], dims=("run", "measured_step"), coords={"measured_step": [2 * third]})
        assert EdgeRule().outcomes(ratio, ds.n_steps, ds.status) == ["reached"]
        assert np.isnan(EdgeRule().medians(ratio, ds.n_steps)).all(), "what decides on reaching is not judged"


def test_medians_are_of_the_judged_part_of_each_run() -> None:
    ratios = np.asarray([[9, 9, 9, 9, 9, 9, 1.0, 2.0], [9, 9, 9, 4, 5, 6, 7, nan], [1] * 6 + [nan, nan], [1] * 8])
    ds = sharpness_dataset(ratios, steps=STEPS, updates=[300, 150, 300, 600])
    found = EdgeRule().medians(sharpness_ratio(ds), ds.n_steps)
    np.testing.assert_allclose(found, [1.5, 6.0, nan, nan])
    other = EdgeRule(settled=0, judged_from=0.5).medians(sharpness_ratio(ds), ds.n_steps)
    np.testing.assert_allclose(other, [5.5, 5.5, 1.0, nan])


# ----------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.96, 1.05, "supported"),
        (0.95, 1.10, "supported"),
        (0.94, 1.05, "undecided"),
        (1.00, 1.11, "undecided"),
        (0.90, 1.20, "undecided"),
        (0.80, 0.95, "undecided"),
        (1.10, 1.20, "undecided"),
        (0.80, 0.949, "not_supported"),
        (1.101, 1.20, "not_supported"),
        (1.0, 1.0, "supported"),
        (2.0, 2.0, "not_supported"),
    ],
)
def test_within(low: float, high: float, verdict: str) -> None:
    assert within(low, high, (0.95, 1.10)) == verdict


def _hovering(levels: list[float], *, seeds: int = 3, spread: float = 0.0) -> xr.Dataset:
    """A configuration for each level, its seeds `spread` apart; all of them cross 1 at step 100."""
    rows = [[0.2, 0.2, 0.2, 1.0, level, level, level + offset, level + offset]
            for level in levels for offset in spread * np.linspace(-1, 1, seeds)]  # fmt: skip
    rates = np.repeat([0.1 * (1 + index) for index in range(len(levels))], seeds)
    return sharpness_dataset(
        np.asarray(rows), steps=STEPS, updates=300, lr=rates.tolist(), seed=list(range(seeds)) * len(levels)
    )


@pytest.mark.parametrize(
    ("levels", "spread", "verdict"),
    [
        ([1.00, 1.02, 1.04, 1.06], 0.01, "supported"),
        ([1.20, 1.22, 1.24, 1.26], 0.01, "not_supported"),
        ([0.80, 0.82, 0.84, 0.86], 0.01, "not_supported"),
        ([1.05, 1.08, 1.12, 1.16], 0.01, "undecided"),
        ([0.60, 0.90, 1.20, 1.50], 0.10, "undecided"),
    ],
)
def test_hovers_at_threshold(levels: list[float], spread: float, verdict: str) -> None:
    found = HoversAtThreshold().judge(_hovering(levels, spread=spread))
    assert found.verdict == verdict
    assert found.value == pytest.approx(np.mean(levels))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert min(levels) - spread <= found.low
    assert found.high <= max(levels) + spread
    assert found.runs == {"reached": 12, "judged": 12}


def test_two_runs_at_the_edge_are_too_few() -> None:
    ratios = np.full((6, len(STEPS)), 0.5)
    ratios[:2, 3:] = ratios[2, 6:] = 1.02
    ratios[5] = nan
    status = ["completed"] * 5 + ["diverged"]
    ds = sharpness_dataset(ratios, steps=STEPS, updates=300, status=status)
    found = HoversAtThreshold().judge(ds)
    reason = "2 of 6 runs reached the threshold in time; at least 3 must"
    counts = {"reached": 2, "late": 1, "never": 2, "diverged": 1, "judged": 2}
    assert found == Judgement("not_testable", reason=reason, runs=counts)
    assert HoversAtThreshold(fewest=2).judge(ds).verdict == "supported"


def test_runs_that_reached_but_were_not_measured_later_are_not_judged() -> None:
    ratios = np.full((3, len(STEPS)), 1.0)
    ratios[:, 6:] = nan
    found = HoversAtThreshold().judge(sharpness_dataset(ratios, steps=STEPS, updates=300))
    assert (found.verdict, found.runs) == ("not_testable", {"reached": 3, "judged": 0})


def test_configurations_differ_in_the_seed_only() -> None:
    groups = configurations(_hovering([1.0, 1.1], seeds=2))
    assert groups[0] == groups[1] != groups[2] == groups[3]
    ds = _hovering([1.0, 1.1], seeds=2)
    missing = ds.assign_coords(optimizer_beta1=("run", np.full(4, nan)), platform=("run", [0, 1, 0, 1]))
    groups = configurations(missing)
    assert groups[0] == groups[1] != groups[2] == groups[3]


def test_a_study_is_judged_on_what_each_claim_is_about(tmp_path: Path) -> None:
    claims = [{"id": "small", "name": "hovers_at_threshold", "where": {"lr": 0.5}}, "hovers_at_threshold"]
    study = make_study(tmp_path, observe={"hessian_top": {"every": 1}, "losses": {"every": 1}}, claims=claims)
    paths = Paths(tmp_path / "results")
    collected(study, paths)
    small, every = judge_study(study, open_study(paths.study(study.name)))
    assert (small["id"], every["id"]) == ("small", "hovers_at_threshold")
    assert set(small) == {"id", "statement", "criterion", "value", "low", "high", "verdict", "reason", "runs"}
    assert small["runs"] == {"never": 2, "judged": 0}
    assert every["runs"] == {"never": 6, "judged": 0}
    assert every["reason"] == "0 of 6 runs reached the threshold in time; at least 3 must"
    assert (every["verdict"], every["value"], every["low"], every["high"]) == ("not_testable", None, None, None)


def test_what_a_claim_needs_follows_the_preconditioner(tmp_path: Path) -> None:
    study = make_study(tmp_path, grid=[{"lr": 0.5, "optimizer": ["gd", "adam"]}])
    gd, adam = study.runs
    claim = HoversAtThreshold()
    assert claim.needs(gd) == (("hessian_top", "preconditioned_top"),)
    assert claim.needs(adam) == (("preconditioned_top",),)
    assert claim.fault(gd) == claim.fault(adam) == ""
    assert "[0.95, 1.1]" in claim.criterion
    assert "95%" in claim.criterion
