"""Intervals by resampling."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A number and its confidence interval."""

    value: float
    low: float
    high: float


def nested_bootstrap(
    values: Sequence[float],
    groups: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean of values that come in groups.

    Groups are resampled with replacement, then members inside each drawn group: configurations differ more than
    seeds do, and resampling seeds alone would make the interval two to three times too narrow.

    Args:
        values: one value a run, (n,).
        groups: the configuration of each run, (n,); runs of a group differ in their seed only.
        confidence: the interval's level.
        resamples: how many resamples.
        seed: draws them.

    Returns:
        The mean of all values and its interval.

    Raises:
        ValueError: there are no values, or as many groups as values are not given.

    With few groups it is too narrow, as bootstrap intervals are: on synthetic data with six groups the 95 % interval
    covered the truth in 89 % of trials, with twenty in 95 % (tests/unit/test_analysis.py).

    Source: Davison & Hinkley 1997, section 3.8, hierarchical data; both stages with replacement here.
    """
    sums = _resampled_sums(np.asarray(values, dtype=float)[:, None], groups, resamples, seed)
    low, high = _percentiles(sums[:, 1] / sums[:, 0], confidence)
    return Interval(float(np.mean(values)), low, high)


def nested_slope(
    x: Sequence[float],
    y: Sequence[float],
    groups: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the least-squares slope of y on x, for points that come in groups.

    Resampled as in `nested_bootstrap`. Resamples in which all x are equal have no slope and are left out. With few
    groups it is too narrow: on synthetic data at three x, three seeds in each group, the 95 % interval covered the true
    slope in 76 % of trials with three groups, in 92 % with six, in 94 % with thirty (tests/unit/test_analysis.py).

    Args:
        x: (n,), two of them different at least.
        y: (n,).
        groups: the configuration of each point, (n,).
        confidence: the interval's level.
        resamples: how many resamples.
        seed: draws them.

    Returns:
        The slope of all points and its interval.

    Raises:
        ValueError: there are no points, x, y and groups differ in length, or all x are equal.
    """
    if len(x) != len(y) or len(set(x)) < 2:
        raise ValueError(f"{len(x)} x, {len(set(x))} of them different, and {len(y)} y; a y for each, and two x")
    points = np.asarray(x, dtype=float) - np.mean(x)
    values = np.asarray(y, dtype=float) - np.mean(y)
    columns = np.stack([points, values, points * points, points * values], axis=1)
    sums = _resampled_sums(columns, groups, resamples, seed)
    means = sums[:, 1:].T / sums[:, 0]
    spread, product = means[2] - means[0] ** 2, means[3] - means[0] * means[1]
    several = spread > 1e-9 * (points @ points) / len(points)
    low, high = _percentiles(product[several] / spread[several], confidence)
    return Interval(float(points @ values / (points @ points)), low, high)


def resampled(
    statistic: Callable[[np.ndarray], float],
    count: int,
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of any statistic of independent members, such as seeds.

    Args:
        statistic: of the members drawn, indices (count,) into them.
        count: how many members there are.
        confidence: the interval's level.
        resamples: how many resamples.
        seed: draws them.

    Returns:
        The statistic of all members, and its interval.

    Source: Efron & Tibshirani 1993, chapter 13.
    """
    random = np.random.Generator(np.random.Philox(seed))
    found = np.array([statistic(drawn) for drawn in random.integers(count, size=(resamples, count))])
    low, high = _percentiles(found, confidence)
    return Interval(statistic(np.arange(count)), low, high)


def _resampled_sums(columns: np.ndarray, groups: Sequence[Hashable], resamples: int, seed: int) -> np.ndarray:
    """How many rows each resample drew, and their sums, (resamples, 1 + m), of columns (n, m) that come in groups."""
    if not len(columns) or len(columns) != len(groups):
        raise ValueError(f"{len(columns)} values in {len(groups)} groups; at least one value, and a group for each")
    counted = np.concatenate([np.ones((len(columns), 1)), columns], axis=1)
    members = [
        counted[[index for index, other in enumerate(groups) if other == group]] for group in dict.fromkeys(groups)
    ]
    random = np.random.Generator(np.random.Philox(seed))
    drawn = random.integers(len(members), size=(resamples, len(members)))
    sums = np.empty((*drawn.shape, counted.shape[1]))
    for index, member in enumerate(members):
        places = np.nonzero(drawn == index)
        sums[places] = member[random.integers(len(member), size=(len(places[0]), len(member)))].sum(axis=1)
    return sums.sum(axis=1)


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
