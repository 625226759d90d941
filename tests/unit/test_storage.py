"""Writing: whole or not at all, in words where it cannot be; and what killed processes leave behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stepscape.errors import StorageError, storage_told
from stepscape.store import processes
from stepscape.store.files import replacing, set_aside, temporary_file, write_atomically
from stepscape.store.folders import folder_beside, put_folder_in_place
from stepscape.store.processes import is_left_over, temporary_name


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk is full\nMake room there"),
        (errno.EDQUOT, "the quota of this disk is used up\nMake room there"),
        (errno.EROFS, "it is read-only\nMake it a folder to write to"),
        (errno.EACCES, "it may not be written\nMake it a folder"),
        (errno.EIO, "input/output error"),
    ],
)
def test_what_the_system_refuses_is_told_in_words(tmp_path: Path, code: int, words: str) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, b"before")
    with pytest.raises(StorageError) as told:
        _write_and_fail(path, code)
    assert str(told.value).startswith(f"{path.parent}: cannot be written: {words}")
    assert "What was written before is whole." in str(told.value)
    assert [file.name for file in path.parent.iterdir()] == ["file"]
    assert path.read_bytes() == b"before"


def _write_and_fail(path: Path, code: int) -> None:
    with replacing(path) as file:
        file.write(b"part")
        raise OSError(code, os.strerror(code))


def test_what_cannot_be_read_elsewhere_is_not_told_of_this_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a" / "file"):
        (tmp_path / "b").read_bytes()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(StorageError, match=f"^{tmp_path / 'a'}"):
        write_atomically(tmp_path / "a" / "b" / "c", b"")
    with pytest.raises(StorageError), storage_told(tmp_path / "a" / "b"):
        set_aside(tmp_path / "a", tmp_path / "a" / "b")


def test_of_two_that_set_aside_one_comes_late(tmp_path: Path) -> None:
    set_aside(tmp_path / "gone", tmp_path / "aside")
    assert list((tmp_path / "aside").iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ left over

KILLED = """
import os, signal, sys
from pathlib import Path
from stepscape.store.files import temporary_file
with temporary_file(Path(sys.argv[1]), "run.zarr.zip"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_known_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -9
    (left,) = tmp_path.iterdir()
    assert is_left_over(left)
    with temporary_file(tmp_path, "run.zarr.zip") as (_, own), temporary_file(tmp_path, "run.zarr.zip") as (_, second):
        assert own != second, "no two have one name"
        assert not is_left_over(own)


@pytest.mark.parametrize(("age", "gone"), [(0, False), (3600, False), (100_000, True), (-1e7, False)])
@pytest.mark.parametrize("name", [".x.zip.7-01234567.89abcdef.tmp", ".x.zip.host.7.tmp", ".x.json.0f.aside"])
def test_of_another_machine_only_time_tells(tmp_path: Path, name: str, age: float, gone: bool) -> None:
    path = tmp_path / name
    path.touch()
    os.utime(path, (time.time() - age, time.time() - age))
    assert is_left_over(path) == gone


@pytest.mark.parametrize("name", ["x.tmp", ".gitignore", "zarr.json", ".tmp"])
def test_what_has_no_temporary_name_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (0, 0))
    assert not is_left_over(tmp_path / name)


def test_where_the_machine_is_unknown_only_time_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / temporary_name("x").replace(f".{os.getpid()}-", ".999999999-")
    path.touch()
    assert is_left_over(path)
    monkeypatch.setattr(processes, "machine", lambda: "")
    assert not is_left_over(path)


# -------------------------------------------------------------------------------------------------------------- folders


def test_a_folder_replaces_another_and_nothing_is_left(tmp_path: Path) -> None:
    target = tmp_path / "dataset.zarr"
    for number in range(2):
        with folder_beside(target) as temporary:
            temporary.mkdir()
            (temporary / str(number)).touch()
            put_folder_in_place(temporary, target)
        assert [path.name for path in target.iterdir()] == [str(number)]
        assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_of_a_folder_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "dataset.zarr"
    left = tmp_path / temporary_name(target.name).replace(f".{os.getpid()}-", ".999999999-")
    (left / "c").mkdir(parents=True)
    living = tmp_path / temporary_name(target.name)
    living.mkdir()
    with folder_beside(target):
        assert not left.exists()
        assert living.exists()


def test_another_process_that_was_quicker_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "dataset.zarr", Path.rename

    def overtaken(path: Path, other: Path) -> Path:
        if other == target and not target.exists():
            monkeypatch.setattr(Path, "rename", rename)
            (target / "theirs").mkdir(parents=True)
        return rename(path, other)

    monkeypatch.setattr(Path, "rename", overtaken)
    with folder_beside(target) as temporary:
        (temporary / "mine").mkdir(parents=True)
        put_folder_in_place(temporary, target)
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert list(tmp_path.iterdir()) == [target]
