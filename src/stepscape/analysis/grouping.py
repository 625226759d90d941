"""Which runs belong together."""

from __future__ import annotations

import xarray as xr

_NOT_A_SETTING = {"run", "seed", "platform"}


def configurations(ds: xr.Dataset) -> list[tuple[object, ...]]:
    """The configuration of each run: all its coordinates but the seed; runs that share one differ in the seed only."""
    names = sorted(
        str(name) for name, value in ds.coords.items() if value.dims == ("run",) and name not in _NOT_A_SETTING
    )
    columns = [["" if value != value else value for value in ds[name].values.tolist()] for name in names]
    return list(zip(*columns, strict=True))
