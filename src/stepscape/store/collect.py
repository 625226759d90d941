"""From the run files of a study to one labelled dataset and one table.

Two passes, each a task a block of runs: run files that no part holds are read into parts, then parts are written into
the chunks of the dataset, which one task owns. Neither holds more than a block in memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec

from stepscape.errors import DamagedFileError, StepscapeError
from stepscape.store.content import clock_of, wanted_of
from stepscape.store.files import set_aside, write_atomically
from stepscape.store.folders import folder_beside, put_folder_in_place
from stepscape.store.layout import Column, columns_of, outline
from stepscape.store.parts import RUNS, Fault, Held, PartReader, kept, write_part
from stepscape.store.template import COMPRESSOR
from stepscape.study.paths import Paths
from stepscape.study.run import Run
from stepscape.study.spec import Study

_RUNS_PER_BLOCK = 256
_CHUNK_BYTES = 16 * 2**20

Map = Callable[..., Any]
"""`map`, or that of an executor."""


def collect_study(study: Study, paths: Paths, executor: Executor | None = None) -> xr.Dataset:
    """Reads the run files of a study, writes its dataset and its table.

    The dataset is a function of the study and its run files, whatever was read before and whoever does the work.

    Args:
        study: the study.
        paths: where results lie.
        executor: what the blocks are given to, such as a `ProcessPoolExecutor` or `Client(...).get_executor()` of
            dask.distributed; None does them here, one after another.

    Returns:
        The dataset; values are read when they are used.

    Raises:
        StepscapeError: run files are missing or damaged; the damaged ones are set aside, so that the next invocation
            trains those runs again.
        DamagedFileError: what was just written to the disk cannot be read back.
        StorageError: the dataset or a part cannot be written.
    """
    runs = sorted(study.runs, key=_order(study))
    do = executor.map if executor else map
    damaged = _collect(study, runs, paths, do)
    for part in damaged:
        print(f"{part}: damaged; removed, its run files are read again")
        part.unlink(missing_ok=True)
    if damaged:
        for part in _collect(study, runs, paths, do):
            raise DamagedFileError(part, "as it was just written: the disk does not keep what it is given")
    return open_study(paths.dataset(study.name))


def _collect(study: Study, runs: Sequence[Run], paths: Paths, do: Map) -> list[Path]:
    """Makes the dataset, unless parts are damaged, which are returned then."""
    held = _held(runs, paths, do)
    columns = columns_of(runs)
    contents = hashlib.sha256("\n".join(run.sha256 for run in held).encode()).hexdigest()
    ds = outline(study, runs, held, columns).assign_attrs(run_files_sha256=contents)
    path = paths.dataset(study.name)
    with folder_beside(path) as temporary:
        _write_outline(ds, columns, temporary)
        damaged = _fill(temporary, held, columns, do)
        if not damaged:
            put_folder_in_place(temporary, path)
            _write_table(ds, paths.table(study.name))
    return damaged


def _fill(store: Path, held: Sequence[Held], columns: Sequence[Column], do: Map) -> list[Path]:
    blocks = [
        Block(store, first, tuple(held[first : first + _RUNS_PER_BLOCK]), tuple(columns))
        for first in range(0, len(held), _RUNS_PER_BLOCK)
    ]
    return sorted(set(chain.from_iterable(do(fill_block, blocks))))


def _order(study: Study) -> Callable[[Run], tuple[Any, ...]]:
    def key(run: Run) -> tuple[Any, ...]:
        labels = [
            study.labels[role, getattr(run, role)] for role in ("optimizer", "model", "dataset", "loss", "schedule")
        ]
        return (*labels, run.batch, run.lr or 0.0, run.seed, run.id)

    return key


def _held(runs: Sequence[Run], paths: Paths, do: Map) -> list[Held]:
    wanted = [wanted_of(run, paths) for run in runs]
    held = kept(paths.parts, wanted)
    unread = [entry for entry in wanted if entry.run_id not in held]
    blocks = [unread[first : first + RUNS] for first in range(0, len(unread), RUNS)]
    faults: list[Fault] = []
    for found, faulty in do(partial(write_part, paths.parts), blocks):
        held |= {entry.run_id: entry for entry in found}
        faults += faulty
    if faults:
        told = [_told(file, reason, paths) for file, reason in faults]
        raise StepscapeError("\n".join([*told, "Start Snakemake again: it trains these runs, and no other, again."]))
    return [held[run.id] for run in runs]


def _told(file: Path, reason: str, paths: Paths) -> str:
    aside = f", set aside as {set_aside(file, paths.damaged)}" if file.exists() else ""
    return f"{DamagedFileError(file, reason)}{aside}"


@dataclass(frozen=True)
class Block:
    """Consecutive runs of a dataset, whose chunks one task writes.

    Attributes:
        store: the dataset.
        first: the index of the first run.
        held: what parts hold of each.
        columns: the arrays to be filled.
    """

    store: Path
    first: int
    held: tuple[Held, ...]
    columns: tuple[Column, ...]


def fill_block(block: Block) -> set[Path]:
    """Writes the chunks of a block.

    Args:
        block: the block.

    Returns:
        The parts that are damaged; the block is incomplete if there are any.
    """
    damaged: set[Path] = set()
    group = zarr.open_group(block.store, mode="r+")
    with PartReader() as reader:
        for column in block.columns:
            array: Any = group[column.name]
            for first in range(0, len(block.held), _runs_per_chunk(column)):
                held = block.held[first : first + _runs_per_chunk(column)]
                if any(column.name in run.arrays for run in held):
                    start = block.first + first
                    array[start : start + len(held)] = _chunk(column, held, reader, damaged)
    return damaged


def _runs_per_chunk(column: Column) -> int:
    """A power of two, so that chunks end where blocks do; fewer where runs are large."""
    runs = _RUNS_PER_BLOCK
    while runs > 1 and runs * prod(column.row) * column.dtype.itemsize > _CHUNK_BYTES:
        runs //= 2
    return runs


def _chunk(column: Column, held: Sequence[Held], reader: PartReader, damaged: set[Path]) -> np.ndarray:
    values = np.full((len(held), *column.row), np.nan, column.dtype)
    places: dict[tuple[Path, int], Any] = {}
    for row, run in zip(values, held, strict=True):
        if column.name in run.arrays:
            try:
                recorded = reader.read(run, column.name)
                clock = _clock(column, run)
                key = run.part, run.arrays[clock].offset
                if key not in places:
                    places[key] = _places(column.steps, reader.read(run, clock))
            except DamagedFileError as error:
                damaged.add(error.path)
                continue
            measured = tuple(slice(min(sizes)) for sizes in zip(column.shape, recorded.shape[1:], strict=True))
            row[places[key], *measured] = recorded[:, *measured]
    return values


def _clock(column: Column, run: Held) -> str:
    own = clock_of(column.observable, "")
    return own if own in run.arrays else "step"


def _places(clock: np.ndarray, steps: np.ndarray) -> np.ndarray | slice:
    """Where measurements at `steps` stand on a clock; a slice, which copies faster, for its first ones."""
    places = np.searchsorted(clock, steps)
    return slice(len(places)) if np.array_equal(places, np.arange(len(places))) else places


def _write_outline(ds: xr.Dataset, columns: Sequence[Column], path: Path) -> None:
    chunks = {column.name: (min(_runs_per_chunk(column), ds.sizes["run"]), *column.row) for column in columns}
    encoding = {
        name: {"chunks": chunks.get(str(name), value.shape)} | _codecs(value)
        for name, value in ds.variables.items()
        if value.dims and value.dims[0] == "run" and value.size
    }
    with warnings.catch_warnings():
        # Consolidated metadata is not yet in the specification of Zarr 3; without it `xarray.open_zarr` warns.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        ds.to_zarr(path, mode="w", consolidated=True, encoding=encoding, compute=False)


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


def open_study(path: Path | str, chunks: dict[Any, Any] | int | Literal["auto"] | None = None) -> xr.Dataset:
    """Opens the dataset of a study; values are read when they are used.

    Args:
        path: the study's folder under `results/studies`, or the `dataset.zarr` in it.
        chunks: None reads with numpy; else what `xarray.open_zarr` takes, such as `{}` for the chunks on disk, and the
            variables are dask arrays.

    Returns:
        The dataset: dimensions `run`, `step`, `<observable>_measurement`, `eigenvalue`; `.stepscape` asks of it
        (`stepscape.accessor.Asking`).

    Raises:
        StepscapeError: there is no complete dataset.
    """
    import stepscape.accessor  # noqa: F401, registers it

    path = Path(path)
    store = path if path.name.endswith(".zarr") else path / "dataset.zarr"
    if not (store / "zarr.json").is_file():
        raise StepscapeError(
            f"{store}: no complete dataset; `snakemake` makes it, `stepscape status` says what is missing"
        )
    return xr.open_zarr(store, chunks=chunks, consolidated=False)
