"""One job: train the runs of a pack whose file does not yet exist, each published the moment it ends."""

from __future__ import annotations

import socket
import sys
import time
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from stepscape import __version__
from stepscape.errors import StepscapeError
from stepscape.store.files import sha256, write_json
from stepscape.store.receipts import known, read_pack, write_receipt
from stepscape.store.runfile import write_run
from stepscape.study.paths import Paths
from stepscape.study.run import Run, describe_run
from stepscape.training.loop import train_run
from stepscape.training.platform import platform_record, prepare
from stepscape.training.starts import start_parameters

_PACKAGES = ("torch", "numpy", "xarray", "zarr")
_TAIL = 15


def train_pack(pack_id: str, paths: Paths, device_name: str) -> bool:
    """Trains what is missing of a pack and writes its receipt.

    Args:
        pack_id: the pack, whose plan lies under `paths`.
        paths: where results lie.
        device_name: `cpu`, `cuda` or `auto`.

    Returns:
        Whether all its runs are there; if not, the file of failures says what went wrong, and neighbours are published.
    """
    pack = read_pack(paths, pack_id)
    device = prepare(device_name)
    paths.failures(pack_id).unlink(missing_ok=True)
    missing = [run for run in pack.runs if not paths.run(run.id).exists()]
    told = known(paths, {run.id for run in pack.runs} - {run.id for run in missing})
    failures = []
    for number, run in enumerate(missing, start=1):
        try:
            said = told[run.id] = _train(run, paths, device)
        except Exception as error:  # a defect of a member is this run's, not its neighbours'
            failures.append(_failure(run, error))
        else:
            print(f"{number}/{len(missing)} {run.id} {describe_run(run)}: {said['status']} ({said['seconds']:.2f} s)")
    if failures:
        _tell(pack_id, paths, device_name, failures)
        return False
    write_receipt(paths, pack, told)
    return True


def _train(run: Run, paths: Paths, device: torch.device) -> dict[str, Any]:
    started = time.perf_counter()
    record = train_run(run, device, start_parameters(run, paths))
    path = paths.run(run.id)
    write_run(record, path, platform_record(run, device))
    return {
        "sha256": sha256(path),
        "status": record.status,
        "updates": record.updates,
        "seconds": round(time.perf_counter() - started, 3),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "versions": {"stepscape": __version__, **{name: version(name) for name in _PACKAGES}},
    }


def _failure(run: Run, error: Exception) -> dict[str, Any]:
    told = str(error) if isinstance(error, StepscapeError) else "".join(traceback.format_exception(error))
    lines = told.splitlines()
    print(f"{run.id} {describe_run(run)}: failed", *lines, sep="\n", file=sys.stderr, flush=True)
    return {
        "run": run.id,
        "fields": describe_run(run),
        "error": str(error) if isinstance(error, StepscapeError) else f"{type(error).__name__}: {error}",
        "log_tail": lines[-_TAIL:],
    }


def _tell(pack_id: str, paths: Paths, device: str, failures: Sequence[dict[str, Any]]) -> None:
    command = f"stepscape train-pack {pack_id} --results {paths.root} --device {device}"
    report = {"pack": pack_id, "command": command, "log": str(paths.log("train_pack", pack_id)), "failures": failures}
    write_json(paths.failures(pack_id), report)
