"""What a job tells of its runs: in receipts, and where runs failed."""

from __future__ import annotations

import socket
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import torch

from stepscape import __version__
from stepscape.errors import StepscapeError
from stepscape.store.files import sha256, write_json
from stepscape.study.paths import Paths
from stepscape.study.run import Run, describe_run
from stepscape.training.record import Record

_PACKAGES = ("torch", "numpy", "xarray", "zarr")
_TAIL = 15


def said_of(path: Path, record: Record, seconds: float) -> dict[str, Any]:
    """What a receipt says of a run that was trained here.

    Args:
        path: its file.
        record: what was recorded.
        seconds: what it took.

    Returns:
        Checksum, status and what is volatile, so that it is not in the file: times, memory, host, versions.
    """
    return {
        "sha256": sha256(path),
        "status": record.status,
        "updates": record.updates,
        "seconds": round(seconds, 3),
        "mem_mb": round(getrusage(RUSAGE_SELF).ru_maxrss / 1024),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "versions": _versions(),
    }


@cache
def _versions() -> dict[str, str]:
    return {"stepscape": __version__, **{name: version(name) for name in _PACKAGES}}


def failure_of(run: Run, error: Exception) -> dict[str, Any]:
    """What went wrong with a run, which is printed too.

    Args:
        run: the run.
        error: what it raised.

    Returns:
        The run, the error, and the end of its traceback, or of its words.
    """
    told = str(error) if isinstance(error, StepscapeError) else "".join(traceback.format_exception(error))
    lines = told.splitlines()
    print(f"{run.id} {describe_run(run)}: failed", *lines, sep="\n", file=sys.stderr, flush=True)
    name = "" if isinstance(error, StepscapeError) else f"{type(error).__name__}: "
    return {
        "run": run.id,
        "fields": describe_run(run),
        "error": f"{name}{error}{_what_helps(error)}",
        "log_tail": lines[-_TAIL:],
    }


def _what_helps(error: Exception) -> str:
    too_little_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
    if not too_little_memory:
        return ""
    return (
        "; too little memory: fewer jobs at once (`--cores`), more of it (`mem_mb` in the profile), "
        "or a smaller training set or model; the run is tried again next time"
    )


def tell_failures(pack_id: str, paths: Paths, device: str, failures: Sequence[dict[str, Any]]) -> None:
    """Writes what went wrong in a job, with the command that trains its pack again."""
    places = f"--results {paths.root} --data-root {paths.data.root}"
    command = f"stepscape train-pack {pack_id} {places} --device {device}"
    report = {"pack": pack_id, "command": command, "log": str(paths.log("train_pack", pack_id)), "failures": failures}
    write_json(paths.failures(pack_id), report)
