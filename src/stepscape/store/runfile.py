"""Run files: a Zarr v3 group in one uncompressed zip with fixed time stamps.

The same run on the same platform gives the same bytes. A zip's directory is written last and every member has a
checksum, so truncation and altered bits never go unseen (Zarr alone reads a missing chunk as fill value).
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from stepscape.errors import DamagedFileError, Mistaken
from stepscape.observables import Variable, longest
from stepscape.store.files import write_atomically
from stepscape.store.template import encoded
from stepscape.study.identity import canonical_json, digest
from stepscape.study.paths import RUN_ENDING
from stepscape.study.restore import restore_run

if TYPE_CHECKING:
    from stepscape.training.record import Record

FORMAT = 1
START = "start_parameters"
"""What a run file calls the parameters of a run that does not start from model and seed."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time stamp of every member of a zip."""
UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, RuntimeError)
"""What reading a file that is not whole may raise."""


def write_run(record: Record, path: Path, platform: Mapping[str, Any]) -> None:
    """Publishes a run: its file appears complete, or not at all.

    Args:
        record: what was recorded.
        path: the run file.
        platform: the platform record.
    """
    write_atomically(path, encode_run(record, platform))


def encode_run(record: Record, platform: Mapping[str, Any]) -> bytes:
    """The content of a run file.

    Args:
        record: what was recorded.
        platform: the platform record.

    Returns:
        All of it.
    """
    return zipped(encoded(as_dataset(record, platform)))


def as_dataset(record: Record, platform: Mapping[str, Any]) -> xr.Dataset:
    """A record as a labelled dataset: a variable for each one measured, the steps as coordinates."""
    run = record.run
    lengths = longest(variable for observable in run.observe for variable in observable.variables(run))
    variables: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, str]]] = {}
    coordinates: dict[str, tuple[str, np.ndarray, dict[str, str]]] = {}
    for observable in run.observe:
        steps = np.asarray(record.steps[observable.name], dtype=np.int64)
        name = "step" if observable.dim == "step" else f"{observable.name}_step"
        coordinates[name] = (observable.dim, steps, {"long_name": "updates done"})
        for variable in observable.variables(run):
            values = _padded(record.values[variable.name], variable, lengths)
            variables[variable.name] = ((observable.dim, *variable.dims), values, {"long_name": variable.long_name})
    if record.start is not None:
        variables[START] = (("parameter",), record.start, {"long_name": "parameters that the run starts from"})
    attributes = {
        "format": FORMAT,
        "run_id": run.id,
        "spec": canonical_json(run.spec),
        "platform": canonical_json(platform),
        "status": record.status,
        "updates": record.updates,
        "reason": record.reason,
    }
    return xr.Dataset(variables, coordinates, attributes)


def _padded(rows: Sequence[np.ndarray], variable: Variable, lengths: Mapping[str, int]) -> np.ndarray:
    values = np.full((len(rows), *(lengths[dim] for dim in variable.dims)), np.nan, variable.dtype)
    if rows:
        values[(slice(None), *map(slice, variable.shape))] = np.stack(rows)
    return values


def zipped(members: Mapping[str, bytes]) -> bytes:
    """One uncompressed zip of these members: sorted, with fixed time stamps."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), members[name])
    return buffer.getvalue()


def _unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        compressed = [info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED]
        if compressed:
            raise zipfile.BadZipFile(f"members are compressed: {', '.join(compressed)}")
        return {name: archive.read(name) for name in archive.namelist()}


def is_as_written(path: Path) -> bool:
    """Whether a run file that opens has the very bytes it was written with, those that no reader looks at included."""
    content = path.read_bytes()
    return content == zipped(_unzipped(content))


def open_run(path: Path | str) -> xr.Dataset:
    """Reads a run file, all of it, checking every checksum.

    Args:
        path: the run file.

    Returns:
        The run: its variables on `step` and on the dimensions of its observables; `run_id`, `spec`, `platform`,
        `status`, `updates` and `reason` are attributes.

    Raises:
        DamagedFileError: the file is not whole, or not what its name says.
    """
    path = Path(path)
    return decode_run(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Reads a run file, whatever it holds.

    Returns:
        All of it.

    Raises:
        DamagedFileError: there is no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DamagedFileError(path, "there is no such file") from None
    except OSError as error:
        raise DamagedFileError(path, str(error)) from None


def decode_run(content: bytes, path: Path) -> xr.Dataset:
    """What `open_run` returns, of a file that has been read.

    Args:
        content: all of it.
        path: its path.

    Returns:
        The run.

    Raises:
        DamagedFileError: it is not whole, or not what its name says.
    """
    try:
        members = _unzipped(content)
        buffers = {name: default_buffer_prototype().buffer.from_bytes(data) for name, data in members.items()}
        ds = xr.open_zarr(MemoryStore(store_dict=buffers, read_only=True), chunks=None, consolidated=False).load()
    except UNREADABLE as error:
        raise DamagedFileError(path, str(error) or type(error).__name__) from None
    _check(ds, path)
    return ds


def _check(ds: xr.Dataset, path: Path) -> None:
    if ds.attrs.get("format") != FORMAT:
        raise DamagedFileError(path, f"format {ds.attrs.get('format')!r}; this version reads {FORMAT}")
    run_id = ds.attrs.get("run_id")
    if digest(ds.attrs.get("spec", "")) != run_id:
        raise DamagedFileError(path, "its run id is not the hash of its spec")
    if path.name.endswith(RUN_ENDING) and path.name != f"{run_id}{RUN_ENDING}":
        raise DamagedFileError(path, f"it holds run {run_id}")
    try:
        run = restore_run(json.loads(ds.attrs["spec"]))
    except Mistaken:
        return  # of another version: whole, but what it should hold is not known here
    declared = {variable.name for observable in run.observe for variable in observable.variables(run)}
    declared |= {START} if run.start else set()
    if declared != set(ds.data_vars):
        raise DamagedFileError(path, f"it holds {sorted(map(str, ds.data_vars))}, its run records {sorted(declared)}")
