"""Groups of classes, the claims about them, and their figures, on datasets whose answer is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.class_groups import (
    best_runs,
    frequency_groups,
    group_means,
    log_correlation,
    pairs,
)
from stepscape.claims import Claim
from stepscape.claims.class_losses_closer import ClassLossesCloser
from stepscape.claims.classes_alike import ClassesAlike
from stepscape.claims.gradient_follows_curvature import GradientFollowsCurvature
from stepscape.claims.loss_follows_rarity import LossFollowsRarity
from stepscape.claims.rare_loss_ratio import RareLossRatio
from stepscape.figures.gradient_curvature import GradientCurvature
from stepscape.figures.loss_by_class_frequency import LossByClassFrequency
from tests.factories import make_run

mpl.use("Agg")

CLASSES, SEEDS, RATES = 8, 4, (0.1, 0.2, 0.4)
SHARES = np.full(CLASSES, 1 / CLASSES)
RISING = np.geomspace(1, 8, CLASSES)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def dataset(
    losses: Mapping[str, Sequence[float]],
    *,
    best: float = 0.2,
    status: str = "completed",
    power: float = 1.0,
    spread: float = 0.01,
) -> xr.Dataset:
    """Sweeps of optimizers over `RATES`, with the losses of each class at the best one, twice as large elsewhere.

    Gradient norms are the losses, traces of the Hessian a power of them; seeds differ by a factor and by `spread`.
    """
    random = np.random.default_rng(0)
    keys = [(name, lr, seed) for name in losses for lr in RATES for seed in range(SEEDS)]
    rows = np.stack(
        [np.asarray(losses[name]) * (1 if lr == best else 2) * (1 + 0.1 * seed) for name, lr, seed in keys]
    ) * (1 + spread * random.standard_normal((len(keys), CLASSES)))
    count = len(keys)
    names, rates, seeds = (np.asarray(column) for column in zip(*keys, strict=True))
    classes = ("run", "per_class_measurement", "class")
    before = np.full_like(rows, 5.0)
    labels = {key: ("run", np.full(count, key, object)) for key in ("model", "dataset", "loss", "schedule", "budget")}
    return xr.Dataset(
        {
            "class_share": (classes, np.broadcast_to(SHARES, (count, 2, CLASSES))),
            "class_loss": (classes, np.stack([before, rows], axis=1)),
            "class_gradient_norm": (classes, np.stack([before, rows], axis=1)),
            "class_hessian_trace": (classes, np.stack([before, np.abs(rows) ** power], axis=1)),
            "final_train_loss": ("run", rows.mean(axis=1)),
            "status": ("run", np.full(count, status, object)),
            "n_steps": ("run", np.full(count, 10)),
        },
        {
            "run": np.asarray([f"{index:016x}" for index in range(count)], object),
            **labels,
            "optimizer": ("run", names.astype(object)),
            "lr": ("run", rates.astype(float)),
            "batch_size": ("run", np.full(count, 4)),
            "full_batch": ("run", np.full(count, True)),
            "seed": ("run", seeds.astype(int)),
            "dataset_subset_seed": ("run", seeds.astype(int)),
            "per_class_step": ("per_class_measurement", [0, 10]),
        },
    )


# ------------------------------------------------------------------------------------------------------------- analysis


@pytest.mark.parametrize(
    ("shares", "groups", "expected"),
    [
        ([0.25, 0.25, 0.25, 0.25], 2, [0, 0, 1, 1]),
        ([0.1, 0.5, 0.1, 0.3], 2, [1, 0, 1, 1]),
        ([0.5, 0.3, 0.1, 0.1], 2, [0, 1, 1, 1]),
        ([0.9, 0.05, 0.05], 3, [1, 2, 2]),  # larger than a group: one is left empty
        ([0.5, np.nan, 0.5], 2, [0, -1, 1]),
        ([0.5, 0.0, 0.5], 2, [0, -1, 1]),
    ],
)
def test_groups_have_nearly_as_many_samples(shares: list[float], groups: int, expected: list[int]) -> None:
    assert frequency_groups(np.asarray(shares), groups).tolist() == expected


def test_dyadic_shares_fall_into_their_octaves() -> None:
    """2^j classes with a share of 2^-j / m each, as in the paper: group j is octave j."""
    octaves = np.repeat(np.arange(5), 2 ** np.arange(5))
    shares = 2.0**-octaves / 5
    assert np.array_equal(frequency_groups(shares, 5), octaves)


def test_a_mean_over_a_group_is_one_over_its_samples() -> None:
    shares, values = np.asarray([0.5, 0.2, 0.2, 0.1]), np.asarray([7.0, 1.0, 2.0, 4.0])
    found = group_means(values, shares, 2)
    np.testing.assert_allclose(found, [7.0, (0.2 * 1 + 0.2 * 2 + 0.1 * 4) / 0.5])
    assert np.isnan(group_means(np.asarray([1.0, 2.0]), np.asarray([0.9, 0.1]), 3)[0])


def test_the_best_run_is_that_of_least_loss_and_no_diverged_one() -> None:
    ds = dataset({"gd": RISING})
    best = best_runs(ds)
    assert len(best) == SEEDS
    assert {float(ds.lr[each.run]) for each in best} == {0.2}
    assert not any(each.at_end for each in best)
    assert all(each.at_end for each in best_runs(dataset({"gd": RISING}, best=0.4)))
    status = np.where(ds.lr.values == 0.2, "diverged", "completed").astype(object)
    assert 0.2 not in {float(ds.lr[each.run]) for each in best_runs(ds.assign(status=("run", status)))}
    assert best_runs(dataset({"gd": RISING}, status="diverged")) == []


def test_pairs_are_of_one_draw_of_the_data() -> None:
    ds = dataset({"gd": RISING, "adam": RISING[::-1]})
    found = pairs(ds, "adam", "gd")
    assert len(found) == SEEDS
    assert all(first.draw == second.draw for first, second in found)
    assert {str(ds.optimizer.values[first.run]) for first, _ in found} == {"adam"}
    assert pairs(ds.isel(run=ds.optimizer.values == "gd"), "adam", "gd") == []


def test_correlation_of_logs_sees_powers_and_leaves_out_zeros() -> None:
    x = np.asarray([1.0, 2.0, 4.0, 8.0, 0.0])
    assert log_correlation(x, 3 * x**2) == pytest.approx(1)
    assert log_correlation(x, np.asarray([1.0, 0.5, 0.25, 0.125, 9.0])) == pytest.approx(-1)
    assert np.isnan(log_correlation(x[:2], x[:2]))
    assert np.isnan(log_correlation(np.ones(4), x[:4]))


# --------------------------------------------------------------------------------------------------------------- claims

SIGN = {"gd": RISING, "adam": 0.1 / RISING, "sign_descent": 0.2 / RISING}


@pytest.mark.parametrize(
    ("claim", "losses", "verdict", "value"),
    [
        (LossFollowsRarity(groups=4), {"gd": RISING}, "supported", 1.0),
        (LossFollowsRarity(groups=4), {"gd": RISING[::-1]}, "not_supported", -1.0),
        (LossFollowsRarity(groups=4, expected="does not rise"), {"adam": RISING[::-1]}, "supported", -1.0),
        (LossFollowsRarity(groups=4, expected="does not rise"), {"adam": RISING}, "not_supported", 1.0),
        (LossFollowsRarity(groups=4, least=0.75), {"gd": [1, 1, 3, 3, 2, 2, 4, 4]}, "supported", 0.8),
        (RareLossRatio(), SIGN, "supported", None),
        (RareLossRatio(), {"gd": RISING, "adam": RISING}, "not_supported", 1.0),
        (ClassLossesCloser(groups=4), SIGN, "supported", None),
        (ClassLossesCloser(groups=4, near="gd", far="adam"), SIGN, "not_supported", None),
        (ClassesAlike(groups=4), {"gd": np.ones(CLASSES)}, "supported", None),
        (ClassesAlike(groups=4), {"gd": RISING}, "not_supported", None),
        (GradientFollowsCurvature(), {"gd": RISING}, "supported", 1.0),
    ],
)
def test_verdicts(claim: Claim, losses: dict[str, Any], verdict: str, value: float | None) -> None:
    found = claim.judge(dataset(losses))
    assert found.verdict == verdict, found
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert found.runs["judged"] + found.runs["at other learning rates"] == len(losses) * SEEDS * len(RATES)
    if value is not None:
        assert found.value == pytest.approx(value, abs=0.02)


def test_values_are_those_of_the_definition() -> None:
    ds = dataset(SIGN, spread=0.0)
    halves = [0.1 * np.mean(1 / RISING[4:]) / RISING[4:].mean(), 0.1 * np.mean(1 / RISING[:4]) / RISING[:4].mean()]
    found = RareLossRatio().judge(ds)
    assert found.value == pytest.approx(halves[0])
    assert f"on frequent classes the ratio is {halves[1]:.2g}" in found.reason
    groups = {name: losses.reshape(4, 2).mean(axis=1) for name, losses in SIGN.items()}
    far = np.sqrt(np.mean(np.log(groups["sign_descent"] / groups["gd"]) ** 2))
    assert ClassLossesCloser(groups=4).judge(ds).value == pytest.approx(np.log(2) / far)
    spread = RISING[6:].mean() / RISING[:2].mean() - 1
    assert ClassesAlike(groups=4).judge(dataset({"gd": RISING}, spread=0.0)).value == pytest.approx(spread)


def test_classes_without_samples_are_left_out() -> None:
    """They have a gradient and a curvature, but no loss."""
    ds = dataset({"gd": RISING}, spread=0.0)
    shares = ds.class_share.values.copy()
    shares[..., 0] = 0
    losses, traces = ds.class_loss.values.copy(), ds.class_hessian_trace.values.copy()
    losses[..., 0], traces[..., 0] = np.nan, 1e9
    clock = ds.class_loss.dims
    ds = ds.assign(class_share=(clock, shares), class_loss=(clock, losses), class_hessian_trace=(clock, traces))
    assert GradientFollowsCurvature().judge(ds).value == pytest.approx(1.0)
    assert LossFollowsRarity(groups=4).judge(ds).value == pytest.approx(1.0)


def test_curvature_that_knows_nothing_of_gradients_is_found() -> None:
    ds = dataset({"gd": RISING}, power=0.0, spread=0.0)
    noise = np.random.default_rng(1).lognormal(size=ds.class_hessian_trace.shape)
    found = GradientFollowsCurvature().judge(ds.assign(class_hessian_trace=ds.class_hessian_trace * noise))
    assert found.verdict == "not_supported"
    assert abs(found.value or 1) < 0.7


@pytest.mark.parametrize(
    "claim",
    [LossFollowsRarity(), RareLossRatio(), ClassLossesCloser(), ClassesAlike(), GradientFollowsCurvature()],
)
def test_too_few_sweeps_are_not_judged(claim: Claim) -> None:
    for ds in (dataset(SIGN, status="diverged"), dataset(SIGN).isel(run=slice(0, 2))):
        found = claim.judge(ds)
        assert (found.verdict, found.value) == ("not_testable", None)
        assert "at least 3 must" in found.reason


def test_the_end_of_a_grid_is_told() -> None:
    told = f"in {SEEDS} of {SEEDS} sweeps the best learning rate is an end of the grid"
    assert told in LossFollowsRarity(groups=4).judge(dataset({"gd": RISING}, best=0.4)).reason
    assert "end of the grid" not in LossFollowsRarity(groups=4).judge(dataset({"gd": RISING})).reason


def test_classes_must_be_measured_in_the_end() -> None:
    base = {"dataset": {"name": "digits", "train_size": 40, "test_size": 20}, "loss": "cross_entropy"}
    observe = {"losses": {"every": 1}, "per_class": {"at": [0]}}
    claim = LossFollowsRarity()
    assert "not measured at step 10" in claim.fault(make_run({**RUN, **base}, observe=observe))
    assert not claim.fault(make_run({**RUN, **base}, observe={**observe, "per_class": {"at": [10]}}))
    assert set(claim.needs(make_run({**RUN, **base}))) == {("losses",), ("per_class",)}


RUN = {"model": "linear", "optimizer": "gd", "lr": 0.1, "budget": {"steps": 10}}


# -------------------------------------------------------------------------------------------------------------- figures


def test_losses_are_drawn_by_group_a_line_an_optimizer() -> None:
    drawing = LossByClassFrequency(groups=4).draw(dataset(SIGN, spread=0.0))
    (ax,) = drawing.axes
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.get_lines()}
    assert set(lines) == set(SIGN)
    seeds = np.mean(1 + 0.1 * np.arange(SEEDS))
    for name, losses in SIGN.items():
        np.testing.assert_allclose(lines[name], seeds * losses.reshape(4, 2).mean(axis=1))


def test_gradients_are_drawn_against_curvature_a_panel_an_optimizer() -> None:
    drawing = GradientCurvature().draw(dataset({"gd": RISING, "adam": 1 / RISING}, spread=0.0, power=2.0))
    gd, adam = drawing.axes[:2]
    assert [ax.get_title(loc="left") for ax in (gd, adam)] == ["gd", "adam"]
    points = np.asarray(gd.collections[0].get_offsets())
    np.testing.assert_allclose(points, np.stack([RISING**2, RISING], axis=1))
    assert gd.texts[0].get_text() == "r = 1.00"


@pytest.mark.parametrize("figure", [LossByClassFrequency(), GradientCurvature()])
def test_nothing_is_drawn_of_runs_that_diverged(figure: Any) -> None:
    (ax,) = figure.draw(dataset(SIGN, status="diverged")).axes
    assert [text.get_text() for text in ax.texts] == ["all runs diverged"]
