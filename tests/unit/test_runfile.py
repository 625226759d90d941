"""Run files: byte for byte the same, whole or refused."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from zarr.storage import ZipStore

from stepscape.errors import DamagedFileError, StorageError
from stepscape.store.files import read_json, set_aside, write_atomically, write_json
from stepscape.store.runfile import as_dataset, is_as_written, open_run, write_run
from stepscape.study.run import Run
from stepscape.training.record import Record
from tests.factories import SMALL_DIGITS, make_run, train

PLATFORM = {"torch": "1", "device": "abacus"}
RICH = {
    "losses": {"every": 1},
    "hessian_top": {"every": 3, "k": 3},
    "preconditioned_top": {"at": [2, 4], "k": 1},
    "parameters": {"at": [12]},
}


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(SMALL_DIGITS, observe=RICH, dtype="float64", batch_size=8)


@pytest.fixture(scope="module")
def record(run: Run) -> Record:
    return train(run)


@pytest.fixture
def path(run: Run, record: Record, tmp_path: Path) -> Path:
    path = tmp_path / f"{run.id}.zarr.zip"
    write_run(record, path, PLATFORM)
    return path


def test_a_run_comes_back_as_it_was_recorded(run: Run, record: Record, path: Path) -> None:
    ds = open_run(path)
    assert ds.identical(as_dataset(record, PLATFORM))
    assert (ds.attrs["run_id"], ds.attrs["status"], ds.attrs["updates"]) == (run.id, "completed", 12)
    for name, rows in record.values.items():
        for row, recorded in zip(rows, ds[name].values, strict=True):
            assert ds[name].dtype == row.dtype
            held = recorded[tuple(map(slice, row.shape))]
            np.testing.assert_array_equal(held, row)
            assert np.isfinite(recorded).sum() == np.isfinite(row).sum(), "what is not held is NaN"
    assert ds.step.values.tolist() == list(range(13))
    assert ds.hessian_top_step.values.tolist() == [0, 3, 6, 9, 12]
    assert ds.hessian_eigenvalue.dims == ("hessian_top_measurement", "eigenvalue")
    assert ds.preconditioned_eigenvalue.shape == (2, 3)


def test_plain_zarr_reads_it_too(path: Path) -> None:
    with ZipStore(path, mode="r") as store:
        assert xr.open_zarr(store, chunks=None, consolidated=False).load().identical(open_run(path))


def test_the_same_run_gives_the_same_bytes(run: Run, path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again" / path.name
    write_run(train(run), again, dict(reversed(PLATFORM.items())))
    assert again.read_bytes() == path.read_bytes()
    assert is_as_written(path)


def test_a_run_that_measured_nothing_of_something_is_whole(tmp_path: Path) -> None:
    run = make_run(observe={"losses": {"every": 1}, "hessian_top": {"at": [9], "k": 2}}, lr=1e30)
    path = tmp_path / f"{run.id}.zarr.zip"
    write_run(train(run), path, PLATFORM)
    ds = open_run(path)
    assert ds.attrs["status"] == "diverged"
    assert ds.hessian_eigenvalue.shape == (0, 2)


def _opens(path: Path) -> xr.Dataset | None:
    try:
        return open_run(path)
    except DamagedFileError:
        return None


def test_a_flipped_bit_is_found_or_lies_where_no_reader_looks(path: Path) -> None:
    """Any other outcome, another exception included, fails; what no reader looks at, `is_as_written` sees."""
    whole, data = open_run(path), path.read_bytes()
    random, harmless = np.random.default_rng(0), []
    for position in random.choice(len(data), 200, replace=False):
        altered = bytearray(data)
        altered[position] ^= 1 << random.integers(8)
        path.write_bytes(altered)
        found = _opens(path)
        if found is not None:
            assert found.identical(whole), position
            assert not is_as_written(path), position
            harmless.append(int(position))
    directory = data.index(b"PK\x01\x02")
    print(f"{200 - len(harmless)} of 200 flips refused; {len(harmless)} harmless, seen by verify: ", end="")
    print(f"{sum(position < directory for position in harmless)} in local headers, the rest in the directory")


def test_every_altered_byte_of_the_headers_is_found_or_harmless(path: Path) -> None:
    """Bytes between the members: where the names, sizes, offsets and methods of compression stand."""
    whole, data = open_run(path), path.read_bytes()
    random = np.random.default_rng(1)
    directory = data.index(b"PK\x01\x02")
    for position in random.choice(np.arange(directory, len(data)), 150, replace=False):
        altered = bytearray(data)
        altered[position] = random.integers(256)
        path.write_bytes(altered)
        found = _opens(path)
        assert found is None or found.identical(whole), position
        assert found is None or is_as_written(path) == (bytes(altered) == data)


def test_every_truncation_is_found(path: Path) -> None:
    data = path.read_bytes()
    lengths = {0, 1, len(data) - 1, *np.random.default_rng(0).integers(len(data), size=100).tolist()}
    for length in sorted(lengths):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedFileError):
            open_run(path)
        zeroed = data[:length] + bytes(len(data) - length)
        path.write_bytes(zeroed)
        if zeroed == data:  # the last two bytes are zero: the length of the comment that there is not
            continue
        with pytest.raises(DamagedFileError):
            open_run(path)


def test_bytes_in_front_and_behind_are_seen(path: Path) -> None:
    data = path.read_bytes()
    for altered in (b"x" + data, data + b"x", data + data):
        path.write_bytes(altered)
        assert _opens(path) is None or not is_as_written(path)


def _rewritten(path: Path, change: Any, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _replace(old: bytes, new: bytes) -> Any:
    def change(members: dict[str, bytes]) -> None:
        assert old in members["zarr.json"]
        members["zarr.json"] = members["zarr.json"].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_replace(b'"format": 1', b'"format": 2'), "format 2; this version reads 1"),
        (_replace(b'"spec": "{', b'"spec": "{ '), "its run id is not the hash of its spec"),
        (_replace(b'"format": 1,', b""), "format None"),
        (lambda members: members.clear(), "[Nn]o group"),
        (lambda members: [members.pop(name) for name in list(members) if name.startswith("test_loss/")], "it holds"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(path: Path, change: Any, reason: str) -> None:
    _rewritten(path, change)
    with pytest.raises(DamagedFileError, match=reason) as caught:
        open_run(path)
    assert str(path) in str(caught.value)


def test_a_compressed_copy_is_refused(path: Path) -> None:
    _rewritten(path, lambda members: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedFileError, match="compressed"):
        open_run(path)


def test_a_run_under_another_name_is_refused(path: Path) -> None:
    other = path.rename(path.with_name(f"{'0' * 16}.zarr.zip"))
    with pytest.raises(DamagedFileError, match="it holds run"):
        open_run(other)
    assert open_run(other.rename(path.with_name("copy.zip"))).attrs["status"] == "completed"


def test_missing_files_folders_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="there is no such file"):
        open_run(tmp_path / "missing.zarr.zip")
    with pytest.raises(DamagedFileError, match="directory"):
        open_run(tmp_path)
    (tmp_path / "text").write_text("not a zip")
    with pytest.raises(DamagedFileError, match="zip"):
        open_run(tmp_path / "text")


# --------------------------------------------------------------------------------------------------- writing of files


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, before: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == (["file"] if before else [])
    assert not before or path.read_bytes() == before


def test_a_folder_that_cannot_be_written_is_an_error_and_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"not a directory|file exists"):
        write_atomically(tmp_path / "file" / "below", b"new")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="directory"):
        write_atomically(tmp_path / "taken", b"new")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "taken"]


def test_a_writer_is_invisible_until_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "file", []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        seen.append(path.exists())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomically(path, b"new")
    assert seen == [False]
    assert path.read_bytes() == b"new"


def test_json_that_is_none_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    assert read_json(path) is None
    write_json(path, {"b": [1.5, None], "a": "é"})
    assert read_json(path) == {"b": [1.5, None], "a": "é"}
    for text in (b"{", b"", b"\xff\xfe", b'{"a": NaN}', b"[Infinity]"):
        path.write_bytes(text)
        assert read_json(path) is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))


def test_setting_aside_never_overwrites(tmp_path: Path) -> None:
    places = []
    for content in ("a", "b", "c"):
        (tmp_path / "file").write_text(content)
        places.append(set_aside(tmp_path / "file", tmp_path / "aside"))
    assert [place.read_text() for place in places] == ["a", "b", "c"]
    assert not (tmp_path / "file").exists()
