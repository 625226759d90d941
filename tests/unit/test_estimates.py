"""Student's intervals on data whose truth is known: means, slopes, differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from stepscape.analysis.estimates import Estimate, difference, fit_slope, mean_over_seeds

X = np.log([2.0, 4, 8, 16, 32, 64])
TRIALS = 2000


def _slope(random: np.random.Generator, truth: float, noise: float, x: np.ndarray = X) -> Estimate:
    return fit_slope(x.tolist(), (truth * x + noise * random.standard_normal(len(x))).tolist())


def test_slope_and_its_error_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    for count in (3, 6, 20):
        x, y = random.standard_normal((2, count))
        found, expected = fit_slope(x.tolist(), y.tolist()), scipy.stats.linregress(x, y)
        assert (found.value, found.error) == pytest.approx((expected.slope, expected.stderr), rel=1e-12)
        assert found.freedom == count - 2


def test_mean_and_its_interval_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).standard_normal(5)
    found = mean_over_seeds(values.tolist()).interval(0.9)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.value == pytest.approx(values.mean())


@pytest.mark.parametrize("count", [3, 5, 6])
def test_coverage_of_a_slope(count: int) -> None:
    random = np.random.default_rng(1)
    found = [_slope(random, 0.7, 0.1, X[:count]).interval() for _ in range(TRIALS)]
    coverage = np.mean([interval.low <= 0.7 <= interval.high for interval in found])
    print(f"{count} points: covered {coverage:.4f}")
    assert abs(coverage - 0.95) < 0.015, "three standard deviations of the count"


@pytest.mark.parametrize(("first", "second"), [(0.1, 0.1), (0.1, 0.3), (0.02, 0.3)])
def test_coverage_of_a_difference(first: float, second: float) -> None:
    """Welch's law is an approximation: it may cover a little more than stated, hardly less."""
    random = np.random.default_rng(2)
    found = [difference(_slope(random, 1, first), _slope(random, 0.6, second)) for _ in range(TRIALS)]
    coverage = np.mean([part.interval().low <= 0.4 <= part.interval().high for part in found])
    print(f"noise {first} and {second}: covered {coverage:.4f}")
    assert 0.935 < coverage < 0.97
    assert all(4 - 1e-9 <= part.freedom <= 8 + 1e-9 for part in found)


def test_difference_is_that_of_welch() -> None:
    random = np.random.default_rng(3)
    a, b = random.standard_normal(4), 3 * random.standard_normal(9)
    found = difference(mean_over_seeds(a.tolist()), mean_over_seeds(b.tolist()))
    expected = scipy.stats.ttest_ind(a, b, equal_var=False)
    interval, wanted = found.interval(), expected.confidence_interval()
    assert found.freedom == pytest.approx(expected.df, rel=1e-12)
    assert (interval.low, interval.high) == pytest.approx((wanted.low, wanted.high), rel=1e-12)


def test_difference_of_what_has_no_error() -> None:
    exact, other = Estimate(1.0, 0.0, 4), Estimate(0.6, 0.1, 3)
    assert difference(exact, exact) == Estimate(0.0, 0.0, 4)
    assert difference(exact, other) == Estimate(pytest.approx(0.4), 0.1, pytest.approx(3))


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [1, 2]), ([], [])])
def test_a_line_needs_three_points_at_two_places(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="at least three points"):
        fit_slope(x, y)


def test_one_seed_has_no_spread() -> None:
    with pytest.raises(ValueError, match="at least two"):
        mean_over_seeds([1.0])
