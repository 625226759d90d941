"""What the dataset of a study looks like: its axes, its clocks, and the arrays that blocks of runs fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from stepscape.observables import Variable, longest
from stepscape.registry import settings
from stepscape.store.parts import Held
from stepscape.study.labels import spell
from stepscape.study.run import Run
from stepscape.study.spec import Study
from stepscape.study.values import GROUPS, ROLES


@dataclass(frozen=True)
class Column:
    """An array of the dataset that blocks of runs fill.

    Attributes:
        name: its name.
        observable: whose measurements it holds.
        dims: `run`, the dimension of the measurements, those of one measurement.
        steps: (measurements,), the clock.
        shape: of one measurement; smaller ones are padded with NaN.
        dtype: how it is stored.
        long_name: what it is, in words.
        summary: whether its last values are in the table of runs.
    """

    name: str
    observable: str
    dims: tuple[str, ...]
    steps: np.ndarray
    shape: tuple[int, ...]
    dtype: np.dtype
    long_name: str
    summary: bool

    @property
    def row(self) -> tuple[int, ...]:
        """The shape of a run's part of it."""
        return len(self.steps), *self.shape


def columns_of(runs: Sequence[Run]) -> list[Column]:
    """The arrays of all that these runs record for datasets."""
    dims = _dims(runs)
    clocks = _clocks(runs, dims)
    recorded = _recorded(runs)
    lengths = longest(variable for _, held in recorded.values() for variable in held)
    return [
        Column(
            name=name,
            observable=observable,
            dims=("run", dims[observable], *held[0].dims),
            steps=clocks[dims[observable]],
            shape=tuple(lengths[dim] for dim in held[0].dims),
            dtype=np.result_type(*{variable.dtype for variable in held}),
            long_name=held[0].long_name,
            summary=held[0].summary,
        )
        for name, (observable, held) in recorded.items()
    ]


def outline(study: Study, runs: Sequence[Run], held: Sequence[Held], columns: Sequence[Column]) -> xr.Dataset:
    """The dataset with all but the values of its columns, which are dask arrays of NaN.

    Args:
        study: what the runs belong to, for its labels and words.
        runs: the runs, in the order they shall have.
        held: what parts hold of each.
        columns: those of the runs.

    Returns:
        The dataset; every axis of the grid is a coordinate on `run`.
    """
    variables: dict[str, Any] = {
        "status": ("run", np.asarray([run.status for run in held], object), {"long_name": "how it ended"}),
        "n_steps": ("run", np.asarray([run.updates for run in held]), {"long_name": "updates done"}),
    }
    coordinates = axes(study, runs) | _platforms(held)
    for column in columns:
        if column.summary:
            lasts = [run.last(column.name) if column.name in run.arrays else np.nan for run in held]
            told = {"long_name": f"{column.long_name}, at the end"}
            variables[f"final_{column.name}"] = ("run", np.asarray(lasts, column.dtype), told)
    for column in columns:
        dim = column.dims[1]
        name = dim if dim == "step" else f"{dim.removesuffix('_measurement')}_step"
        coordinates[name] = (dim, column.steps, {"long_name": "updates done"})
        shape = (len(runs), *column.row)
        empty = dask.array.full(shape, np.nan, dtype=column.dtype, chunks=shape)
        variables[column.name] = (column.dims, empty, {"long_name": column.long_name})
    attributes = {
        "title": study.title,
        "question": study.question,
        "sources": list(study.sources),
        "study": study.name,
        "platforms": sorted({run.platform for run in held}),
    }
    return xr.Dataset(variables, coordinates, attributes)


def _platforms(held: Sequence[Held]) -> dict[str, Any]:
    """Which platform each run was trained on, if they differ: a dataset that mixes platforms says so."""
    platforms = sorted({run.platform for run in held})
    if len(platforms) == 1:
        return {}
    return {"platform": ("run", np.asarray([platforms.index(run.platform) for run in held]), {})}


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


def _recorded(runs: Sequence[Run]) -> dict[str, tuple[str, list[Variable]]]:
    """Name of a variable to the observable that records it, and to what runs declare of it, each said once."""
    found: dict[str, tuple[str, dict[Variable, None]]] = {}
    for run in runs:
        for observable in run.observe:
            for variable in observable.variables(run):
                if variable.collected:
                    found.setdefault(variable.name, (observable.name, {}))[1][variable] = None
    return {name: (observable, list(declared)) for name, (observable, declared) in found.items()}


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
