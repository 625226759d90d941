"""The head lock between real processes: a live head is not joined, a dead one is followed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from stepscape.errors import StepscapeError
from stepscape.store.head import read_head, take_head
from stepscape.store.owners import publish, read_owner, this_process
from stepscape.study.paths import Paths

QUICK = {"every": 0.05, "stale_after": 0.6}
HEAD = """
import sys
from pathlib import Path
from stepscape.store.head import take_head
from stepscape.study.paths import Paths
take_head(Paths(Path(sys.argv[1])), every=0.05)
print("taken", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "results")


@contextmanager
def another_head(paths: Paths) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", HEAD, str(paths.root)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "taken\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_head_that_lives_is_not_joined(paths: Paths) -> None:
    with another_head(paths) as process:
        with pytest.raises(StepscapeError, match=f"process {process.pid} on .* is submitting the jobs"):
            take_head(paths, **QUICK)
        assert read_head(paths) == read_owner(paths.head)


def test_a_head_that_was_killed_is_followed_at_once(paths: Paths) -> None:
    with another_head(paths) as process:
        process.kill()
        process.wait()
        assert paths.head.exists()
        assert read_head(paths) is None
        take_head(paths, every=0.05, stale_after=1e6).release()
    assert not paths.head.exists()


def test_a_head_that_ends_leaves_nothing(paths: Paths) -> None:
    with another_head(paths) as process:
        process.communicate("\n")
        assert not list(paths.root.iterdir())


def test_a_head_on_another_machine_is_followed_when_it_beats_no_more(paths: Paths) -> None:
    paths.root.mkdir()
    elsewhere = replace(this_process("head", ()), host="login2", machine="another kernel")
    publish(paths.head, elsewhere)
    take_head(paths, **QUICK).release()
    assert not paths.head.exists()


def test_a_damaged_file_is_not_obeyed_for_ever(paths: Paths) -> None:
    paths.root.mkdir()
    paths.head.write_text("{")
    take_head(paths, **QUICK).release()


def test_a_head_that_was_suspended_and_followed_leaves_the_new_one_alone(paths: Paths) -> None:
    with another_head(paths) as process:
        process.send_signal(signal.SIGSTOP)
        head = take_head(paths, **QUICK)
        process.send_signal(signal.SIGCONT)
        process.communicate("\n")
        held = read_owner(paths.head)
        assert held
        assert held.pid == os.getpid()
        head.release()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(StepscapeError, match=r"results/head\.json: cannot be written"):
        take_head(Paths(tmp_path / "results"))


def test_an_old_head_seems_dead_at_one_look(paths: Paths) -> None:
    head = take_head(paths, every=1e6)
    assert read_head(paths)
    os.utime(paths.head, times=(time.time() - 1e4,) * 2)
    assert read_head(paths) is None
    head.release()
