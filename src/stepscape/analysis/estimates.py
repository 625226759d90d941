"""Numbers with a standard error: means over seeds, slopes of lines, and their differences, with Student's intervals."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np

from stepscape.analysis.bootstrap import Interval, nested_bootstrap


@dataclass(frozen=True)
class Estimate:
    """A number, its standard error, and the degrees of freedom that the error was found with."""

    value: float
    error: float
    freedom: float

    def interval(self, confidence: float = 0.95) -> Interval:
        """The value -+ t error, with t the quantile of Student's law at `freedom`."""
        from scipy.stats import t

        half = float(t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return Interval(self.value, self.value - half, self.value + half)


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """The mean of independent values, such as one a seed.

    Args:
        values: (n,), n at least 2.

    Returns:
        The mean, s / sqrt(n) with s^2 the variance of divisor n - 1, and n - 1.

    Raises:
        ValueError: there are fewer than two values.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} values; at least two, or there is no spread to see")
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)) / sqrt(len(values)), len(values) - 1)


def mean_over_runs(values: Sequence[float], groups: Sequence[Hashable], confidence: float = 0.95) -> Interval:
    """The mean over runs: nested over configurations and seeds; Student's over the seeds of one configuration.

    Args:
        values: (n,), one a run.
        groups: the configuration of each run, (n,).
        confidence: the interval's level.

    Returns:
        The mean and its interval.

    Raises:
        ValueError: there are no values, or a single one.
    """
    if len(set(groups)) > 1:
        return nested_bootstrap(values, groups, confidence=confidence)
    return mean_over_seeds(values).interval(confidence)


def fit_slope(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Slope b of the least-squares line y = a + b x.

    Args:
        x: (n,), n at least 3, two of them different at least.
        y: (n,), independent, all with the same spread about the line.

    Returns:
        b = S_xy / S_xx, its error s / sqrt(S_xx) with s^2 = |residuals|^2 / (n - 2), and n - 2. In trials with six
        points and normal noise its 95 % interval covered the truth in 95 % (tests/unit/test_estimates.py).

    Raises:
        ValueError: x and y differ in length, there are fewer than three points, or all x are equal.

    Source: Draper & Smith 1998, Applied Regression Analysis, section 1.4.
    """
    points, values = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(points) != len(values) or len(points) < 3 or len(set(points.tolist())) < 2:
        raise ValueError(f"{len(points)} x and {len(values)} y; at least three points, at two x or more")
    centred = points - points.mean()
    spread = float(centred @ centred)
    slope = float(centred @ values) / spread
    residuals = values - values.mean() - slope * centred
    freedom = len(points) - 2
    return Estimate(slope, sqrt(float(residuals @ residuals) / freedom / spread), freedom)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """The first estimate minus the second, where neither depends on the other.

    Their errors add in squares. The degrees of freedom are Welch's and Satterthwaite's, which need not suppose that
    both scatter alike: (e1^2 + e2^2)^2 / (e1^4 / f1 + e2^4 / f2), between the smaller of f1, f2 and their sum. Where
    both share what makes them scatter, such as seeds, the interval is wider than it need be.

    Args:
        first: what is subtracted from.
        second: what is subtracted.

    Returns:
        The difference, its error and its degrees of freedom.

    Source: Welch 1947 (Biometrika 34); Satterthwaite 1946 (Biometrics Bulletin 2).
    """
    error = hypot(first.error, second.error)
    shares = [(part.error / error) ** 4 / part.freedom for part in (first, second) if error]
    freedom = 1 / sum(shares) if shares else min(first.freedom, second.freedom)
    return Estimate(first.value - second.value, error, freedom)
