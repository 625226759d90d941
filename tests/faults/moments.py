"""Moments: something happens when a process is about to touch its results for the n-th time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.sweep import Sweep

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.utime", "os.scandir"}
"""Audit events of Python that name a path first."""


def at_touch(number: int, root: Path, action: Callable[[], None]) -> Callable[[], int]:
    """Does something once, when this process touches a path under `root` for the n-th time, counted from 0.

    Args:
        number: n.
        root: a folder.
        action: what is done, before the path is touched.

    Returns:
        Says how often paths under `root` have been touched.
    """
    count = 0
    begin = f"{root}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in TOUCHES and isinstance(arguments[0], str | os.PathLike) and begin in f"{os.fspath(arguments[0])}":
            count += 1
            if count == number + 1:
                action()

    sys.addaudithook(hook)
    return lambda: count


def die() -> None:
    """`kill -9`, from within."""
    os.kill(os.getpid(), signal.SIGKILL)


def make_until(sweep: Sweep, touch: int) -> None:
    """Makes a sweep, and is killed at a touch."""
    at_touch(touch, sweep.paths.root, die)
    sweep.make()


def count_touches(sweep: Sweep, told: Path) -> None:
    """Makes a sweep, and writes how often it touched its results."""
    counted = at_touch(-1, sweep.paths.root, die)
    sweep.make()
    told.write_text(str(counted()))
