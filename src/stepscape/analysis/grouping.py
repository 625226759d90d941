"""Which runs belong together."""

from __future__ import annotations

from collections.abc import Collection

import xarray as xr

_NOT_A_SETTING = {"run", "seed", "platform"}


def configurations(ds: xr.Dataset, but: Collection[str] = ()) -> list[tuple[object, ...]]:
    """The configuration of each run: all its coordinates but the seed; runs that share one differ in the seed only.

    Args:
        ds: the dataset of a study.
        but: coordinates that are left out too.

    Returns:
        One tuple a run.
    """
    columns = [column(ds, name) for name in _settings(ds, but)]
    return list(zip(*columns, strict=True)) if columns else [()] * ds.sizes["run"]


def differing(ds: xr.Dataset, but: Collection[str]) -> list[str]:
    """The settings in which runs differ, those in `but` left out."""
    return [name for name in _settings(ds, but) if len(set(column(ds, name))) > 1]


def _settings(ds: xr.Dataset, but: Collection[str]) -> list[str]:
    left_out = _NOT_A_SETTING.union(but)
    return sorted(str(name) for name, value in ds.coords.items() if value.dims == ("run",) and name not in left_out)


def column(ds: xr.Dataset, name: str) -> list[object]:
    """A coordinate, one entry a run, with NaN, of which no two are alike, as an empty text."""
    return ["" if value != value else value for value in ds[name].values.tolist()]
