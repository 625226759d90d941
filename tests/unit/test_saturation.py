"""A line that goes flat at a knee, on lines whose knee is known."""

from __future__ import annotations

from math import inf, log

import numpy as np
import pytest

from stepscape.analysis.estimates import fit_slope
from stepscape.analysis.saturation import fit_saturating

X = [log(size) for size in (2, 4, 8, 16, 32, 64, 128, 256, 512)]


def bent(knee: float, noise: float, seed: int, slope: float = 1.0) -> np.ndarray:
    return slope * np.minimum(X, knee) + noise * np.random.default_rng(seed).standard_normal(len(X))


@pytest.mark.parametrize("size", [12, 50, 150, inf])
@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_intervals_cover_slope_and_knee(size: float, noise: float) -> None:
    knee = log(size)
    fits = [fit_saturating(X, bent(knee, noise, seed)) for seed in range(400)]
    slope = np.mean([fit.slope.low <= 1 <= fit.slope.high for fit in fits])
    place = np.mean([fit.knee.low <= knee <= fit.knee.high for fit in fits])
    print(f"knee {size}, noise {noise}: slope covered {slope:.3f}, knee {place:.3f}")
    assert slope > 0.92
    assert place > 0.88
    told = np.mean([fit.saturates for fit in fits])
    assert told < 0.05 if knee == inf else told > 0.9


def test_without_noise_the_fit_is_exact() -> None:
    """The knee is on the grid of places that are tried: half way between two points."""
    knee = (X[5] + X[6]) / 2
    fit = fit_saturating(X[::-1], bent(knee, 0, 0, 0.7)[::-1])
    assert fit.slope.value == pytest.approx(0.7, abs=1e-9)
    assert fit.knee.value == pytest.approx(knee)
    assert fit.height == pytest.approx(0.7 * knee)
    assert fit.saturates


def test_a_straight_line_has_the_slope_of_least_squares() -> None:
    values = bent(inf, 0.02, 3)
    fit = fit_saturating(X, values)
    assert (fit.knee.value, fit.knee.high, fit.saturates) == (inf, inf, False)
    assert fit.slope.value == pytest.approx(fit_slope(X, values.tolist()).value, rel=1e-12)
    assert fit.slope.low < 1 < fit.slope.high


@pytest.mark.parametrize(("x", "y"), [(X[:4], X[:4]), (X, X[:8]), ([*X[:4], X[0]], X[:5])])
def test_what_cannot_be_fitted_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="five or more, a y for each x"):
        fit_saturating(x, y)
