"""Processes, as others find them: whether one lives, and the names of files that only one of them writes."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.(\d+)-([0-9a-f]{8})\.[0-9a-f]{8}\.tmp")
_HIDDEN = re.compile(r"\..+\.(tmp|aside)")
_FORGOTTEN = 86_400.0  # seconds


def machine() -> str:
    """The running kernel and its namespace of processes; "" where the system does not tell."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def started_at(pid: int) -> int:
    """When a process started, in ticks since boot; 0 where there is none, or only what is left of it."""
    with suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if state in "ZX" else int(fields[18])
    return 0


def temporary_name(name: str) -> str:
    """A hidden name for what becomes `name` when it is whole; no other process has it, and it tells who writes."""
    return f".{name}.{os.getpid()}-{_machine_digest()}.{secrets.token_hex(4)}.tmp"


@cache
def _machine_digest() -> str:
    return hashlib.sha256(machine().encode()).hexdigest()[:8]


def is_left_over(path: Path) -> bool:
    """Whether a file or folder has a temporary name, and whoever wrote it has ended.

    Args:
        path: the file or folder.

    Returns:
        Of a process of this machine, whether it has ended; of any other, whether what it wrote is a day old.
    """
    if not _HIDDEN.fullmatch(path.name):
        return False
    found = _TEMPORARY.fullmatch(path.name)
    if found and machine() and found[2] == _machine_digest():
        return not started_at(int(found[1]))
    return is_forgotten(path)


def is_forgotten(path: Path) -> bool:
    """Whether a file is there that nobody wrote to for a day."""
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > _FORGOTTEN
    return False
