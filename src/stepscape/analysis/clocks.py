"""When variables were measured."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray


def clock_of(ds: xr.Dataset, name: str) -> NDArray[np.integer]:
    """The steps (n,), of all runs together, at which a variable on `run` and a clock was measured."""
    dim = str(ds[name].dims[1])
    steps: NDArray[np.integer] = ds["step" if dim == "step" else f"{dim.removesuffix('_measurement')}_step"].values
    return steps
