"""Run files without xarray: the bytes that xarray and zarr would have written, whatever the layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from stepscape.store import template
from stepscape.store.template import encoded, encoded_by_xarray

Given = dict[str, tuple[tuple[str, ...], Any]]
RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _no_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "_TEMPLATES", {})


def _numbers(*shape: int, dtype: str = "float32") -> np.ndarray:
    return (100 * RANDOM.standard_normal(shape)).astype(dtype)


def _padded(dtype: str) -> np.ndarray:
    values = _numbers(7, 4, dtype=dtype)
    values[:, 2:] = np.nan
    return values


VARIABLES: dict[str, Given] = {
    "one dimension": {"loss": (("step",), _numbers(50))},
    "of another length": {"loss": (("step",), _numbers(3))},
    "of one entry": {"loss": (("step",), _numbers(1))},
    "two dimensions": {"value": (("step", "eigenvalue"), _numbers(7, 4))},
    "three dimensions": {"value": (("step", "probe", "node"), _numbers(3, 2, 5, dtype="float64"))},
    "no dimension": {"value": ((), np.float64(3.5)), "loss": (("step",), _numbers(4))},
    "no dimension, the fill value": {"value": ((), np.float32("nan")), "count": ((), np.int64(0))},
    "padded with NaN": {"value": (("step", "eigenvalue"), _padded("float32")), "loss": (("step",), _numbers(7))},
    "padded float16": {"value": (("step", "eigenvalue"), _padded("float16"))},
    "all NaN": {"loss": (("step",), np.full(5, np.nan)), "other": (("step",), _numbers(5))},
    "zeros of both signs": {"plus": (("step",), np.zeros(5)), "minus": (("step",), np.full(5, -0.0))},
    "infinite": {"loss": (("step",), np.asarray([1, np.inf, -np.inf, np.nan], "float32"))},
    "integers": {"count": (("step",), np.arange(-2, 6)), "small": (("step",), np.arange(8, dtype="uint8"))},
    "integers, all zero": {"count": (("step",), np.zeros(6, np.int64)), "loss": (("step",), _numbers(6))},
    "empty": {"loss": (("step",), _numbers(0)), "value": (("step", "eigenvalue"), _numbers(0, 4))},
    "empty in one dimension": {"value": (("other", "eigenvalue"), _numbers(0, 4)), "loss": (("step",), _numbers(9))},
    "empty in the last": {"value": (("step", "eigenvalue"), _numbers(5, 0)), "loss": (("step",), _numbers(5))},
    "big endian": {"loss": (("step",), _numbers(5).astype(">f4"))},
    "not contiguous": {"value": (("step", "eigenvalue"), _numbers(6, 5).T[::2])},
    "large": {"sketch": (("step", "entry"), _numbers(64, 3000, dtype="float16"))},
    "strings": {"name": (("step",), np.asarray(["a", "bcd", "é"], object)), "loss": (("step",), _numbers(3))},
    "logical": {"is_met": (("step",), np.asarray([True, False, True]))},
}


def _dataset(given: Given, attributes: dict[str, Any], long_name: str = "what it is") -> xr.Dataset:
    lengths = {dim: size for dims, values in given.values() for dim, size in zip(dims, np.shape(values), strict=True)}
    coordinates = {
        "step": ("step", np.arange(lengths.get("step", 0)), {"long_name": "updates done"}),
        "other_step": ("step", 3 * np.arange(lengths.get("step", 0))),
    }
    held = {name: (dims, values, {"long_name": long_name}) for name, (dims, values) in given.items()}
    return xr.Dataset(held, coordinates if "step" in lengths else {}, attributes)


def _assert_same(ds: xr.Dataset) -> None:
    expected, found = encoded_by_xarray(ds), encoded(ds)
    assert sorted(found) == sorted(expected)
    for member, content in expected.items():
        assert found[member] == content, member


@pytest.mark.parametrize("name", VARIABLES)
def test_the_bytes_are_those_of_xarray(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = _dataset(VARIABLES[name], {"updates": 3})
    _assert_same(ds)
    if name not in ("strings", "logical"):
        monkeypatch.setattr(template, "encoded_by_xarray", None)  # the second of a layout does without
    _assert_same(ds)


def test_every_layout_after_every_other() -> None:
    """Templates of one layout are never taken for another; lengths, values and the run's attributes are its own."""
    for again in range(2):
        for given in VARIABLES.values():
            _assert_same(_dataset(given, {"updates": again, "reason": 'a "reason"\n…', "spec": '{"@shape": "@chunk"}'}))


@pytest.mark.parametrize("long_name", ["@shape", "@chunk", '"@shape"', "é", ""])
def test_words_of_a_variable_are_its_own(long_name: str) -> None:
    for _ in range(2):
        _assert_same(_dataset(VARIABLES["two dimensions"], {}, long_name))
        _assert_same(_dataset(VARIABLES["two dimensions"], {}, "other words"))


def test_lengths_share_a_template_and_layouts_do_not() -> None:
    for name in ("one dimension", "of another length", "of one entry"):
        encoded(_dataset(VARIABLES[name], {}))
    assert len(template._TEMPLATES) == 1
    for dtype in ("float64", "int64"):
        encoded(_dataset({"loss": (("step",), _numbers(5, dtype=dtype))}, {}))
    encoded(_dataset({"loss": (("step",), _numbers(0))}, {}))
    encoded(_dataset({"loss": (("step",), _numbers(5))}, {}).reset_coords("other_step"))
    assert len(template._TEMPLATES) == 5
