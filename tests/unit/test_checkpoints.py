"""Checkpoints: a pack that is stopped or killed goes on to the bytes that it would have had."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepscape.errors import StorageError
from stepscape.store.seals import sealed_zip
from stepscape.study.paths import Paths
from stepscape.study.plan import Pack
from stepscape.study.run import Run
from stepscape.training import lanes
from stepscape.training.loop import Group
from stepscape.training.pack import StoppedError, train_pack
from stepscape.training.platform import prepare
from tests.factories import SMALL_DIGITS, make_run, write_pack

OBSERVED = {
    "losses": {"every": 1},
    "hessian_top": {"every": 20, "k": 2, "audit_every": 2},
    "hessian_subspace": {"every": 20, "k": 2, "tol": 1e-3, "shuffles": 2, "references": [20]},
    "preconditioned_top": {"every": 30},
    "distance": {"every": 7},
    "noise_scale": {"every": 50},
}
FORK = multiprocessing.get_context("fork")


def _runs() -> list[Run]:
    """Lanes of three groups: one with a lane that diverges and one that stops, one that trains one after another."""
    given: dict[str, Any] = {"observe": OBSERVED, "budget": {"steps": 120}, "branch_noise": 1e-6}
    return [
        make_run(SMALL_DIGITS, **given, optimizer="adam", lr=0.01, batch_size=9),
        make_run(SMALL_DIGITS, **given, optimizer="adam", lr=0.02, batch_size=9, seed=1, schedule="cosine"),
        make_run(SMALL_DIGITS, **given, optimizer="adam", lr=0.02, batch_size=9, stop={"train_loss": 0.3}),
        make_run(SMALL_DIGITS, **given, optimizer="heavy_ball", lr=0.1),
        make_run(SMALL_DIGITS, **given, optimizer="heavy_ball", lr=1e9),
        make_run(
            SMALL_DIGITS, **{**given, "budget": {"steps": 60}}, model={"name": "mlp", "hidden": [500, 150]}, lr=0.05
        ),
    ]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The bytes of every run, trained without a break."""
    paths, runs = Paths(tmp_path_factory.mktemp("expected")), _runs()
    assert train_pack(write_pack(paths, runs).id, paths, "cpu")
    assert [lanes.lane_mode(run, prepare("cpu")).name for run in runs][-2:] == ["vectorised", "sequential"]
    return {run.id: paths.run(run.id).read_bytes() for run in runs}


def _found(paths: Paths, pack: Pack) -> Mapping[str, bytes]:
    return {run.id: paths.run(run.id).read_bytes() for run in pack.runs}


def _interrupted(paths: Paths, pack: Pack, number: int, after: float) -> int | None:
    """The status of a process that trains a pack and is sent a signal `after` some seconds."""
    job = FORK.Process(target=_train, args=(pack.id, paths))
    job.start()
    job.join(after)
    assert job.pid is not None
    if job.is_alive():
        os.kill(job.pid, number)
    job.join(60)
    return job.exitcode


def _train(pack_id: str, paths: Paths) -> None:
    try:
        train_pack(pack_id, paths, "cpu", checkpoint_every=0.02)
    except StoppedError as stopped:
        sys.exit(128 + stopped.signal)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "moments"), [(signal.SIGKILL, 20), (signal.SIGTERM, 10)], ids=["kill", "term"])
def test_the_same_bytes_after_every_moment_of_death(
    tmp_path: Path, expected: Mapping[str, bytes], number: int, moments: int
) -> None:
    random = np.random.default_rng(number)
    paths, pack = Paths(tmp_path / "0"), write_pack(Paths(tmp_path / "0"), _runs())
    seen: list[int | None] = []
    resumed = 0
    while seen.count(-number) + seen.count(128 + number) < moments:
        if paths.receipt(pack.id).exists():  # it ended before: once more from the start
            assert _found(paths, pack) == expected
            paths = Paths(tmp_path / str(len(seen)))
            write_pack(paths, pack.runs)
        resumed += paths.checkpoint(pack.id).exists()
        seen.append(_interrupted(paths, pack, number, random.uniform(0.03, 0.8)))
    assert resumed > moments / 3, "most went on from a checkpoint"
    assert train_pack(pack.id, paths, "cpu")
    assert _found(paths, pack) == expected
    assert not paths.checkpoint(pack.id).exists()
    assert not list(paths.root.rglob("*.failed.json"))


def test_sigterm_saves_and_says_so(tmp_path: Path, expected: Mapping[str, bytes]) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs())
    command = [sys.executable, "-m", "stepscape.cli", "train-pack", pack.id, "--results", str(tmp_path)]
    job = subprocess.Popen([*command, "--device", "cpu", "--checkpoint-every", "0.05"], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not paths.checkpoint(pack.id).exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=60)[0].decode()
    assert job.returncode == 128 + signal.SIGTERM
    assert "stopped by SIGTERM after" in said
    again = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, timeout=120, check=True)
    assert "going on after " in again.stdout
    assert _found(paths, pack) == expected


@pytest.mark.parametrize("at", [0, 1, 20, 21, 60, 119])
def test_a_checkpoint_of_any_step_holds_all_that_decides_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Mapping[str, bytes], at: int
) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs())
    _stop_at(at, pack, paths, monkeypatch)
    assert train_pack(pack.id, paths, "cpu")
    assert _found(paths, pack) == expected


