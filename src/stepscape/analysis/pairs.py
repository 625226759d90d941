"""Pairs of runs that differ in one setting only."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from stepscape.analysis.bootstrap import Interval, nested_bootstrap
from stepscape.analysis.grouping import configurations


@dataclass(frozen=True)
class Gaps:
    """Differences inside pairs of runs.

    Attributes:
        values: (n,), one a pair.
        groups: the configuration of each pair, (n,); pairs of a group differ in their seed only.
    """

    values: Sequence[float]
    groups: Sequence[Hashable]

    def mean(self, confidence: float = 0.95) -> Interval:
        """The mean gap, with the interval of `nested_bootstrap`."""
        return nested_bootstrap(self.values, self.groups, confidence=confidence)


def full_batch_gaps(ds: xr.Dataset, values: np.ndarray) -> Gaps:
    """value(full batch) - value(batch of B) for each run on a smaller batch.

    Args:
        ds: runs of full and of smaller batches.
        values: (run,); a pair with a NaN is left out.

    Returns:
        One gap for each run that has a full-batch run like it: alike in all settings and in the seed.
    """
    alike = configurations(ds, but=("batch_size", "full_batch"))
    keys = [(*key, seed) for key, seed in zip(alike, ds.seed.values.tolist(), strict=True)]
    full = {key: value for key, value, is_full in zip(keys, values, ds.full_batch.values, strict=True) if is_full}
    sizes = ds.batch_size.values.tolist()
    pairs = [
        (float(full[key] - value), (*like, size))
        for key, like, value, size, is_full in zip(keys, alike, values, sizes, ds.full_batch.values, strict=True)
        if not is_full and key in full and np.isfinite(full[key] - value)
    ]
    return Gaps([gap for gap, _ in pairs], [group for _, group in pairs])
