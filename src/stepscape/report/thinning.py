"""What of a page's trajectories is kept: all of it, or, where that would be too much, extremes on a shared grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_VALUES = 1_300_000
"""Numbers along runs in a page: some 2.2 MB, so that a study of a thousand runs stays below 3 MB."""
_FIRST_MAY_HAVE = 0.85
_CAPS = (1024, 512, 256, 128, 64, 32)


def caps_of(totals: Sequence[Sequence[int]], most: int = MOST_VALUES) -> list[int | None]:
    """How many values of a run each series may keep.

    Args:
        totals: for each series, the most important first, how many values each run has.
        most: how many may be kept in all.

    Returns:
        For each series the most that a run keeps, None for all; 0 for a series that is left out.
    """
    if sum(map(sum, totals)) <= most:
        return [None] * len(totals)
    whole = sum(totals[0]) <= _FIRST_MAY_HAVE * most
    caps: list[int | None] = []
    for kept in range(len(totals), 0, -1):  # fewer series, from the least important, until the rest fits
        for cap in _CAPS:
            caps = [None if whole and index == 0 else cap for index in range(kept)]
            if sum(_kept(runs, cap) for runs, cap in zip(totals[:kept], caps, strict=True)) <= most:
                return caps + [0] * (len(totals) - kept)
    return caps + [0] * (len(totals) - len(caps))


def _kept(runs: Sequence[int], cap: int | None) -> int:
    return sum(runs) if cap is None else sum(min(length, cap) for length in runs)


def thinned_steps(steps: NDArray[np.integer], cap: int) -> NDArray[np.integer]:
    """The steps at which `thinned` says its extremes lie: twice the middle of each bucket."""
    return np.repeat(np.asarray([bucket[len(bucket) // 2] for bucket in _buckets(steps, cap)]), 2)


def thinned(values: NDArray[np.floating], cap: int) -> NDArray[np.floating]:
    """The least and the largest value of each of `cap` / 2 buckets; a bucket with NaN alone gives NaN.

    Args:
        values: (n,), more than `cap`.
        cap: even.

    Returns:
        (cap,): least, largest, least, largest ...
    """
    found = []
    for bucket in _buckets(values, cap):
        kept = bucket[~np.isnan(bucket)]
        found += [kept.min(), kept.max()] if len(kept) else [np.nan, np.nan]
    return np.asarray(found)


def _buckets(entries: NDArray, cap: int) -> list[NDArray]:
    return np.array_split(entries, cap // 2)
