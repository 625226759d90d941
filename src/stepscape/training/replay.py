"""Replaying a run: training it again from nothing but its file, and saying whether the same comes out."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import xarray as xr

from stepscape.archive.bag import open_bag, payload
from stepscape.errors import DamagedFileError, FileError, Mistaken, StepscapeError, counted
from stepscape.store.receipts import existing_runs
from stepscape.store.runfile import as_dataset, encode_run, open_run
from stepscape.study.config import read_config
from stepscape.study.paths import RUN_ENDING, Paths
from stepscape.study.restore import restore_run
from stepscape.study.run import Run, describe_run
from stepscape.training.loop import train_run
from stepscape.training.platform import platform_record, prepare

TOLERANCE = 0.05
"""Relative difference of two averages that rounding may make at the edge of stability (docs/numerics.md)."""

_SHOWN = 8


def find_run(given: str, results: str | None = None) -> Path:
    """The run file that is meant.

    Args:
        given: a run id, the first digits of one, or the path of a run file.
        results: where results lie; if None, where the configuration says.

    Returns:
        The file; it need not exist if a path was given.

    Raises:
        StepscapeError: no run has such an id, or several have.
    """
    if given.endswith(RUN_ENDING) or Path(given).is_file():
        return Path(given)
    paths = Paths(Path(results or read_config().results))
    return paths.run(
        _only(
            given,
            existing_runs(paths),
            paths.runs,
            "an id, as in the first column of a study's runs.csv, or the path of a run file",
        )
    )


def _only(given: str, known: Iterable[str], where: Path, allowed: str) -> str:
    """The one id that begins with `given`."""
    found = sorted(run_id for run_id in known if run_id.startswith(given))
    if len(found) == 1:
        return found[0]
    if not found:
        raise StepscapeError(f"{where}: no run whose id begins with {given!r}; allowed: the digits of {allowed}")
    listed = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
    raise StepscapeError(f"{where}: {len(found)} runs begin with {given!r}: {listed}; give more digits")


def replay_archived(archive: Path, given: str, device_name: str = "auto") -> int:
    """Trains a run of an archive again; nothing else of the archive is read.

    Args:
        archive: what `stepscape archive` wrote.
        given: a run id, or the first digits of one.
        device_name: as for `replay`.

    Returns:
        0 if it agrees, else 1.

    Raises:
        DamagedFileError: the archive or that run of it is damaged.
        StepscapeError: it holds no such run, or several.
    """
    with open_bag(archive) as bag:
        members = payload(bag, lambda name: name.endswith(RUN_ENDING))
        runs = {Path(member).name.removesuffix(RUN_ENDING): member for member in members}
        member = runs[_only(given, runs, archive, "the id of a run that it holds")]
        content = bag.read(f"data/{member}")
    with TemporaryDirectory() as folder:
        path = Path(folder, Path(member).name)
        path.write_bytes(content)
        return replay(path, device_name)


def replay(path: Path, device_name: str = "auto") -> int:
    """Trains a run again and prints how what comes out compares with its file.

    On the platform that the file was written on the bytes must agree. Elsewhere trajectories may part at the edge of
    stability, so averages are compared.

    Args:
        path: the run file.
        device_name: `cpu`, `cuda`, or `auto`: the CPU if the run was trained on one of this model, else as in a job.

    Returns:
        0 if it agrees, else 1.

    Raises:
        DamagedFileError: the file is not whole.
        FileError: another version of the engine or of a member made it.
    """
    then = open_run(path)
    run, platform = _restored(then, path), _platform(then, path)
    device = prepare("cpu" if device_name == "auto" and _is_this_cpu(platform, run) else device_name)
    print(f"Training run {run.id} again: {describe_run(run)}", flush=True)
    record = train_run(run, device, then["start_parameters"].values if run.start else None)
    here = platform_record(run, device)
    if here != platform:
        return _judge_averages(then, as_dataset(record, here), run, _changes(platform, here))
    return _judge_bytes(path, then, as_dataset(record, here), encode_run(record, here))


def _restored(ds: xr.Dataset, path: Path) -> Run:
    try:
        return restore_run(json.loads(ds.attrs["spec"]))
    except Mistaken as error:
        raise FileError(path, error.mistakes) from None


def _platform(ds: xr.Dataset, path: Path) -> Mapping[str, Any]:
    try:
        platform = json.loads(ds.attrs["platform"])
    except (KeyError, TypeError, ValueError):
        platform = None
    if not isinstance(platform, dict):
        raise DamagedFileError(path, "its platform record cannot be read")
    return platform


def _is_this_cpu(platform: Mapping[str, Any], run: Run) -> bool:
    return platform.get("device") == platform_record(run, torch.device("cpu"))["device"]


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    keys = [*then, *(key for key in now if key not in then)]
    told = ((key, then.get(key, "not told"), now.get(key, "not told")) for key in keys)
    return [f"{key}: {old} then, {new} now" for key, old, new in told if old != new]


def _report(lines: Iterable[str], verdict: str, *, agrees: bool) -> int:
    for line in lines:
        print(f"  {line}")
    print(verdict)
    return 0 if agrees else 1


# ------------------------------------------------------------------------------------------------- the same platform


def _judge_bytes(path: Path, then: xr.Dataset, now: xr.Dataset, content: bytes) -> int:
    if path.read_bytes() == content:
        print(f"Same bytes. SHA-256 {hashlib.sha256(content).hexdigest()}")
        return 0
    lines = [*_ends(then, now), *map(str, deviations(then, now))]
    if lines:
        return _report(lines, "Not the same, though the platform record is.", agrees=False)
    why = "the file was altered, or another version of zarr or numcodecs wrote it"
    return _report([], f"Every number is the same, but the bytes are not: {why}.", agrees=False)


def _ends(then: xr.Dataset, now: xr.Dataset) -> list[str]:
    old, new = (f"{ds.attrs['status']} after {counted(ds.attrs['updates'], 'update')}" for ds in (then, now))
    return [] if old == new else [f"it ended: {old} then, {new} now"]


@dataclass(frozen=True)
class Deviation:
    """A variable that came out differently.

    Attributes:
        name: the variable.
        step: the first step at which it differs; None for steps that only one of the two has.
        then: the first value that differs, in the file.
        now: the same, trained again.
        entries: how many values differ.
        of: of how many.
        largest: the largest difference; infinite where one of two values is not finite.
    """

    name: str
    step: int | None
    then: Any
    now: Any
    entries: int
    of: int
    largest: float

    def __str__(self) -> str:
        if self.step is None:
            return f"{self.name}: {counted(self.then, 'measurement')} then, {self.now} now"
        count = f"{self.entries} of {counted(self.of, 'value')}"
        first = f"first at step {self.step}: {self.then} then, {self.now} now"
        return f"{self.name}: {count} by {self.largest:.2g} at most, {first}"


def deviations(then: xr.Dataset, now: xr.Dataset) -> list[Deviation]:
    """The variables of two trainings of a run that are not the same to the bit; NaN equals NaN.

    Args:
        then: the run, as `open_run` returns it.
        now: the same variables.

    Returns:
        One for each variable that differs, and one more where there are not as many measurements.
    """
    found: list[Deviation] = []
    for name in map(str, then.variables):
        old, new = then[name], now[name]
        if len(old) != len(new):
            found.append(Deviation(name, None, len(old), len(new), 0, 0, np.inf))
        found += _deviation(name, old[: len(new)], new[: len(old)])
    return found


def _deviation(name: str, then: xr.DataArray, now: xr.DataArray) -> list[Deviation]:
    old, new = then.values, now.values
    differs = ~((old == new) | (np.isnan(old) & np.isnan(new)))
    if not differs.any():
        return []
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(old.astype(float) - new.astype(float))[differs]
    first = tuple(np.argwhere(differs)[0])
    (steps,) = (held.values for held in then.coords.values() if held.dims == then.dims[:1])
    largest = float(np.where(np.isfinite(gaps), gaps, np.inf).max())
    return [Deviation(name, int(steps[first[0]]), old[first], new[first], int(differs.sum()), differs.size, largest)]


# ----------------------------------------------------------------------------------------------------- another platform


def _judge_averages(then: xr.Dataset, now: xr.Dataset, run: Run, changes: list[str]) -> int:
    print("The platform differs, so bytes need not agree:")
    for change in changes:
        print(f"  {change}")
    ended = _ends(then, now)
    if then.attrs["status"] != now.attrs["status"]:
        return _report(ended, "It does not agree.", agrees=False)
    names = [variable.name for observable in run.observe for variable in observable.variables(run) if variable.summary]
    rows = [_averaged(name, then[name].values, now[name].values) for name in names]
    allowed = f"{TOLERANCE:.0%}, or the standard deviation over these measurements if that is more"
    print(f"Averages over the second half of the measurements; allowed difference: {allowed}.")
    agrees = all(row.agrees for row in rows)
    verdict = "It agrees within rounding." if agrees else "It does not agree: rounding does not explain this."
    return _report([*ended, *map(str, rows)], verdict, agrees=agrees)


@dataclass(frozen=True)
class _Averaged:
    name: str
    then: float
    now: float
    allowed: float

    @property
    def agrees(self) -> bool:
        if not (np.isfinite(self.then) and np.isfinite(self.now)):
            return bool(np.array_equal(self.then, self.now, equal_nan=True))
        return abs(self.then - self.now) <= self.allowed

    def __str__(self) -> str:
        told = f"{self.name}: {self.then:.5g} then, {self.now:.5g} now"
        return told if self.agrees else f"{told}, differs by more than {self.allowed:.2g}"


def _averaged(name: str, then: np.ndarray, now: np.ndarray) -> _Averaged:
    """Of several values a measurement, those that differ most, relative to what is allowed."""
    (old, spread), (new, _) = _second_half(then), _second_half(now)
    allowed = np.fmax(TOLERANCE * np.abs(old), spread)
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.where(np.isfinite(old) == np.isfinite(new), np.nan_to_num(np.abs(old - new) / allowed), np.inf)
    worst = int(excess.argmax())
    return _Averaged(name, float(old[worst]), float(new[worst]), float(allowed[worst]))


def _second_half(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    late = values[len(values) // 2 :].astype(float)
    late = late.reshape(len(late), math.prod(late.shape[1:]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns that are all NaN
        return np.nanmean(late, axis=0), np.nanstd(late, axis=0)
