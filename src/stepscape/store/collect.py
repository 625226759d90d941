"""From the run files of a study to one labelled dataset and one table."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from zarr.codecs import Crc32cCodec

from stepscape.errors import DamagedFileError, StepscapeError
from stepscape.observables import Variable, longest
from stepscape.registry import settings
from stepscape.store.files import set_aside, sha256, write_atomically
from stepscape.store.runfile import open_run
from stepscape.store.template import COMPRESSOR
from stepscape.study.labels import spell
from stepscape.study.paths import Paths
from stepscape.study.run import Run
from stepscape.study.spec import Study
from stepscape.study.values import GROUPS, ROLES

_RUNS_PER_CHUNK = 256


def collect_study(study: Study, paths: Paths) -> xr.Dataset:
    """Reads the run files of a study, writes its dataset and its table.

    Args:
        study: the study.
        paths: where results lie.

    Returns:
        The dataset, in memory.

    Raises:
        StepscapeError: run files are missing or damaged; the damaged ones are set aside, so that the next invocation
            trains those runs again.
    """
    runs = sorted(study.runs, key=_order(study))
    files = [paths.run(run.id) for run in runs]
    trajectories = _read(files, paths)
    contents = hashlib.sha256("\n".join(map(sha256, files)).encode()).hexdigest()
    ds = assemble(study, runs, trajectories).assign_attrs(run_files_sha256=contents)
    _write(ds, paths.dataset(study.name))
    _write_table(ds, paths.table(study.name))
    return ds


def _order(study: Study) -> Callable[[Run], tuple[Any, ...]]:
    def key(run: Run) -> tuple[Any, ...]:
        labels = [
            study.labels[role, getattr(run, role)] for role in ("optimizer", "model", "dataset", "loss", "schedule")
        ]
        return (*labels, run.batch, run.lr or 0.0, run.seed, run.id)

    return key


def _read(files: Sequence[Path], paths: Paths) -> list[xr.Dataset]:
    found: list[xr.Dataset] = []
    faults: list[str] = []
    for file in files:
        try:
            found.append(open_run(file))
        except DamagedFileError as error:
            if file.exists():
                error.args = (f"{error}, set aside as {set_aside(file, paths.damaged)}",)
            faults.append(str(error))
    if faults:
        raise StepscapeError("\n".join([*faults, "Start Snakemake again: it trains these runs, and no other, again."]))
    return found


def assemble(study: Study, runs: Sequence[Run], trajectories: Sequence[xr.Dataset]) -> xr.Dataset:
    """Puts runs on one `run` dimension, every axis of the grid as a coordinate.

    Args:
        study: what the runs belong to, for its labels.
        runs: the runs, in the order they shall have.
        trajectories: what is recorded of each, as `open_run` gives it.

    Returns:
        The dataset; what a run did not measure is NaN.
    """
    dims = _dims(runs)
    clocks = _clocks(runs, dims)
    recorded = _holders(runs)
    lengths = longest(variable for holders in recorded.values() for _, _, variable in holders)
    variables = {name: _stack(name, holders, lengths, trajectories, dims, clocks) for name, holders in recorded.items()}
    finals = _finals(variables, recorded, trajectories)
    outcomes = {
        "status": (
            "run",
            np.asarray([run.attrs["status"] for run in trajectories], object),
            {"long_name": "how it ended"},
        ),
        "n_steps": ("run", np.asarray([run.attrs["updates"] for run in trajectories]), {"long_name": "updates done"}),
    }
    platforms = sorted({run.attrs["platform"] for run in trajectories})
    coordinates = axes(study, runs)
    if len(platforms) > 1:  # a dataset that mixes platforms says so
        coordinates["platform"] = (
            "run",
            np.asarray([platforms.index(run.attrs["platform"]) for run in trajectories]),
            {},
        )
    for dim, steps in clocks.items():
        name = dim if dim == "step" else f"{dim.removesuffix('_measurement')}_step"
        coordinates[name] = (dim, steps, {"long_name": "updates done"})
    attributes = {
        "title": study.title,
        "question": study.question,
        "sources": list(study.sources),
        "study": study.name,
        "platforms": platforms,
    }
    return xr.Dataset({**outcomes, **finals, **variables}, coordinates, attributes)


def axes(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """Coordinates on `run`: id, labels of members, budget, learning rate, batch size, seed, each field that varies."""
    found: dict[str, Any] = {"run": ("run", np.asarray([run.id for run in runs], object), {"long_name": "run id"})}
    for role in ROLES:
        labels = [study.labels[role, getattr(run, role)] for run in runs]
        names = [getattr(run, role).name for run in runs]
        found[role] = ("run", np.asarray(labels, object), {"long_name": role})
        if labels != names:
            found[f"{role}_name"] = ("run", np.asarray(names, object), {"long_name": f"{role}, without its fields"})
    budgets = [run.budget.words for run in runs]
    found["budget"] = ("run", np.asarray(budgets, object), {"long_name": "how long it was to train"})
    rates = [np.nan if run.lr is None else run.lr for run in runs]
    found["lr"] = ("run", np.asarray(rates), {"long_name": "learning rate"})
    found["batch_size"] = ("run", np.asarray([run.batch for run in runs]), {"long_name": "samples in one batch"})
    found["full_batch"] = (
        "run",
        np.asarray([run.is_full_batch for run in runs]),
        {"long_name": "whether a batch is all"},
    )
    found["seed"] = ("run", np.asarray([run.seed for run in runs]), {"long_name": "seed"})
    for name, values in _varying(runs):
        found[name] = ("run", _column(values), {"long_name": name.replace("_", " ")})
    return found


def _varying(runs: Sequence[Run]) -> Iterable[tuple[str, list[Any]]]:
    for key in settings(Run):
        held = [getattr(run, key) for run in runs]
        if key in ROLES or key in GROUPS:
            fields = dict.fromkeys(field for value in set(held) if value is not None for field in settings(type(value)))
            for field in fields:
                values = [getattr(value, field, None) for value in held]
                if len(set(values)) > 1:
                    yield f"{key}_{field}", values
        elif key not in ("lr", "batch_size", "seed", "observe") and len(set(held)) > 1:
            yield key, held


def _column(values: Sequence[Any]) -> np.ndarray:
    if all(value is None or isinstance(value, int | float) for value in values):
        return np.asarray([np.nan if value is None else float(value) for value in values])
    return np.asarray(["" if value is None else spell(value) for value in values], object)


Holders = dict[str, list[tuple[int, str, Variable]]]
"""Name of a variable to the runs that record it: their index, the observable, and what it declares."""


def _holders(runs: Sequence[Run]) -> Holders:
    found: Holders = {}
    for index, run in enumerate(runs):
        for observable in run.observe:
            for variable in observable.variables(run):
                if variable.collected:
                    found.setdefault(variable.name, []).append((index, observable.name, variable))
    return found


def _dims(runs: Sequence[Run]) -> dict[str, str]:
    """Name of an observable to the dimension of its measurements: `step` if any run records it every step."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for observable in run.observe:
            found.setdefault(observable.name, set()).add(observable.dim)
    return {name: "step" if "step" in dims else dims.pop() for name, dims in found.items()}


