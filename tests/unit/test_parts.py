"""Parts: run files are read once, by every way with the same result, and no damage goes unseen."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from stepscape.cli import main
from stepscape.errors import DamagedFileError, StepscapeError
from stepscape.store import blocks, collect, content, parts
from stepscape.store.collect import collect_study, open_study
from stepscape.store.content import Content, read_content, wanted_of
from stepscape.store.executors import executor_of
from stepscape.store.runfile import open_run, zipped
from stepscape.store.template import encoded
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from stepscape.study.spec import Study
from tests.factories import make_study, train_plan

RATES = [0.25, 0.5, 1.0, 1.5]
OBSERVED: dict[str, Any] = {
    "losses": {"every": 1},
    "hessian_top": {"every": 4, "k": 3},
    "hessian_subspace": {"every": 5, "k": 2},
    "parameters": {"at": [5]},
}


def study_of(folder: Path, *rates: float) -> Study:
    grid = [
        {"lr": list(rates), "seed": [0, 1]},
        {"lr": 1e30, "observe": {"hessian_top": {"at": [9], "k": 1}}},
        {"lr": 0.1, "dtype": "float64"},
    ]
    return make_study(folder, "small", grid=grid, observe=OBSERVED)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Run files of all learning rates, never collected."""
    folder = tmp_path_factory.mktemp("trained")
    train_plan(make_plan([study_of(folder, *RATES)]), Paths(folder / "results"))
    return Paths(folder / "results")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_of(tmp_path, *RATES)


