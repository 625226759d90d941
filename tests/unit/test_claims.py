"""Claims beside the first: supported, not supported, undecided and not testable, on datasets whose truth is known."""

from __future__ import annotations

from math import exp, log, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.edge import EdgeRule, other_ratios, thresholds
from stepscape.analysis.estimates import mean_over_runs, mean_over_seeds
from stepscape.analysis.verdicts import judge_study
from stepscape.claims import Claim, above
from stepscape.claims.eigenvalues_gather import EigenvaluesGather
from stepscape.claims.hovers_at_other_threshold import HoversAtOtherThreshold
from stepscape.claims.hovers_at_threshold import HoversAtThreshold
from stepscape.claims.sharpness_follows_lr import SharpnessFollowsLearningRate
from stepscape.claims.small_batches_stay_below import SmallBatchesStayBelow
from stepscape.claims.stable_lr_exponent import StableLearningRateExponent
from stepscape.claims.stable_lr_exponent_difference import StableLearningRateExponentDifference
from stepscape.registry import make, names
from stepscape.study.paths import Paths
from tests.factories import SMALL_DIGITS, collected, loss_dataset, make_run, make_study, sharpness_dataset

EDGE_CLAIMS = [
    HoversAtThreshold(),
    HoversAtOtherThreshold(),
    EigenvaluesGather(),
    SharpnessFollowsLearningRate(),
    SmallBatchesStayBelow(),
]
SCALING_CLAIMS = [StableLearningRateExponent(), StableLearningRateExponentDifference()]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 1, "supported"),
        (0.0, 1, "undecided"),
        (-1, 1, "undecided"),
        (-1, 0.0, "not_supported"),
        (0.0, 0.0, "not_supported"),
    ],
)
def test_above(low: float, high: float, verdict: str) -> None:
    assert above(low, high, 0) == verdict


@pytest.mark.parametrize("name", names("claim"))
def test_claims_are_plain_sentences(name: str) -> None:
    claim: Any = make("claim", name, name)
    assert claim.statement[0].isupper()
    assert claim.statement.endswith(".")
    assert claim.criterion[0].islower()
    assert not claim.criterion.endswith(".")
    assert f"{claim.confidence:.0%}" in claim.criterion


# ---------------------------------------------------------------------------------------------- the edge of stability

STEPS = [0, 100, 200, 300]
RATES = [0.4, 0.57, 0.8]


def _at_edge(
    late: np.ndarray, rates: list[float], *, seeds: int = 3, batch: list[int] | None = None, full: int = 500
) -> xr.Dataset:
    """Runs (rate x seed) that cross their threshold at step 100, except where their late ratio is NaN."""
    early = np.where(np.isnan(late), 0.5, 1.0)
    ratios = np.stack([np.full(len(late), 0.5), early, early, np.nan_to_num(late, nan=0.5)], axis=1)
    ds = sharpness_dataset(
        ratios, steps=STEPS, updates=300, lr=np.repeat(rates, seeds).tolist(), seed=list(range(seeds)) * len(rates)
    )
    sizes = np.full(len(late), full) if batch is None else np.repeat(batch, seeds)
    return ds.assign_coords(batch_size=("run", sizes), full_batch=("run", sizes == full))


def _spread(levels: list[float], spread: float = 0.01) -> np.ndarray:
    """Three seeds at each level."""
    return (np.asarray(levels)[:, None] + spread * np.asarray([-1, 0.1, 0.9])).ravel()


@pytest.mark.parametrize("claim", EDGE_CLAIMS, ids=lambda claim: claim.name)
def test_runs_below_the_edge_are_not_judged(claim: Claim) -> None:
    ds = _at_edge(np.full(9, nan), RATES)
    found = claim.judge(ds)
    assert (found.verdict, found.value) == ("not_testable", None)
    assert "reached the threshold" in found.reason
    assert found.runs["judged"] == 0


@pytest.mark.parametrize("claim", EDGE_CLAIMS, ids=lambda claim: claim.name)
def test_claims_about_the_edge_need_a_threshold(claim: Claim) -> None:
    run = make_run(
        observe={"hessian_top": {"every": 5, "k": 10}}, dataset={"name": "quadratic", "eigenvalues": [1] * 12}
    )
    assert claim.fault(run) == ""
    assert claim.needs(run) == (("hessian_top", "preconditioned_top"),)