def _clocks(runs: Sequence[Run], dims: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Dimension to all steps at which any run was to be measured, in order."""
    schedules = {(observable, run.updates) for run in runs for observable in run.observe}
    steps: dict[str, set[int]] = {}
    for observable, updates in schedules:
        steps.setdefault(dims[observable.name], set()).update(observable.steps(updates))
    return {dim: np.asarray(sorted(steps[dim])) for dim in sorted(steps)}


def _stack(
    name: str,
    holders: list[tuple[int, str, Variable]],
    lengths: Mapping[str, int],
    trajectories: Sequence[xr.Dataset],
    dims: Mapping[str, str],
    clocks: Mapping[str, np.ndarray],
) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
    _, observable, declared = holders[0]
    clock = clocks[dims[observable]]
    shape = (len(trajectories), len(clock), *(lengths[dim] for dim in declared.dims))
    values = np.full(shape, np.nan, np.result_type(*{variable.dtype for _, _, variable in holders}))
    for index, _, variable in holders:
        recorded = trajectories[index][name]
        steps = trajectories[index]["step" if recorded.dims[0] == "step" else f"{observable}_step"].values
        rows = np.searchsorted(clock, steps)
        held = tuple(map(slice, variable.shape))
        place: tuple[Any, ...] = (index, rows, *held)
        values[place] = recorded.values[(slice(None), *held)]
    return ("run", dims[observable], *declared.dims), values, {"long_name": declared.long_name}


def _finals(
    variables: Mapping[str, Any], holders: Holders, trajectories: Sequence[xr.Dataset]
) -> dict[str, tuple[str, np.ndarray, dict[str, str]]]:
    found = {}
    for name, entries in holders.items():
        if entries[0][2].summary:
            values = np.full(len(trajectories), np.nan, variables[name][1].dtype)
            for index, _, _ in entries:
                recorded = trajectories[index][name].values
                if len(recorded):
                    values[index] = recorded[-1].flat[0]
            found[f"final_{name}"] = ("run", values, {"long_name": f"{variables[name][2]['long_name']}, at the end"})
    return found


def _write(ds: xr.Dataset, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    encoding = {
        name: {"chunks": (min(_RUNS_PER_CHUNK, ds.sizes["run"]), *value.shape[1:])} | _codecs(value)
        for name, value in ds.variables.items()
        if value.dims and value.dims[0] == "run" and value.size
    }
    with warnings.catch_warnings():
        # Consolidated metadata is not yet in the specification of Zarr 3; without it `xarray.open_zarr` warns.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        ds.to_zarr(temporary, mode="w", consolidated=True, encoding=encoding)
    shutil.rmtree(path, ignore_errors=True)
    temporary.rename(path)


def _codecs(value: xr.Variable) -> dict[str, Any]:
    return {} if value.dtype == object else {"compressors": (COMPRESSOR, Crc32cCodec())}


def _write_table(ds: xr.Dataset, path: Path) -> None:
    columns = [name for name, value in ds.variables.items() if value.dims == ("run",)]
    columns.sort(key=lambda name: (name != "run", name not in ds.coords))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(ds[name].values.tolist() for name in columns), strict=True):
        writer.writerow("" if value != value else value for value in row)
    write_atomically(path, text.getvalue().encode())


def open_study(path: Path | str, chunks: dict[str, int] | Literal["auto"] | None = None) -> xr.Dataset:
    """Opens the dataset of a study; values are read when they are used.

    Args:
        path: the study's folder under `results/studies`, or the `dataset.zarr` in it.
        chunks: None for arrays that are read whole; else dask's, of which a cluster computes as many at once as it has
            workers: entries along each dimension, `{}` for as they are stored, `auto` for as many as dask thinks good.

    Returns:
        The dataset: dimensions `run`, `step`, `<observable>_measurement`, `eigenvalue`.

    Raises:
        StepscapeError: there is no complete dataset.
    """
    path = Path(path)
    store = path if path.name.endswith(".zarr") else path / "dataset.zarr"
    if not (store / "zarr.json").is_file():
        raise StepscapeError(
            f"{store}: no complete dataset; `snakemake` makes it, `stepscape status` says what is missing"
        )
    return xr.open_zarr(store, chunks=chunks, consolidated=False)