@pytest.fixture
def paths(trained: Paths, tmp_path: Path) -> Paths:
    """A copy of the run files."""
    shutil.copytree(trained.root, tmp_path / "results")
    return Paths(tmp_path / "results")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "RUNS", 3)
    monkeypatch.setattr(blocks, "RUNS_PER_BLOCK", 4)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs whose files were read."""
    ids: list[str] = []

    def watched(wanted: content.Wanted) -> Content:
        ids.append(wanted.run_id)
        return read_content(wanted)

    monkeypatch.setattr(parts, "read_content", watched)
    return ids


def bytes_of(study: Study, paths: Paths) -> dict[str, bytes]:
    files = [path for path in paths.study(study.name).rglob("*") if path.is_file()]
    return {str(path.relative_to(paths.root)): path.read_bytes() for path in files}


# ------------------------------------------------------------------------------------------------------ reading a file


def test_arrays_are_those_that_xarray_reads(study: Study, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("left to xarray")

    monkeypatch.setattr(content, "decode_run", refused)
    for run in study.runs:
        wanted, expected = wanted_of(run, paths), open_run(paths.run(run.id))
        found = read_content(wanted)
        assert found.attributes == expected.attrs
        assert set(found.arrays) == set(expected.variables) - {"parameters", "parameters_step"}
        for name, values in found.arrays.items():
            assert values.dtype == expected[name].dtype
            np.testing.assert_array_equal(values, expected[name].values)


def test_a_file_of_another_form_is_read_by_xarray(study: Study, paths: Paths) -> None:
    run = study.runs[0]
    file = paths.run(run.id)
    expected = read_content(wanted_of(run, paths))
    ds = open_run(file).drop_encoding()
    other: dict[str, Any] = {}
    ds.to_zarr(MemoryStore(store_dict=other), consolidated=False)
    file.write_bytes(zipped({name: value.to_bytes() for name, value in other.items()}))
    found = read_content(wanted_of(run, paths))
    assert found.sha256 != expected.sha256
    for name, values in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)


def test_every_flipped_byte_is_refused_or_changes_nothing(study: Study, paths: Paths) -> None:
    """Bytes that no reader looks at, such as times in the zip, may change; what is read may not."""
    run = study.runs[0]
    file, wanted = paths.run(run.id), wanted_of(run, paths)
    whole, expected = file.read_bytes(), read_content(wanted)
    refused = 0
    for place in range(0, len(whole), max(len(whole) // 150, 1)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            found = read_content(wanted)
        except DamagedFileError:
            refused += 1
            continue
        assert dict(found.attributes) == dict(expected.attributes)
        assert all(np.array_equal(found.arrays[name], held, equal_nan=True) for name, held in expected.arrays.items())
    assert refused > 75


# ----------------------------------------------------------------------------------------------- each file is read once


@pytest.mark.usefixtures("small_blocks")
def test_no_run_file_is_read_twice(study: Study, paths: Paths, tmp_path: Path, read: list[str]) -> None:
    fewer = study_of(tmp_path / "fewer", *RATES[::2])
    collect_study(fewer, paths)
    assert sorted(read) == sorted(run.id for run in fewer.runs)
    first = set(read)
    collect_study(study, paths)
    assert sorted(read) == sorted(run.id for run in study.runs)
    assert first < set(read)
    collect_study(study, paths)
    collect_study(fewer, paths)
    assert len(read) == len(study.runs)


@pytest.mark.usefixtures("small_blocks")
def test_a_copied_file_is_known_by_its_hash_and_another_is_read(study: Study, paths: Paths, read: list[str]) -> None:
    collect_study(study, paths)
    before, first, second = bytes_of(study, paths), study.runs[0], study.runs[1]
    for file in (paths.run(first.id), paths.run(second.id)):
        file.write_bytes(file.read_bytes())
        os.utime(file, (1, 1))
    run = open_run(paths.run(second.id)).drop_encoding()
    paths.run(second.id).write_bytes(zipped(encoded(run.assign_attrs(status="stopped"))))
    read.clear()
    ds = collect_study(study, paths)
    assert read == [second.id]
    assert ds.status.sel(run=second.id) == "stopped"
    assert bytes_of(study, paths).keys() == before.keys()


def test_a_deleted_run_file_is_missing_though_a_part_holds_it(study: Study, paths: Paths) -> None:
    collect_study(study, paths)
    paths.run(study.runs[0].id).unlink()
    with pytest.raises(StepscapeError, match="there is no such file"):
        collect_study(study, paths)


# ------------------------------------------------------------------------------------------------------- the same bytes


def grown(study: Study, paths: Paths) -> None:
    for rates in ([RATES[2]], RATES[1:3], RATES):
        collect_study(study_of(paths.root.parent, *rates), paths)


def by_threads(study: Study, paths: Paths) -> None:
    with ThreadPoolExecutor(3) as executor:
        collect_study(study, paths, executor)


def by_processes(study: Study, paths: Paths) -> None:
    with executor_of(2) as executor:
        collect_study(study, paths, executor)


def by_command(study: Study, paths: Paths) -> None:
    assert main(["collect", str(study.path), "--results", str(paths.root), "--workers", "2"]) == 0


def again(study: Study, paths: Paths) -> None:
    collect_study(study, paths)
    collect_study(study, paths)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("way", [grown, by_threads, by_processes, by_command, again])
def test_the_bytes_are_those_of_one_process_without_a_cache(
    way: Callable[[Study, Paths], None], study: Study, paths: Paths, tmp_path: Path
) -> None:
    fresh = Paths(tmp_path / "fresh")
    shutil.copytree(paths.runs, fresh.runs)
    collect_study(study, fresh)
    way(study, paths)
    expected = bytes_of(study, fresh)
    assert len(expected) > 40
    assert bytes_of(study, paths) == expected


@pytest.mark.parametrize("runs_per_block", [4, 256])
def test_chunks_are_those_that_zarr_writes(
    study: Study, paths: Paths, monkeypatch: pytest.MonkeyPatch, runs_per_block: int
) -> None:
    """With 4 a block the last chunk is half empty: zarr fills it up too, with NaN."""
    monkeypatch.setattr(blocks, "RUNS_PER_BLOCK", runs_per_block)
    collect_study(study, paths)
    store = paths.dataset(study.name)
    group = zarr.open_group(store, mode="r")
    own = {file.relative_to(store).as_posix(): file.read_bytes() for file in store.rglob("c/*/*") if file.is_file()}
    assert len(own) >= 10
    copy = zarr.open_group(shutil.copytree(store, paths.root / "copy.zarr"), mode="r+")
    for name in {chunk.partition("/")[0] for chunk in own}:
        copied: Any = copy[name]
        shutil.rmtree(paths.root / "copy.zarr" / name / "c")
        copied[...] = np.asarray(group[name])
    assert {name: (paths.root / "copy.zarr" / name).read_bytes() for name in own} == own


def test_large_runs_are_in_smaller_chunks_of_the_same_values(
    study: Study, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = collect_study(study, paths).load()
    monkeypatch.setattr(blocks, "_CHUNK_BYTES", 200)
    found = collect_study(study, paths).load()
    assert found.identical(expected)
    assert found.train_loss.encoding["chunks"] == (2, 11)


def test_chunks_without_a_measurement_are_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "RUNS_PER_BLOCK", 2)
    grid = [{"lr": [0.25, 0.5, 1.0, 1.5]}, {"lr": 0.1, "observe": {"hessian_top": {"at": [0], "k": 2}}}]
    study, paths = make_study(tmp_path, grid=grid), Paths(tmp_path / "results")
    train_plan(make_plan([study]), paths)
    ds = collect_study(study, paths)
    stored = [path for path in (paths.dataset(study.name) / "hessian_eigenvalue" / "c").rglob("*") if path.is_file()]
    assert len(stored) == 1
    assert np.isfinite(ds.hessian_eigenvalue.values).any(axis=(1, 2)).tolist() == (ds.lr.values == 0.1).tolist()


# -------------------------------------------------------------------------------------------------------- damaged parts


@pytest.mark.usefixtures("small_blocks")
def test_a_damaged_part_is_made_again(study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    collect_study(study, paths)
    expected = bytes_of(study, paths)
    files = sorted(paths.parts.iterdir())
    flipped, truncated, emptied = files[:3]
    data = bytearray(flipped.read_bytes())
    data[3] ^= 1
    flipped.write_bytes(data)
    truncated.write_bytes(truncated.read_bytes()[:-9])
    emptied.write_bytes(b"")
    collect_study(study, paths)
    assert bytes_of(study, paths) == expected
    assert f"{flipped}: damaged" in capsys.readouterr().out
    assert [file.name for file in sorted(paths.parts.iterdir())] == [file.name for file in files]


@pytest.mark.parametrize("place", np.linspace(0.001, 0.999, 10))
def test_no_flipped_bit_of_a_part_reaches_the_dataset(study: Study, paths: Paths, place: float) -> None:
    collect_study(study, paths)
    expected = bytes_of(study, paths)
    (part,) = paths.parts.iterdir()
    data = bytearray(part.read_bytes())
    data[int(place * len(data))] ^= 4
    part.write_bytes(data)
    collect_study(study, paths)
    assert bytes_of(study, paths) == expected


def test_a_disk_that_loses_what_was_just_written_is_an_error(
    study: Study, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "fill_block", lambda block: blocks.Filled(damaged={block.held[0].part}))
    with pytest.raises(DamagedFileError, match="the disk does not keep"):
        collect_study(study, paths)
    with pytest.raises(StepscapeError, match="no complete dataset"):
        open_study(paths.study(study.name))


# ------------------------------------------------------------------------------------------------------------ executors


def test_a_number_of_workers_is_positive(capsys: pytest.CaptureFixture[str], study: Study, paths: Paths) -> None:
    assert main(["collect", str(study.path), "--results", str(paths.root), "--workers", "0"]) == 1
    assert capsys.readouterr().err == "--workers 0; allowed: 1 or more\n"


def test_a_scheduler_without_distributed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(StepscapeError, match="pip install distributed"), executor_of(1, "tcp://127.0.0.1:1"):
        pass


def test_a_scheduler_is_asked_for_its_executor(
    monkeypatch: pytest.MonkeyPatch, study: Study, paths: Paths, tmp_path: Path
) -> None:
    """With a client that has the two methods of distributed's which are used."""
    asked: list[str] = []

    class Client:
        def __init__(self, address: str) -> None:
            asked.append(address)

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            asked.append("closed")

        def get_executor(self, *, pure: bool) -> Executor:
            assert not pure
            return ThreadPoolExecutor(2)

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    assert main(["collect", str(study.path), "--results", str(paths.root), "--scheduler", "tcp://here:1"]) == 0
    assert asked == ["tcp://here:1", "closed"]
    assert open_study(paths.study(study.name)).sizes["run"] == len(study.runs)


def test_zip_entries_that_are_compressed_are_refused(study: Study, paths: Paths) -> None:
    wanted = wanted_of(study.runs[0], paths)
    with zipfile.ZipFile(wanted.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(wanted.path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, held in members.items():
            archive.writestr(name, held)
    with pytest.raises(DamagedFileError, match="compressed"):
        read_content(wanted)