def test_thresholds_are_of_the_operator_that_is_judged(tmp_path: Path) -> None:
    top = {"hessian_top": {"every": 4}, "preconditioned_top": {"every": 4}}
    grid = [
        {"lr": [0.5, 1.0], "observe": {"hessian_top": {"every": 5}}},
        {"optimizer": "adam", "lr": 0.01, "observe": top},
    ]
    ds = collected(make_study(tmp_path, grid=grid), Paths(tmp_path / "results"))
    np.testing.assert_allclose(thresholds(ds), [38 / 0.01, 2 / 0.5, 2 / 1.0], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "rates", "share", "verdict"),
    [
        ("apart, as the learning rates of studies are", RATES, 0, "not_supported"),
        ("so near to each other that no verdict tells them apart", [0.5, 0.505, 0.51], 1, "supported"),
        ("three of them near", [0.5, 0.505, 0.51, 1.0], 0.5, "undecided"),
    ],
)
def test_the_control_fails_where_learning_rates_tell_thresholds_apart(
    name: str, rates: list[float], share: float, verdict: str
) -> None:
    ds = _at_edge(_spread([1.02] * len(rates)), rates)
    assert HoversAtThreshold().judge(ds).verdict == "supported"
    found = HoversAtOtherThreshold().judge(ds)
    assert (found.verdict, found.value) == (verdict, pytest.approx(share)), name
    assert found.runs["judgements"] == len(rates) * 3 * (len(rates) - 1)


def test_ratios_to_other_thresholds() -> None:
    ds = _at_edge(np.asarray([1.0, 1.1, 1.2, 1.3]), [0.4, 0.8], seeds=2)
    found = other_ratios(ds, EdgeRule().reached(ds))
    np.testing.assert_allclose(np.concatenate(found), [2.0, 2.2, 0.6, 0.65])
    alone = ds.isel(run=[0, 1])
    assert [len(part) for part in other_ratios(alone, EdgeRule().reached(alone))] == [0, 0]


def test_the_control_needs_another_learning_rate() -> None:
    found = HoversAtOtherThreshold().judge(_at_edge(_spread([1.05]), [0.4]))
    assert (found.verdict, found.reason[:30]) == ("not_testable", "a run that reached its thresho")


def _tracking(near: list[int], tracked: int = 10) -> xr.Dataset:
    """Runs of one configuration with as many of their eigenvalues at the threshold at the end."""
    ds = _at_edge(np.full(len(near), 1.02), [0.5], seeds=len(near))
    levels = np.where(np.arange(tracked) < np.asarray(near)[:, None], 0.95, 0.85)
    levels[:, 0] = 1.02
    eigenvalues = np.repeat(ds.hessian_eigenvalue.values, tracked, axis=2) * 0.3
    eigenvalues[..., 0] = ds.hessian_eigenvalue.values[..., 0]
    eigenvalues[:, -1] = 4.0 * levels
    return ds.drop_vars("hessian_eigenvalue").assign(
        hessian_eigenvalue=(("run", "hessian_top_measurement", "eigenvalue"), eigenvalues)
    )


@pytest.mark.parametrize(
    ("near", "verdict"),
    [([8, 9, 8], "supported"), ([2, 3, 4], "undecided"), ([1, 1, 1], "not_supported"), ([2, 2, 2], "not_supported")],
)
def test_eigenvalues_gather(near: list[int], verdict: str) -> None:
    found = EigenvaluesGather().judge(_tracking(near))
    assert found.verdict == verdict
    assert found.value == pytest.approx(np.mean(near))
    expected = mean_over_seeds(near).interval()
    assert (found.low, found.high) == (expected.low, expected.high), "over the seeds of one configuration"
    assert found.reason == ""


def test_eigenvalues_gather_says_where_its_number_is_a_lower_bound() -> None:
    found = EigenvaluesGather().judge(_tracking([10, 9, 8]))
    assert found.reason == "all that are tracked are near in 1 of 3 runs: a lower bound"


