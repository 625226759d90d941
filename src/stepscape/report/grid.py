"""A study's runs by what tells them apart, and its grid in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from stepscape.errors import counted

LABELS = ("optimizer", "model", "dataset", "loss", "schedule", "budget")
"""Words for what a run is made of; fields of these are in the words already."""
_AXES = ("lr", "batch_size", "seed")
_TOLD_ELSEWHERE = {"run", "full_batch", "platform", *_AXES}
_MOST_VALUES = 24
"""With more values than this a coordinate is no setting to choose by, such as the run that each run starts from."""
_MOST_LISTED = 6


@dataclass(frozen=True)
class Setting:
    """Runs that differ in learning rate, batch size and seed alone: those of one map.

    Attributes:
        words: key to value, such as `optimizer` to `adam`, of what varies in the study; the optimizer always.
        runs: their indices in the dataset.
    """

    words: dict[str, str]
    runs: tuple[int, ...]


def setting_keys(ds: xr.Dataset) -> list[str]:
    """The coordinates besides learning rate, batch size and seed in which runs differ; the optimizer always."""
    fields = tuple(f"{label}_" for label in LABELS)
    others = (str(name) for name, value in ds.coords.items() if value.dims == ("run",))
    others = (name for name in others if not name.startswith(fields) and name not in {*_TOLD_ELSEWHERE, *LABELS})
    keys = ["optimizer", *LABELS[1:], *sorted(others)]
    return [key for key in keys if key in ds.coords and (key == "optimizer" or 1 < _levels(ds, key) <= _MOST_VALUES)]


def _levels(ds: xr.Dataset, key: str) -> int:
    return len(set(column(ds, key)))


def column(ds: xr.Dataset, key: str) -> list[str]:
    """A coordinate on `run` in words: numbers short, nothing where a run has none."""
    return [_word(value) for value in ds[key].values.tolist()]


def _word(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return str(value)


def settings_of(ds: xr.Dataset) -> list[Setting]:
    """The settings of a dataset, in its order."""
    keys = setting_keys(ds)
    found: dict[tuple[str, ...], list[int]] = {}
    for index, words in enumerate(zip(*(column(ds, key) for key in keys), strict=True)):
        found.setdefault(words, []).append(index)
    return [Setting(dict(zip(keys, words, strict=True)), tuple(runs)) for words, runs in found.items()]


def grid_in_words(ds: xr.Dataset) -> str:
    """How many runs there are, of what, in a sentence."""
    optimizers, models = sorted(set(column(ds, "optimizer"))), sorted(set(column(ds, "model")))
    told = [
        f"{', '.join(optimizers)} on {counted(len(models), 'model')}",
        f"learning rates {_numbers(ds.lr.values)}",
        f"batch sizes {_batches(ds, range(ds.sizes['run']))}",
        f"{counted(len(np.unique(ds.seed.values)), 'seed')}",
    ]
    return f"{counted(ds.sizes['run'], 'run')}: {'; '.join(told)}."


def grid_rows(ds: xr.Dataset) -> list[dict[str, str]]:
    """One row a setting: its words, learning rates, batch sizes, seeds and how many runs it has."""
    rows = []
    for setting in settings_of(ds):
        part = list(setting.runs)
        rows.append(
            {
                **{key.replace("_", " "): word for key, word in setting.words.items()},
                "learning rates": _numbers(ds.lr.values[part]),
                "batch sizes": _batches(ds, part),
                "seeds": _numbers(ds.seed.values[part]),
                "runs": str(len(part)),
            }
        )
    return rows


def _numbers(values: np.ndarray) -> str:
    levels = np.unique(values[~np.isnan(values.astype(float))])
    return _listed([f"{level:g}" for level in levels]) or "none"


def _batches(ds: xr.Dataset, runs: Iterable[int]) -> str:
    part = list(runs)
    sizes, full = ds.batch_size.values[part], ds.full_batch.values[part]
    words = [f"{size:g}" for size in np.unique(sizes[~full])]
    return _listed([*words, *(["full"] if full.any() else [])])


def _listed(words: Sequence[str]) -> str:
    if len(words) <= _MOST_LISTED:
        return ", ".join(words)
    return f"{words[0]} to {words[-1]} ({len(words)} values)"
