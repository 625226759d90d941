"""Small disks of their own, in memory: to be filled, and to be made read-only. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = 8 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of some megabytes, mounted; where that is not allowed, the test is skipped, in CI it fails."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        reason = f"no disk can be mounted here, which needs root: {mounted.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def leave_room(disk: Path, count: int) -> Path:
    """Fills a disk, but for `count` bytes, and returns the file that fills it."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as file:
        file.write(bytes(max(0, free - count)))
    return filler


def remount(disk: Path, how: str) -> None:
    """Makes a disk `ro` or `rw`."""
    subprocess.run(["mount", "-o", f"remount,{how}", disk], check=True)
