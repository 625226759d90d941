"""Snakemake itself: killed with its jobs, alone, or one of its jobs; started twice; on a disk that is full."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stepscape.store.processes import started_at
from tests.faults.disks import disk, leave_room
from tests.faults.ledger import TABLE, Ledger
from tests.workflow.conftest import Project, checkout

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.skipif(not TABLE, reason="Snakemake itself is disturbed by `make faults`"),
]
__all__ = ["disk"]

Tries = Callable[[int, int], range]
STUDY = """\
title: A sweep that is disturbed
defaults:
  dataset: {name: digits, train_size: 40, test_size: 20}
  model: {name: mlp, hidden: [4]}
  loss: mse
  budget: {steps: 6}
grid:
  - optimizer: gd
    lr: [0.1, 0.2]
    seed: [0, 1]
observe:
  losses: {every: 1}
"""


def begin(folder: Path) -> Project:
    project = checkout(folder)
    project.study.write_text(STUDY)
    return project


def results(project: Project, root: Path | None = None) -> dict[str, bytes]:
    """What a sweep leaves, but for its page, which tells what the jobs cost."""
    root = root or project.folder / "results"
    files = [*root.glob("runs/*/*.zip"), *root.glob("studies/tiny/**/*")]
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in files
        if file.is_file() and file.suffix != ".html"
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    project = begin(tmp_path_factory.mktemp("expected") / "project")
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    return results(project)


def start(project: Project, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["snakemake", "--cores", "2", *words],
        cwd=project.folder,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def members(session: int) -> Iterator[tuple[int, str]]:
    """Processes of a session that live, with their command lines."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and started_at(int(process.name)):
                yield int(process.name), (process / "cmdline").read_text()


def kill(session: int, whom: str) -> bool:
    """Kills -9 all of a session, the head alone, or one that trains; whether there was any."""
    found = dict(members(session))
    chosen = {
        "all": sorted(found),
        "head": [process for process in found if process == session],
        "worker": [process for process, command in sorted(found.items()) if "train-pack" in command][-1:],
    }[whom]
    for process in chosen:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return bool(chosen)


def restart(project: Project) -> None:
    """What a person does who does what the messages say."""
    words: tuple[str, ...] = ()
    for _ in range(5):
        done = project.snakemake(*words)
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        if not done.returncode:
            return
        if "--unlock" in said:
            assert project.run("snakemake", "--cores", "2", "--unlock").returncode == 0
        elif "--rerun-incomplete" in said:
            words = ("--rerun-incomplete",)
    pytest.fail(said)


@pytest.mark.parametrize(("whom", "rows"), [("all", 2), ("head", 1), ("worker", 1)])
def test_killed(whom: str, rows: int, tmp_path: Path, ledger: Ledger, tries: Tries, expected: dict[str, bytes]) -> None:
    words = {"all": "Snakemake and its jobs", "head": "Snakemake alone", "worker": "a job of Snakemake"}
    chance = random.Random(whom)
    with ledger.count("kill -9", words[whom]) as tally:
        for row in tries(rows, rows):
            project = begin(tmp_path / f"{whom}{row}")
            sessions = []
            with tally.trying(f"row {row}"):
                killed = 0
                for _ in range(3):
                    project.run("snakemake", "--cores", "2", "--unlock")
                    running = start(project, "--rerun-incomplete")
                    sessions.append(running.pid)
                    while whom == "worker" and not _trains(running) and running.poll() is None:
                        time.sleep(0.02)
                    _wait(running, chance.uniform(0, 1) if whom == "worker" else chance.uniform(1, 8))
                    killed += kill(running.pid, whom)
                    if whom == "worker":
                        said, _ = running.communicate(timeout=120)
                        assert "Traceback" not in said
                    else:
                        running.wait()
                        assert running.stdout
                        running.stdout.close()
                restart(project)
                while any(True for session in sessions for _ in members(session)):
                    time.sleep(0.1)  # jobs whose head was killed
                assert results(project) == expected
                assert project.run("stepscape", "verify", "results").returncode == 0
                tally.tried += killed - 1
                tally.mended += killed


def _wait(running: subprocess.Popen[str], seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        running.wait(seconds)


def _trains(running: subprocess.Popen[str]) -> bool:
    return any("train-pack" in command for _, command in members(running.pid))


def test_two_at_once(tmp_path: Path, ledger: Ledger, tries: Tries, expected: dict[str, bytes]) -> None:
    with ledger.count("at once", "two Snakemakes, the second refused", damage=True) as tally:
        for number in tries(1, 1):
            project = begin(tmp_path / f"{number}")
            with tally.trying(f"try {number}"):
                first = start(project)
                while not any((project.folder / ".snakemake/locks").glob("*")):
                    assert first.poll() is None
                    time.sleep(0.02)
                second = project.snakemake()
                assert second.returncode
                assert "lock" in second.stdout + second.stderr
                tally.noticed += 1
                assert first.communicate(timeout=300)[1] is None
                assert first.returncode == 0
                assert results(project) == expected
                tally.mended += 1


def test_a_full_disk(disk: Path, tmp_path: Path, ledger: Ledger, tries: Tries, expected: dict[str, bytes]) -> None:
    with ledger.count("disk full", "under Snakemake", damage=True) as tally:
        for number in tries(2, 2):
            project = begin(tmp_path / f"project{number}")
            root = disk / f"results{number}"
            config = project.folder / "config/config.yaml"
            config.write_text(f"{config.read_text()}results: {root}\n")
            with tally.trying(f"try {number}"):
                filler = leave_room(disk, [60_000, 12_000][number])
                done = project.snakemake()
                said = done.stdout + done.stderr
                assert done.returncode
                assert "the disk is full" in said
                assert "Traceback" not in said
                tally.noticed += 1
                filler.unlink()
                restart(project)
                assert results(project, root) == expected
                tally.mended += 1