def test_eigenvalues_gather_needs_ten() -> None:
    found = EigenvaluesGather().judge(_tracking([2, 2, 2], tracked=9))
    assert (found.verdict, found.reason) == ("not_testable", "a run tracks 9 eigenvalues; at least 10 must be tracked")
    run = make_run(observe={"hessian_top": {"every": 5, "k": 3}})
    assert EigenvaluesGather().fault(run) == "a run that tracks 3 eigenvalues, of 10 that it is to track"
    assert EigenvaluesGather(tracked=3).fault(run) == ""


def test_the_last_measurement_of_a_run_that_ended_early_counts() -> None:
    ds = _tracking([8, 9, 8])
    late = ds.copy(deep=True)
    late["hessian_eigenvalue"][0, -1] = nan
    late["hessian_eigenvalue"][0, -2] = ds.hessian_eigenvalue[0, -1]
    late["n_steps"] = ("run", [200, 300, 300])
    assert EigenvaluesGather().judge(late).value == EigenvaluesGather().judge(ds).value


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        ([1.05, 1.06, 1.07], "supported"),  # sharpness = ratio * 2 / lr, so that equal ratios are a slope of -1
        ([1.00, 1.42, 2.00], "not_supported"),  # one sharpness at all: slope 0
        ([1.00, 1.06, 1.13], "undecided"),
    ],
)
def test_sharpness_follows_lr(levels: list[float], verdict: str) -> None:
    ds = _at_edge(_spread(levels, 0.03 if verdict == "undecided" else 0.01), RATES)
    found = SharpnessFollowsLearningRate().judge(ds)
    print(found)
    assert found.verdict == verdict
    sharpness = ds.hessian_eigenvalue.values[:, -1, 0]
    assert found.value == pytest.approx(np.polyfit(np.log(ds.lr.values), np.log(sharpness), 1)[0], rel=1e-9)


def test_sharpness_follows_lr_needs_three_learning_rates_of_one_optimizer() -> None:
    claim, ds = SharpnessFollowsLearningRate(), _at_edge(_spread([1.05, 1.06, 1.07]), RATES)
    assert "1 optimizers at 2 learning rates" in claim.judge(ds.isel(run=slice(6))).reason
    two = ds.assign_coords(optimizer=("run", np.asarray(["gd"] * 8 + ["adam"], object)))
    assert claim.judge(two).verdict == "not_testable"


@pytest.mark.parametrize(
    ("small", "verdict", "reason"),
    [
        ([0.4, 0.5, 0.6], "supported", ""),
        ([1.2, 1.3, 1.4], "not_supported", "9 of 9 gaps are not positive"),
        ([0.4, 1.04, 1.5], "undecided", "3 of 9 gaps are not positive"),
    ],
)
def test_small_batches_stay_below(small: list[float], verdict: str, reason: str) -> None:
    ds = _at_edge(_spread([1.05, 1.06, 1.07, *small]), RATES * 2, batch=[500] * 3 + [8] * 3)
    found = SmallBatchesStayBelow().judge(ds)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert found.value == pytest.approx(np.mean([1.05, 1.06, 1.07]) - np.mean(small))
    assert found.runs == {"full batch": 9, "smaller batch": 9, "judged": 9}


def test_one_gap_that_is_not_positive_is_not_support() -> None:
    """The interval of the mean is above 0, and yet the criterion is not met."""
    small = _spread([0.4, 0.5, 0.6])
    small[0] = 1.3
    ds = _at_edge(np.concatenate([_spread([1.05, 1.06, 1.07]), small]), RATES * 2, batch=[500] * 3 + [8] * 3)
    found = SmallBatchesStayBelow().judge(ds)
    assert found.low is not None
    assert found.low > 0
    assert (found.verdict, found.reason) == ("undecided", "1 of 9 gaps are not positive")


def test_small_batches_count_where_the_full_batch_reached_the_threshold() -> None:
    late = _spread([1.05, 1.06, 1.07, 0.4, 0.5, 0.6])
    late[:3] = nan
    ds = _at_edge(late, RATES * 2, batch=[500] * 3 + [8] * 3)
    assert SmallBatchesStayBelow().judge(ds).runs["judged"] == 6
    ds["status"][9:12] = "diverged"
    assert SmallBatchesStayBelow().judge(ds).runs["judged"] == 6
    ds["status"][12:] = "diverged"
    found = SmallBatchesStayBelow().judge(ds)
    assert (found.verdict, found.reason[:7]) == ("not_testable", "0 pairs")


