"""Learning rates against batch size, on losses whose law is known."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, inf, log, nan

import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.batch_scaling import BatchScaling, best_scaling, log_loss_ratio, stable_scaling
from stepscape.analysis.estimates import fit_slope
from stepscape.analysis.learning_rates import BASIN, CAP, DECAY, Censored, Located, basin_centre, largest_stable_lr
from tests.factories import loss_dataset

BATCHES = [2, 4, 8, 16, 32, 64]
GRID = [2.0**power for power in range(-4, 8)]

# ------------------------------------------------------------------------------------------------- one grid


@pytest.mark.parametrize(
    ("name", "ratios", "lr", "censored"),
    [
        ("half way", [-1, -1, 1, 2], 2 * 2**0.5, None),
        ("nearer to the stable one", [-1, -1, -0.1, 0.9], 4 * 2**0.1, None),
        ("the cap", [-1, -1, 900, 900], 2 * 2 ** (1 / 3), None),
        ("infinite", [-1, -1, inf, inf], 2 * 2 ** (1 / 3), None),
        ("not a number", [-1, -1, nan, nan], 2 * 2 ** (1 / 3), None),
        ("exactly as before", [-1, 0, 1, 1], 2.0, None),
        ("an island of stability does not count", [-1, 1, -1, 1], 2**0.5, None),
        ("loss of exactly zero", [-1, -inf, 1, 1], 4.0, None),
        ("no unstable one", [-1, -1, -1, -0.1], 8.0, "right"),
        ("no stable one", [0.1, 1, 2, 2], 1.0, "left"),
        ("the smallest is not stable", [0.1, -1, -1, -1], 1.0, "left"),
        ("all diverged", [nan] * 4, 1.0, "left"),
    ],
)
def test_largest_stable_lr(name: str, ratios: list[float], lr: float, censored: Censored | None) -> None:
    expected = Located(pytest.approx(log(lr), abs=1e-12), censored)
    assert largest_stable_lr([1.0, 2.0, 4.0, 8.0], ratios) == expected, name
    assert largest_stable_lr([8.0, 4.0, 2.0, 1.0], ratios[::-1]) == expected, "the order of the grid does not count"


def test_the_cap_is_two() -> None:
    """A run that blew up by e^2 and one that overflowed are one to the interpolation; one by e^1.9 is not."""
    assert CAP == 2
    at, beyond, below = (largest_stable_lr([1, 2], [-1, ratio]).log for ratio in (2.0, 50.0, 1.9))
    assert at == beyond < below


def _weight(ratio: float) -> float:
    return exp(-log(ratio) / log(1.25))


@pytest.mark.parametrize(
    ("name", "losses", "log2", "censored"),
    [
        ("alone", [2, 1, 2, 2], 1.0, None),
        ("a basin of equals", [2, 1, 1, 2], 1.5, None),
        ("a shoulder", [2, 1, 1.25, 2], (1 + 2 / np.e) / (1 + 1 / np.e), None),
        ("both shoulders", [1.4, 1, 1.2, 2], (1 + 2 * _weight(1.2)) / (1 + _weight(1.4) + _weight(1.2)), None),
        ("just outside of the basin", [2, 1, 1.51, 2], 1.0, None),
        ("beside diverged ones", [2, 1, nan, inf], 1.0, None),
        ("loss of exactly zero", [2, 0, 0, 1], 1.5, None),
        ("at the lower end", [1, 2, 2, 2], 0.0, "left"),
        ("at the upper end", [3, 2, 1.1, 1], 3.0, "right"),
        ("all diverged", [nan] * 4, 0.0, "left"),
    ],
)
def test_basin_centre(name: str, losses: list[float], log2: float, censored: Censored | None) -> None:
    assert (BASIN, DECAY) == (1.5, 1.25)
    expected = Located(pytest.approx(log2 * log(2), abs=1e-12), censored)
    assert basin_centre([1.0, 2.0, 4.0, 8.0], losses) == expected, name


@pytest.mark.parametrize("locate", [largest_stable_lr, basin_centre])
@pytest.mark.parametrize("lrs", [[], [1.0, 1.0]])
def test_a_grid_has_distinct_learning_rates(locate: object, lrs: list[float]) -> None:
    with pytest.raises(ValueError, match="no two alike"):
        locate(lrs, lrs)  # type: ignore[operator]


# ------------------------------------------------------------------------------------------------- many


def _sweep(
    power: float, noise: float, seed: int, *, grid: list[float] = GRID, seeds: int = 3, scale: float = 0.3
) -> dict[tuple[str, int, int, float], float]:
    """Loss ratios whose log crosses 0 at lr = scale B^power times a log-normal factor for each batch size and seed."""
    random = np.random.default_rng(seed)
    found = {}
    for batch in BATCHES:
        for run in range(seeds):
            edge = log(scale) + power * log(batch) + noise * random.standard_normal()
            found |= {("gd", batch, run, lr): exp(max(1.3 * (log(lr) - edge), -3)) for lr in grid}
    return found


def _naive(ratios: Mapping[tuple[str, int, int, float], float]) -> BatchScaling:
    """The largest stable point of the grid, as it is read without interpolation."""
    stable = {
        size: [
            max(log(lr) for (_, batch, run, lr), ratio in ratios.items() if (batch, run) == (size, seed) and ratio < 1)
            for seed in range(3)
        ]
        for size in BATCHES
    }
    return BatchScaling(stable, {})


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_coverage_of_the_exponent(power: float) -> None:
    found = [stable_scaling(loss_dataset(_sweep(power, 0.2, seed))).exponent for seed in range(300)]
    intervals = [part.interval() for part in found if part is not None]
    assert len(intervals) == 300
    coverage = np.mean([interval.low <= power <= interval.high for interval in intervals])
    bias = np.mean([interval.value for interval in intervals]) - power
    print(f"exponent {power}: covered {coverage:.3f}, bias {bias:+.4f}")
    assert coverage > 0.91, "three standard deviations below 0.95"
    assert abs(bias) < 0.02


def test_interpolation_removes_the_zero_width_that_the_grid_makes() -> None:
    """True exponent 1.04; seeds differ by less than a step of the grid, so that each reads the same point of it."""
    ratios = _sweep(1.04, 0.02, 0, scale=0.27)
    coarse = _naive(ratios).exponent
    assert coarse is not None
    assert (coarse.value, coarse.error) == (pytest.approx(1, abs=1e-12), pytest.approx(0, abs=1e-12)), "and wrong"
    fine = stable_scaling(loss_dataset(ratios)).exponent
    assert fine is not None
    interval = fine.interval()
    print(f"exponent {interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}], true 1.04")
    assert interval.high - interval.low > 0.01
    assert interval.low < 1.04 < interval.high


def test_exponent_is_of_the_median_over_seeds() -> None:
    scaling = BatchScaling({size: [log(size), 0.9 * log(size), 7.0] for size in BATCHES}, {})
    assert scaling.exponent == fit_slope([log(size) for size in BATCHES], [log(size) for size in BATCHES])


def _parabola(lr: float, centre: float) -> float:
    return exp(0.3 * (log(lr) - centre) ** 2 - 2)


def test_best_lr_is_nearer_to_the_minimum_than_the_best_point_of_the_grid() -> None:
    """A parabola in log lr; its minimum moves over one step of the grid."""
    errors = []
    for centre in log(4) + log(2) * np.linspace(0, 1, 41):
        losses = [_parabola(lr, centre) for lr in GRID]
        nearest = log(GRID[int(np.argmin(losses))])
        errors.append((abs(basin_centre(GRID, losses).log - centre) / log(2), abs(nearest - centre) / log(2)))
    worst, worst_of_grid = np.max(errors, axis=0)
    print(f"worst error in steps of the grid: {worst:.3f}, of its best point {worst_of_grid:.3f}")
    assert worst_of_grid == pytest.approx(0.5)
    assert worst < 0.15


def test_best_lr_scales_as_its_minimum_does() -> None:
    ratios = {
        ("adam", batch, seed, lr): _parabola(lr, log(0.3) + 0.5 * log(batch) + 0.02 * seed)
        for batch in BATCHES
        for seed in range(3)
        for lr in GRID
    }
    found = best_scaling(loss_dataset(ratios)).exponent
    assert found is not None
    interval = found.interval()
    print(f"exponent {interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}], true 0.5")
    assert interval.low < 0.5 < interval.high < 0.6


def test_censored_batch_sizes_are_left_out_and_named() -> None:
    """The grid from 1 to 8 holds 0.3 B for B = 4 to 16; one seed beyond it is enough."""
    ratios = _sweep(1.0, 0.0, 0, grid=[1.0, 2.0, 4.0, 8.0])
    scaling = stable_scaling(loss_dataset(ratios))
    assert list(scaling.log_lr) == [4, 8, 16]
    assert scaling.censored == {2: "left", 32: "right", 64: "right"}
    assert scaling.exponent is None, "three batch sizes are too few"
    one = {key: 0.5 if key[1:3] == (8, 1) else ratio for key, ratio in ratios.items()}
    assert stable_scaling(loss_dataset(one)).censored == {2: "left", 8: "right", 32: "right", 64: "right"}


def test_a_diverged_run_is_not_stable_whatever_its_last_loss() -> None:
    ratios = {("gd", 2, 0, lr): 0.5 for lr in (1.0, 2.0)}
    ds = loss_dataset(ratios, status=["completed", "diverged"])
    np.testing.assert_allclose(log_loss_ratio(ds), [log(0.5), nan])
    assert stable_scaling(ds).censored == {}
    assert stable_scaling(loss_dataset(ratios)).censored == {2: "right"}


def test_loss_ratio_is_natural_and_of_every_step_too() -> None:
    ds = loss_dataset({("gd", 2, 0, 1.0): 0.25, ("gd", 2, 0, 2.0): 0.0, ("gd", 2, 0, 4.0): inf})
    expected = [log(0.25), -inf, inf]
    np.testing.assert_allclose(log_loss_ratio(ds), expected)
    every = ds.drop_vars("losses_step").rename(losses_measurement="step").assign_coords(step=[0, 100])
    np.testing.assert_allclose(log_loss_ratio(every), expected)


def test_loss_ratio_needs_the_initial_loss() -> None:
    ds: xr.Dataset = loss_dataset({("gd", 2, 0, 1.0): 0.25}).assign_coords(losses_step=("losses_measurement", [10, 20]))
    with pytest.raises(ValueError, match="no train_loss at step 0"):
        log_loss_ratio(ds)
