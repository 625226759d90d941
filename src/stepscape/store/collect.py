"""From the run files of a study to one labelled dataset and one table.

Two passes, each a task a block of runs: run files that no part holds are read into parts, then parts are written into
the chunks of the dataset, which one task owns. Neither holds more than a block in memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from stepscape.errors import DamagedFileError, StepscapeError
from stepscape.store.blocks import CODECS, Filled, blocks_of, chunk_shape, fill_block
from stepscape.store.checksums import write_checksums
from stepscape.store.content import wanted_of
from stepscape.store.files import set_aside, sha256, write_atomically
from stepscape.store.folders import folder_beside, put_folder_in_place
from stepscape.store.layout import Column, columns_of, outline
from stepscape.store.parts import RUNS, Fault, Held, kept, write_part
from stepscape.study.paths import Paths
from stepscape.study.run import Run
from stepscape.study.spec import Study

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
        filled = list(do(fill_block, blocks_of(temporary, held, columns)))
        damaged = sorted(set(chain.from_iterable(block.damaged for block in filled)))
        if not damaged:
            _check_written(temporary, ds, columns, filled)
            _write_table(ds, paths.table(study.name))
            write_checksums(path.parent, _sums(temporary, path, paths.table(study.name), filled))
            put_folder_in_place(temporary, path)
    return damaged


def _check_written(store: Path, ds: xr.Dataset, columns: Sequence[Column], filled: Iterable[Filled]) -> None:
    """That all is there: a store in a folder that is removed meanwhile is begun anew by whoever writes to it next."""
    filled_names = {column.name for column in columns}
    is_whole = all((store / name).is_file() for block in filled for name in block.sums)
    try:
        written = xr.open_zarr(store, chunks=None, consolidated=False)
        is_whole &= written.attrs == ds.attrs and written.variables.keys() == ds.variables.keys()
        small = [name for name in ds.variables if name not in filled_names]
        is_whole = is_whole and all(written.variables[name].equals(ds.variables[name]) for name in small)
    except (OSError, ValueError, KeyError):
        is_whole = False
    if not is_whole:
        raise StepscapeError(f"{store.parent}: files vanished while the dataset was written there; start again")


def _sums(temporary: Path, path: Path, table: Path, filled: Iterable[Filled]) -> dict[str, str]:
    """Names of files in the study's folder to their SHA-256; chunks were summed up as they were written."""
    chunks = {name: digested for block in filled for name, digested in block.sums.items()}
    others = {file.relative_to(temporary).as_posix(): file for file in temporary.rglob("*") if file.is_file()}
    sums = chunks | {name: sha256(file) for name, file in others.items() if name not in chunks}
    return {f"{path.name}/{name}": digested for name, digested in sums.items()} | {table.name: sha256(table)}


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


def _write_outline(ds: xr.Dataset, columns: Sequence[Column], path: Path) -> None:
    chunks = {column.name: chunk_shape(column, ds.sizes["run"]) for column in columns}
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
    return {} if value.dtype == object else {"compressors": CODECS}


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
