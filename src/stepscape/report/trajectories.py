"""Quantities along runs, packed for a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from stepscape.analysis.clocks import clock_of
from stepscape.analysis.edge import sharpness_ratio
from stepscape.report.clocks import Clocks
from stepscape.report.series import Row, encode, scale_of
from stepscape.report.thinning import caps_of, thinned, thinned_steps

RATIO = "sharpness_ratio"
_FIRST = ("train_loss", RATIO)
_LIMITS = {"hessian_eigenvalue": "hessian_threshold", "preconditioned_eigenvalue": "preconditioned_threshold"}
_SPAN_OF_LOSSES, _SPAN_OF_OTHERS = 3.0, 1000.0
"""How many times its least value a quantity must reach to be shown on a logarithmic axis."""


@dataclass(frozen=True)
class Trajectories:
    """A quantity along runs.

    Attributes:
        name: of the variable.
        words: what it is.
        steps: (n,), its clock.
        rows: of each run, which entries of the clock were measured, and the values: (m,), or (m, k) of a spectrum.
    """

    name: str
    words: str
    steps: NDArray[np.integer]
    rows: tuple[tuple[NDArray[np.integer], Row], ...]


def has_sharpness(ds: xr.Dataset) -> bool:
    """Whether a dataset holds what the sharpness over its threshold is made of."""
    return bool({"hessian_eigenvalue", "preconditioned_eigenvalue"} & set(ds.data_vars))


def rank(name: str) -> tuple[int, str]:
    """Where a quantity stands among others: what is looked at first, then by name."""
    order = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "hessian_eigenvalue")
    short = name.removeprefix("final_")
    return (order.index(short) if short in order else len(order), short)


def trajectories(ds: xr.Dataset) -> list[Trajectories]:
    """The sharpness over its threshold, and every quantity whose last value is in the table of runs."""
    found = []
    if has_sharpness(ds):
        ratio = sharpness_ratio(ds)
        words = "sharpness over its stability threshold"
        found.append(Trajectories(RATIO, words, ratio.measured_step.values, rows_of(ratio.values)))
    wanted = [str(name).removeprefix("final_") for name in ds.data_vars if str(name).startswith("final_")]
    wanted += [limit for name, limit in _LIMITS.items() if name in wanted and limit in ds]
    for name in wanted:
        if name in ds and ds[name].ndim in (2, 3):
            value = ds[name].isel({ds[name].dims[2]: 0}) if ds[name].ndim == 3 else ds[name]
            words = str(value.attrs.get("long_name", name)).replace("eigenvalues", "eigenvalue")
            found.append(Trajectories(name, words, clock_of(ds, name), rows_of(value.values)))
    return sorted(found, key=lambda one: (_FIRST.index(one.name) if one.name in _FIRST else 2, rank(one.name)))


def rows_of(values: NDArray[np.floating]) -> tuple[tuple[NDArray[np.integer], Row], ...]:
    """What each run measured of (run, n) or (run, n, k): which of the n, and those values; NaN is not measured."""
    flat = values.reshape(*values.shape[:2], -1)
    measured = ~np.isnan(flat).all(axis=2)
    return tuple((np.flatnonzero(here), row[here]) for here, row in zip(measured, values, strict=True))


def packed(found: Sequence[Trajectories], clocks: Clocks) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Packs quantities, the most important first, as many values of each as a page may hold.

    Args:
        found: the quantities.
        clocks: where their steps are told.

    Returns:
        What each is, in terms of JSON, and the series by name.
    """
    caps = caps_of([[len(values) for _, values in one.rows] for one in found]) if found else []
    described, blobs = [], {}
    for one, cap in zip(found, caps, strict=True):
        if cap == 0:
            continue
        longest = max((len(values) for _, values in one.rows), default=0)
        rows = [_thinned(one.steps[where], values, cap) for where, values in one.rows]
        values = [values for _, values in rows]
        scale = scale_of(values, _SPAN_OF_LOSSES if one.name.endswith("_loss") else _SPAN_OF_OTHERS)
        blobs[one.name] = encode(values, scale)
        told = {"name": one.name, "words": one.words, "scale": scale, "clock": clocks.add([steps for steps, _ in rows])}
        told["limit"] = _LIMITS.get(one.name)
        if cap is not None and longest > cap:
            told["thinned"] = [cap, longest]
        described.append(told)
    return described, blobs


def _thinned(steps: NDArray[np.integer], values: Row, cap: int | None) -> tuple[NDArray[np.integer], Row]:
    if cap is None or len(values) <= cap:
        return steps, values
    return thinned_steps(steps, cap), thinned(values, cap)