def test_a_mean_over_one_configuration_is_over_its_seeds() -> None:
    values = [1.0, 2.0, 4.0]
    assert mean_over_runs(values, ["a"] * 3) == mean_over_seeds(values).interval()
    assert mean_over_runs(values, ["a", "a", "b"]) != mean_over_runs(values, ["a", "b", "b"])


# --------------------------------------------------------------------------------------- learning rate against batch

BATCHES = [2, 4, 8, 16, 32, 64]
GRID = [2.0**power for power in range(-5, 8)]


def _sweep(powers: dict[str, float], noise: float, grid: list[float] = GRID) -> xr.Dataset:
    random = np.random.default_rng(0)
    ratios = {}
    for optimizer, power in powers.items():
        for batch in BATCHES:
            for seed in range(3):
                edge = log(0.3) + power * log(batch) + noise * random.standard_normal()
                ratios |= {(optimizer, batch, seed, lr): exp(max(1.3 * (log(lr) - edge), -3)) for lr in grid}
    return loss_dataset(ratios)


@pytest.mark.parametrize(
    ("power", "noise", "verdict"),
    [(1.0, 0.1, "supported"), (0.5, 0.1, "not_supported"), (1.15, 0.5, "undecided")],
)
def test_stable_lr_exponent(power: float, noise: float, verdict: str) -> None:
    found = StableLearningRateExponent().judge(_sweep({"gd": power}, noise))
    print(found)
    assert found.verdict == verdict
    assert found.runs == {"judged": len(BATCHES) * 3 * len(GRID)}
    assert found.low is not None
    assert found.high is not None
    assert found.low < power < found.high


def test_censored_batch_sizes_are_named_with_the_verdict() -> None:
    grid = [lr for lr in GRID if lr >= 1]
    found = StableLearningRateExponent().judge(_sweep({"gd": 1.0}, 0.01, grid))
    assert (found.verdict, found.reason) == ("supported", "without batch size 2 (below the grid)")
    assert found.runs == {"censored": 3 * len(grid), "judged": 15 * len(grid)}
    few = StableLearningRateExponent().judge(_sweep({"gd": 1.0}, 0.01, [lr for lr in grid if lr <= 8]))
    assert few.verdict == "not_testable"
    assert few.reason == (
        "3 batch sizes with a largest stable lr; at least 5 are needed; "
        "without batch size 2 (below the grid), 32 (above the grid), 64 (above the grid)"
    )


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, "supported"), (0.5, "not_supported")])
def test_an_exponent_below_the_knee_is_not_that_of_the_line(slope: float, verdict: str) -> None:
    """Flat from batch size 16 on: the straight line's exponent is wrong, and is not judged with `saturates`."""
    sizes = [2, 4, 8, 16, 32, 64, 128, 256]
    random = np.random.default_rng(0)
    edges = {size: log(0.3) + slope * log(min(size, 16)) + 0.03 * random.standard_normal() for size in sizes}
    ds = loss_dataset(
        {
            ("gd", size, seed, lr): exp(max(1.3 * (log(lr) - edge), -3))
            for size, edge in edges.items()
            for seed in range(3)
            for lr in GRID
        }
    )
    line, bent = (StableLearningRateExponent(saturates=knee).judge(ds) for knee in (False, True))
    print(line, bent)
    assert line.high is not None
    assert line.high < slope
    assert bent.verdict == verdict
    assert bent.low is not None
    assert bent.high is not None
    assert bent.low < slope < bent.high
    assert bent.reason.startswith("flat from batch size 1")
    straight = StableLearningRateExponent(saturates=True).judge(_sweep({"gd": 1.0}, 0.1))
    assert straight.reason.startswith("no knee is certain at 95%; if there is one, it is at batch size")
    assert "until it saturates" in StableLearningRateExponent(saturates=True).statement


