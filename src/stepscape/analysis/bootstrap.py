"""Intervals by resampling."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval."""

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
    if not values or len(values) != len(groups):
        raise ValueError(f"{len(values)} values in {len(groups)} groups; at least one value, and a group for each")
    members = [
        np.asarray([v for v, g in zip(values, groups, strict=True) if g == group]) for group in dict.fromkeys(groups)
    ]
    random = np.random.Generator(np.random.Philox(seed))
    drawn = random.integers(len(members), size=(resamples, len(members)))
    sums = np.empty(drawn.shape)
    sizes = np.asarray([len(member) for member in members])
    for index, member in enumerate(members):
        places = np.nonzero(drawn == index)
        sums[places] = member[random.integers(len(member), size=(len(places[0]), len(member)))].sum(axis=1)
    means = sums.sum(axis=1) / sizes[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(np.mean(values)), float(low), float(high))