def _stop_at(step: int, pack: Pack, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Group.advance

    def told_to_stop(group: Group) -> Any:
        if group.step == max(step - 1, 0):
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(group)

    with monkeypatch.context() as patch:
        patch.setattr(Group, "advance", told_to_stop)
        with pytest.raises(StoppedError, match=f"after {max(step, 1)} updates"):
            train_pack(pack.id, paths, "cpu")
    assert paths.checkpoint(pack.id).exists()


def _header(path: Path, **changed: Any) -> None:
    """Writes a checkpoint anew with another header."""
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    header = json.loads(str(held["header"]))
    buffer = io.BytesIO()
    np.savez(buffer, **{**held, "header": np.array(json.dumps(header | changed))})
    path.write_bytes(sealed_zip(buffer.getvalue()))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: _header(path, code="another"), "it was written by other code"),
        (lambda path: _header(path, pack="0" * 16), "it is of another plan, pack 0000000000000000"),
        (lambda path: _header(path, runs=["0" * 16]), "it is of another plan"),
        (lambda path: _header(path, format=99), "its format is 99; this version writes 1"),
        (lambda path: _header(path, platform={"torch": "1.0"}), "on another platform (torch 1.0, here"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "it is damaged"),
        (lambda path: path.write_bytes(b""), "it is damaged"),
        (lambda path: path.write_bytes(_flipped(path.read_bytes())), "it is damaged"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_set_aside_with_the_reason(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    expected: Mapping[str, bytes],
    spoil: Callable[[Path], Any],
    reason: str,
) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs())
    _stop_at(40, pack, paths, monkeypatch)
    spoil(paths.checkpoint(pack.id))
    spoilt = paths.checkpoint(pack.id).read_bytes()
    assert train_pack(pack.id, paths, "cpu")
    assert reason in capsys.readouterr().out
    assert [path.read_bytes() for path in (tmp_path / "checkpoints" / "aside").iterdir()] == [spoilt]
    assert _found(paths, pack) == expected


def _flipped(content: bytes) -> bytes:
    place = content.index(b"theta.npy") + 1000  # among its numbers
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_an_object_in_a_checkpoint_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs()[:2])
    _stop_at(10, pack, paths, monkeypatch)
    path = paths.checkpoint(pack.id)
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    buffer = io.BytesIO()
    np.savez(buffer, **{**held, "theta": np.array([_Trap(tmp_path / "sprung")], dtype=object)})
    path.write_bytes(sealed_zip(buffer.getvalue()))
    assert train_pack(pack.id, paths, "cpu")
    assert not (tmp_path / "sprung").exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_run_published_after_the_checkpoint_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Mapping[str, bytes]
) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs())
    _stop_at(10, pack, paths, monkeypatch)
    published = paths.run(pack.runs[0].id)
    published.parent.mkdir(parents=True, exist_ok=True)
    published.write_bytes(expected[pack.runs[0].id])
    before = published.stat().st_mtime_ns
    assert train_pack(pack.id, paths, "cpu")
    assert published.stat().st_mtime_ns == before
    assert _found(paths, pack) == expected


def test_too_little_memory_is_told_with_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, runs = Paths(tmp_path), _runs()[:2]
    pack = write_pack(paths, runs)
    update = type(runs[0].optimizer).update

    def starved(self: Any, objective: Any, theta: Any, state: Any, hyper: Any, random: Any) -> Any:
        if 1 in random._seeds:
            raise RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            )
        return update(self, objective, theta, state, hyper, random)

    with monkeypatch.context() as patch:
        patch.setattr(type(runs[0].optimizer), "update", starved)
        assert not train_pack(pack.id, paths, "cpu")
    (failure,) = json.loads(paths.failures(pack.id).read_text())["failures"]
    assert failure["run"] == runs[1].id
    assert "fewer jobs at once" in failure["error"]
    assert paths.run(runs[0].id).exists()
    assert train_pack(pack.id, paths, "cpu"), "it is tried again"


def _full(*_: Any) -> None:
    raise StorageError("results", OSError(errno.ENOSPC, "No space left on device"))


def test_where_no_checkpoint_can_be_written_training_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    expected: Mapping[str, bytes],
) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs())
    monkeypatch.setattr("stepscape.training.pack.write_checkpoint", _full)
    assert train_pack(pack.id, paths, "cpu", checkpoint_every=0)
    assert "the disk is full" in capsys.readouterr().out
    assert _found(paths, pack) == expected


def test_where_no_run_can_be_written_the_job_ends_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: Mapping[str, bytes]
) -> None:
    paths = Paths(tmp_path)
    pack = write_pack(paths, _runs())
    with monkeypatch.context() as patch:
        patch.setattr("stepscape.training.pack.write_run", _full)
        with pytest.raises(StorageError, match="start the same command again"):
            train_pack(pack.id, paths, "cpu", checkpoint_every=0)
    assert not paths.receipt(pack.id).exists()
    assert not paths.failures(pack.id).exists(), "no run is to blame"
    assert train_pack(pack.id, paths, "cpu")
    assert _found(paths, pack) == expected


def test_the_limit_of_the_rule_is_what_the_runs_here_straddle() -> None:
    operations = [lanes.update_operations(run) for run in _runs()]
    assert max(operations[:-1]) < lanes.VECTORISED_BELOW["cpu"] < operations[-1]
