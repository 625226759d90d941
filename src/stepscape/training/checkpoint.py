"""Checkpoints: the state of runs in training as one file of plain arrays, from which they go on to the same bytes."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import stepscape
from stepscape.registry import Member
from stepscape.store.files import write_atomically
from stepscape.store.seals import check_zip, sealed_zip
from stepscape.study.plan import Pack
from stepscape.study.run import Run
from stepscape.training.loop import Group, Lane
from stepscape.training.platform import platform_record

FORMAT = 1
_UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError, TypeError)

Arrays = dict[str, np.ndarray]


class UnusableCheckpointError(Exception):
    """A checkpoint that training cannot go on from; the text says why."""


def write_checkpoint(group: Group, pack: Pack, seconds: float, path: Path) -> None:
    """Publishes the state of a group: the file is replaced as a whole, or not at all.

    Args:
        group: the lanes in training.
        pack: what they belong to.
        seconds: what each of them took so far.
        path: the checkpoint.
    """
    run = group.lanes[0].run
    header = {
        "format": FORMAT,
        "pack": pack.id,
        "code": _code_of(run),
        "platform": platform_record(run, group.theta.device),
        "runs": [lane.run.id for lane in group.lanes],
        "step": group.step,
        "seconds": seconds,
    }
    count = len(group.lanes)
    arrays = {"theta": _array(group.theta[:count]), "noise": _array(group.noise[:count])}
    arrays |= {f"state/{name}": _array(kept[:count]) for name, kept in group.state.items()}
    for number, lane in enumerate(group.lanes):
        arrays |= {f"{number}/{key}": array for key, array in _lane_arrays(lane)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)
    write_atomically(path, sealed_zip(buffer.getvalue()))


def _lane_arrays(lane: Lane) -> Iterator[tuple[str, np.ndarray]]:
    for observable, memory in lane.memories.items():
        yield from ((f"memory/{observable}/{key}", _array(tensor)) for key, tensor in memory.items())
    for observable, steps in lane.record.steps.items():
        yield f"steps/{observable}", np.array(steps, dtype=np.int64)
    yield from ((f"values/{name}", np.stack(rows)) for name, rows in lane.record.values.items() if rows)
    if lane.record.start is not None:
        yield "start", lane.record.start


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def read_checkpoint(pack: Pack, path: Path, device: torch.device) -> tuple[Group, float]:
    """The group of a checkpoint, as it was.

    Args:
        pack: the pack in training.
        path: the checkpoint.
        device: where it goes on.

    Returns:
        The lanes, and what each of them took so far, in seconds.

    Raises:
        UnusableCheckpointError: the file is damaged, or of another pack, other code or another platform.
    """
    try:
        content = path.read_bytes()
        check_zip(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        header = json.loads(str(held.pop("header")))
        runs = _runs(header, pack)
        _refuse_other_numbers(header, runs[0], device)
        return _group(held, runs, header["step"], device), float(header["seconds"])
    except _UNREADABLE as error:
        raise UnusableCheckpointError(f"it is damaged ({error})") from None


def _runs(header: Mapping[str, Any], pack: Pack) -> list[Run]:
    if header["format"] != FORMAT:
        raise UnusableCheckpointError(f"its format is {header['format']}; this version writes {FORMAT}")
    planned = {run.id: run for run in pack.runs}
    if header["pack"] != pack.id or not planned.keys() >= set(header["runs"]):
        raise UnusableCheckpointError(f"it is of another plan, pack {header['pack']}")
    return [planned[run_id] for run_id in header["runs"]]


def _refuse_other_numbers(header: Mapping[str, Any], run: Run, device: torch.device) -> None:
    if header["code"] != _code_of(run):
        raise UnusableCheckpointError("it was written by other code")
    here = platform_record(run, device)
    differing = [name for name, value in here.items() if header["platform"].get(name) != value]
    if differing:
        name = differing[0]
        raise UnusableCheckpointError(
            f"it was written on another platform ({name} {header['platform'].get(name)}, here {here[name]})"
        )


def _group(held: Arrays, runs: list[Run], step: int, device: torch.device) -> Group:
    lanes = [Lane.of(run, device, held.get(f"{number}/start")) for number, run in enumerate(runs)]
    state = {}
    for name, array in held.items():
        place, _, key = name.partition("/")
        if place == "state":
            state[key] = torch.from_numpy(array).to(device)
        elif place.isdecimal() and key != "start":
            _restore(lanes[int(place)], key, array, device)
    theta, noise = (torch.from_numpy(held[name]).to(device) for name in ("theta", "noise"))
    return Group(lanes, step, theta, state, noise)


def _restore(lane: Lane, key: str, array: np.ndarray, device: torch.device) -> None:
    kind, name, *rest = key.split("/", 2)
    if kind == "memory":
        memory = dict(lane.memories.get(name, {}))
        memory[rest[0]] = torch.from_numpy(array).to(device)
        lane.memories[name] = memory
    elif kind == "steps":
        lane.record.steps[name] = array.tolist()
    else:
        lane.record.values[name] = list(array)


def _code_of(run: Run) -> str:
    """A hash of all code that this run's numbers may come from."""
    members = [getattr(run, name) for name in ("dataset", "model", "loss", "optimizer", "schedule")]
    digest = hashlib.sha256(_package_code())
    for member in [*members, *run.observe]:
        digest.update(_source(type(member)))
    return digest.hexdigest()[:16]


@cache
def _package_code() -> bytes:
    files = sorted(Path(stepscape.__file__).parent.rglob("*.py"))
    return b"".join(file.read_bytes() for file in files)


def _source(member: type[Member]) -> bytes:
    try:
        return inspect.getsource(inspect.getmodule(member) or member).encode()
    except OSError:  # what stands in a notebook
        return b""
