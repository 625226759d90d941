"""What the explorer of a page holds: runs with their axes and final values, trajectories, spectra, overlaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from stepscape.analysis.edge import EdgeRule, sharpness_ratio
from stepscape.report.clocks import Clocks
from stepscape.report.grid import column, setting_keys, settings_of
from stepscape.report.spectra import packed_overlaps, packed_spectra
from stepscape.report.trajectories import has_sharpness, packed, rank, trajectories


@dataclass(frozen=True)
class Explored:
    """The data of a page.

    Attributes:
        head: JSON: runs, columns, settings, what each series is.
        blobs: series by name, as `series.encode` makes them.
    """

    head: dict[str, Any]
    blobs: dict[str, str]


def explore(ds: xr.Dataset, claims: Mapping[str, Sequence[str]]) -> Explored:
    """Packs a study's dataset for its page.

    Args:
        ds: the dataset.
        claims: id of a claim to the ids of the runs that it is about.

    Returns:
        The data: the same dataset, the same data.
    """
    places = {run: index for index, run in enumerate(column(ds, "run"))}
    clocks = Clocks()
    series, blobs = packed(trajectories(ds), clocks)
    spectra, spectra_blobs = packed_spectra(ds, clocks)
    overlaps, overlap_blobs = packed_overlaps(ds, clocks)
    head = {
        "study": ds.attrs.get("study", ""),
        "runs": list(places),
        "settings": [{"words": setting.words, "runs": list(setting.runs)} for setting in settings_of(ds)],
        "axes": _axes(ds),
        "columns": _columns(ds),
        "clocks": clocks.told,
        "series": series,
        "spectra": spectra,
        "overlaps": overlaps,
        "claims": {claim: [places[run] for run in runs if run in places] for claim, runs in claims.items()},
    }
    return Explored(head, blobs | spectra_blobs | overlap_blobs)


# ------------------------------------------------------------------------------------------------ axes and columns


def _axes(ds: xr.Dataset) -> dict[str, Any]:
    """Each axis by which runs are chosen: its values in order, and each run's."""
    batches = [
        "full" if full else f"{size:g}" for size, full in zip(ds.batch_size.values, ds.full_batch.values, strict=True)
    ]
    rates = ["none" if np.isnan(lr) else f"{lr:.6g}" for lr in ds.lr.values]
    found = {key: column(ds, key) for key in setting_keys(ds)}
    found |= {"lr": rates, "batch_size": batches, "seed": column(ds, "seed")}
    return {key: _coded(words) for key, words in found.items()}


def _coded(words: Sequence[str]) -> dict[str, Any]:
    levels = sorted(set(words), key=_natural)
    place = {level: index for index, level in enumerate(levels)}
    return {"levels": levels, "of": [place[word] for word in words]}


def _natural(word: str) -> tuple[int, float, str]:
    """Numbers by size, then words; `full` is larger than any batch."""
    try:
        return (0, float(word), "")
    except ValueError:
        return (1, 0.0, word)


def _columns(ds: xr.Dataset) -> list[dict[str, Any]]:
    """What the table and the maps show of each run, besides its axes."""
    found = [_column("status", "how it ended", column(ds, "status")), _column("n_steps", "updates done", ds.n_steps)]
    for name in sorted((str(name) for name in ds.data_vars if str(name).startswith("final_")), key=rank):
        found.append(_column(name, ds[name].attrs.get("long_name", name), ds[name]))
    if has_sharpness(ds):
        edge = EdgeRule().medians(sharpness_ratio(ds), ds.n_steps)
        found.append(_column("edge_ratio", "sharpness over its threshold, median of the last third", edge))
    return found


def _column(name: str, words: str, values: Any) -> dict[str, Any]:
    best = "min" if name.endswith("_loss") else "max" if name.endswith("_accuracy") else None
    return {"name": name, "words": words, "best": best, "values": [_short(value) for value in np.asarray(values)]}


def _short(value: Any) -> str | float | int | None:
    """A value in terms of JSON: numbers with five digits, None for what is not finite."""
    if isinstance(value, str):
        return value
    if not np.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 1e15 else float(f"{value:.5g}")
