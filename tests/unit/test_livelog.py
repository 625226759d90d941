"""Live logs: few lines, whole or passed over, and never the reason that a job fails."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stepscape.cli import main
from stepscape.store import livelog
from stepscape.store.leases import hold
from stepscape.store.livelog import LiveLog, Progress, live_log, read_live
from stepscape.store.owners import read_owner
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from stepscape.study.spec import Study, describe_run
from stepscape.training import pack as training
from tests.factories import make_run, make_study, write_pack

PACK, RUN = "a" * 16, "1" * 16


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "results")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def lines(paths: Paths) -> list[dict[str, Any]]:
    return [json.loads(line) for line in paths.live(PACK).read_text().splitlines()]


def last(paths: Paths) -> Progress:
    (progress,) = read_live(paths)
    return progress


def test_a_log_tells_of_the_run_that_is_trained_and_is_gone_afterwards(paths: Paths) -> None:
    with live_log(paths, PACK, 3) as log:
        assert (last(paths).pack, last(paths).runs, last(paths).pid) == (PACK, 3, os.getpid())
        assert (last(paths).run, last(paths).done, last(paths).is_recent) == ("", 0, True)
        log.say(RUN, 7, 20, 0.25, torch.tensor(3.5))
        told = last(paths)
        assert (told.run, told.step, told.of, told.loss, told.sharpness) == (RUN, 7, 20, 0.25, 3.5)
        assert (told.status, told.done) == ("", 0)
        log.end(RUN, 20, 20, "completed")
        told = last(paths)
        assert (told.status, told.done, told.step, told.loss) == ("completed", 1, 20, None)
    assert list(paths.live_logs.iterdir()) == []
    assert read_live(paths) == []


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), torch.tensor(-float("inf"))])
def test_what_is_not_finite_is_not_told(paths: Paths, value: Any) -> None:
    with live_log(paths, PACK, 1) as log:
        log.say(RUN, 1, 2, value, value)
        assert (last(paths).loss, last(paths).sharpness, last(paths).step) == (None, None, 1)


class Unread:
    """A number that nobody may ask for."""

    def __float__(self) -> float:
        raise AssertionError("fetched though it is not due")


def test_lines_are_a_second_apart_and_further_in_a_long_job(paths: Paths, clock: list[float]) -> None:
    with live_log(paths, PACK, 1) as log:
        log.say(RUN, 0, 9, 1.0)
        for elapsed in (0.0, 0.5, 0.999):
            clock[0] = 100 + elapsed
            log.say(RUN, 1, 9, Unread(), Unread())
        clock[0] = 101.0
        log.say(RUN, 2, 9, 1.0)
        log.end(RUN, 3, 9, "stopped")
        assert [line.get("step") for line in lines(paths)] == [None, 0, 2, 3]
        clock[0] = 100 + 1e5
        log.say(RUN, 4, 9)
        clock[0] += 99
        log.say(RUN, 5, 9, Unread())
        clock[0] += 2
        log.say(RUN, 6, 9)
        assert [line.get("step") for line in lines(paths)] == [None, 0, 2, 3, 4, 6]


def test_a_week_fills_no_disk(paths: Paths, clock: list[float]) -> None:
    with live_log(paths, PACK, 1) as log:
        for second in range(0, 7 * 86_400, 5):
            clock[0] = 100.0 + second
            log.say(RUN, second, 10**6, 0.123456789, 41.23456789)
        size = paths.live(PACK).stat().st_size
    print(f"a week: {size} bytes")
    assert size < 1.2e6


TORN: dict[str, Callable[[bytes], bytes]] = {
    "half a line": lambda whole: whole + b'{"time":1.0,"done":2,"ru',
    "a byte": lambda whole: whole + b"{",
    "no text": lambda whole: whole + b"\xff\x00\n",
    "a number": lambda whole: whole + b"12\n",
    "of another version": lambda whole: whole + b'{"colour":"red"}\n',
    "without its end": lambda whole: whole[:-1],
}


@pytest.mark.parametrize("name", TORN)
def test_a_torn_line_is_passed_over(paths: Paths, name: str) -> None:
    with live_log(paths, PACK, 4) as log:
        for step in range(200):
            log.end(RUN, step, 200, "completed")
        expected = last(paths)
        paths.live(PACK).write_bytes(TORN[name](paths.live(PACK).read_bytes()))
        assert last(paths) == expected
        assert expected.done == 200


@pytest.mark.parametrize("content", [b"", b"\n", b"{", b"[]\n", b"{}\n", b'{"pack":"x","ru', b"\xff\n"])
def test_a_file_without_a_header_is_passed_over(paths: Paths, content: bytes) -> None:
    paths.live_logs.mkdir(parents=True)
    paths.live(PACK).write_bytes(content)
    paths.live("b" * 16).mkdir()
    assert read_live(paths) == []


def test_a_later_log_of_the_pack_is_not_taken_away(paths: Paths) -> None:
    with live_log(paths, PACK, 1) as first:
        with live_log(paths, PACK, 2):
            first.say(RUN, 1, 2)
            first.close()
            assert (last(paths).runs, last(paths).run) == (2, "")
        first.say(RUN, 1, 2)
    assert list(paths.live_logs.iterdir()) == []


def test_where_no_log_can_be_written_nothing_fails(paths: Paths) -> None:
    paths.root.mkdir()
    paths.live_logs.write_text("a file")
    with live_log(paths, PACK, 1) as log:
        log.say(RUN, 1, 2)
        log.end(RUN, 2, 2, "completed")
    assert paths.live_logs.read_text() == "a file"


# ---------------------------------------------------------------------------------------------- packs, and who looks on


def test_a_job_tells_of_each_run_and_leaves_nothing(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make_run(lr=lr) for lr in (0.5, 1e30)]
    pack, seen = write_pack(paths, runs), []
    end = LiveLog.end

    def watched(self: LiveLog, *said: Any) -> None:
        end(self, *said)
        owner = read_owner(paths.lease(pack.id))
        assert owner
        assert owner.runs == (runs[0].id, runs[1].id)
        seen.append(last(paths))

    monkeypatch.setattr(LiveLog, "end", watched)
    assert training.train_pack(pack.id, paths, "cpu")
    assert [(told.run, told.done, told.status) for told in seen] == [
        (runs[1].id, 1, "diverged"),
        (runs[0].id, 2, "completed"),
    ]
    assert (seen[1].step, seen[1].of, seen[1].runs) == (10, 10, 2)
    assert list(paths.live_logs.iterdir()) == list(paths.leases.iterdir()) == []


def test_a_job_whose_folder_cannot_be_written_trains(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    pack = write_pack(paths, [make_run()])
    for folder in (paths.leases, paths.live_logs):
        folder.write_text("a file")
    assert training.train_pack(pack.id, paths, "cpu")
    assert paths.receipt(pack.id).exists()
    assert "no lease can be written" in capsys.readouterr().err


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    made = make_study(Path("config/studies"))
    Path("config/config.yaml").write_text("studies: [small]\nresults: out\n")
    return made


def status(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["status"]) == 0
    return capsys.readouterr().out


def test_status_shows_what_is_trained_now(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    paths, run = Paths(Path("out")), study.runs[1]
    (pack,) = make_plan([study]).packs
    assert "training now" not in status(capsys)
    with hold(paths, pack.id, [run.id for run in study.runs]), live_log(paths, pack.id, 6) as log:
        assert status(capsys).splitlines()[-1].split() == [pack.id, "0", "of", "6"]
        log.end(study.runs[0].id, 10, 10, "stopped")
        assert f"{describe_run(study.runs[0])}: stopped" in status(capsys)
        log.say(run.id, 4, 10, 0.12345, 3.5)
        line = status(capsys).splitlines()[-1]
        assert line.split() == [pack.id, "1", "of", "6", *describe_run(run).split(), "4", "of", "10", "0.1235", "3.5"]
    assert "training now" not in status(capsys)


def test_status_knows_who_is_dead(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(Path("out"))
    with hold(paths, PACK, [RUN]):
        assert status(capsys).splitlines()[-1].split() == [PACK, "0", "of", "1"], "a lease without a log"
        lease = paths.lease(PACK).read_bytes()
    with live_log(paths, PACK, 2):
        log = paths.live(PACK).read_bytes()
        assert PACK in status(capsys), "a log without a lease"
    paths.live(PACK).write_bytes(log)
    assert PACK in status(capsys)
    paths.lease(PACK).write_bytes(lease.replace(f'"pid": {os.getpid()}'.encode(), b'"pid": 999999999'))
    assert PACK not in status(capsys), "its process is gone"


def test_status_shows_no_old_log(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(Path("out"))
    paths.live_logs.mkdir(parents=True)
    header = {"pack": PACK, "runs": 2, "host": "h", "pid": 1, "started": time.time() - 2 * livelog._LATELY}
    paths.live(PACK).write_text(json.dumps(header) + "\n")
    assert PACK not in status(capsys)
    assert paths.live(PACK).exists()