@pytest.mark.parametrize(
    ("powers", "noise", "verdict"),
    [
        ({"gd": 1.0, "adam": 0.6}, 0.05, "supported"),
        ({"gd": 0.6, "adam": 1.0}, 0.05, "not_supported"),
        ({"gd": 1.0, "adam": 0.9}, 0.6, "undecided"),
    ],
)
def test_stable_lr_exponent_difference(powers: dict[str, float], noise: float, verdict: str) -> None:
    ds = _sweep(powers, noise)
    found = StableLearningRateExponentDifference().judge(ds)
    print(found)
    assert found.verdict == verdict
    alone = [StableLearningRateExponent().judge(ds.isel(run=ds.optimizer.values == name)) for name in ("gd", "adam")]
    assert found.value == pytest.approx(alone[0].value - alone[1].value)  # type: ignore[operator]
    for name, own in zip(("gd", "adam"), alone, strict=True):
        assert f"{name} {own.value:.2f} [{own.low:.2f}, {own.high:.2f}]" in found.reason
    assert found.runs == {"judged": ds.sizes["run"]}


def test_optimizers_are_found_by_name_and_by_label() -> None:
    ds = _sweep({"gd": 1.0, "adam b1=0.9": 0.6}, 0.05)
    by_name = ds.assign_coords(
        optimizer_name=("run", np.asarray([name.split()[0] for name in ds.optimizer.values], object)),
        optimizer_beta1=("run", np.where(ds.optimizer.values == "gd", nan, 0.9)),
    )
    assert StableLearningRateExponentDifference().judge(by_name).verdict == "supported"
    assert StableLearningRateExponentDifference(second="adam b1=0.9").judge(by_name).verdict == "supported"
    assert StableLearningRateExponentDifference().judge(ds).reason == "no runs of adam"


def test_a_sweep_is_of_one_loss_and_one_budget() -> None:
    ds = _sweep({"gd": 1.0, "adam": 0.6}, 0.05)
    budgets = ds.assign_coords(budget=("run", np.where(ds.seed.values == 0, "2 epochs", "100 steps").astype(object)))
    for claim, wrong in (
        (StableLearningRateExponent(), ds),
        (StableLearningRateExponent(), budgets.isel(run=ds.optimizer.values == "gd")),
        (StableLearningRateExponentDifference(), budgets),
    ):
        found = claim.judge(wrong)
        assert found.verdict == "not_testable"
        assert "narrow `where`" in found.reason
    loss = np.where(ds.optimizer.values == "gd", "mse", "cross_entropy").astype(object)
    apart = StableLearningRateExponentDifference().judge(ds.assign_coords(loss=("run", loss)))
    assert apart.reason == "runs differ in loss, not in lr, batch size and seed alone; narrow `where`"


@pytest.mark.parametrize("claim", SCALING_CLAIMS, ids=lambda claim: claim.name)
def test_claims_about_batches_need_the_loss_at_both_ends(claim: Claim) -> None:
    for clock, fault in (
        ({"every": 4}, ""),
        ({"at": [0, 12]}, ""),
        ({"every": 5}, "a run whose losses are not recorded at steps 0 and 12, its first and last"),
        ({"at": [12]}, "a run whose losses are not recorded at steps 0 and 12, its first and last"),
    ):
        run = make_run(SMALL_DIGITS, observe={"losses": clock})
        assert claim.fault(run) == fault
        assert claim.needs(run) == (("losses",),)


def test_a_study_of_batch_sizes_is_judged_with_its_loss_and_budget(tmp_path: Path) -> None:
    """Real runs, from the YAML to the verdict; so few that there is none."""
    study = make_study(
        tmp_path,
        defaults={**{key: value for key, value in SMALL_DIGITS.items() if key != "lr"}, "loss": "cross_entropy"},
        grid=[{"lr": [0.5, 512.0], "batch_size": [4, 8], "seed": 0}],
        claims=["stable_lr_exponent"],
    )
    ds = collected(study, Paths(tmp_path / "results"))
    assert set(ds.budget.values) == {"12 steps"}
    (found,) = judge_study(study, ds)
    assert found["statement"] == (
        "The largest stable learning rate grows as the batch size to a power of 0.8 to 1.2 (cross_entropy, 12 steps)."
    )
    assert found["verdict"] == "not_testable"
    assert found["reason"] == "2 batch sizes with a largest stable lr; at least 5 are needed"
