"""Leases between real processes: killed, suspended, waiting for one another. No test looks at a clock."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepscape.store.leases import Lease, hold
from stepscape.store.owners import STALE_AFTER, read_owner, read_owners, seems_alive
from stepscape.study.paths import Paths
from stepscape.study.run import Run
from tests.factories import make_run

PACK, OTHER = "a" * 16, "b" * 16
NEVER = 1e6
"""Seconds that no test lasts."""

QUICK = {"every": 0.05, "stale_after": 0.6}

PRELUDE = """
import sys, time
from pathlib import Path
from stepscape.store.leases import hold
from stepscape.study.paths import Paths
paths, wait = Paths(Path(sys.argv[1])), sys.stdin.readline
def say(*words): print(*words, flush=True)
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "results")


@contextmanager
def process(paths: Paths, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code`; it speaks by `say`, and goes on where it says `wait()` when it is written a line."""
    started = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(paths.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.send_signal(signal.SIGCONT)
        started.kill()
        started.communicate()


def heard(running: subprocess.Popen[str]) -> str:
    assert running.stdout
    return running.stdout.readline().strip()


def tell(running: subprocess.Popen[str]) -> None:
    assert running.stdin
    running.stdin.write("\n")
    running.stdin.flush()


def holder(pack: str = PACK, runs: tuple[str, ...] = (), **options: float) -> str:
    """A process that holds a pack until it is told to leave, and then says whether it lost it."""
    return f"""
with hold(paths, {pack!r}, {list(runs)!r}, **{options!r}) as lease:
    say("held")
    wait()
    say(lease.lost)
say("left")
"""


def until(met: Callable[[], Any]) -> None:
    while not met():
        time.sleep(0.01)


def left_behind(paths: Paths) -> list[str]:
    return sorted(path.name for path in paths.leases.iterdir())


@contextmanager
def made_to_wait(paths: Paths, **options: float) -> Iterator[threading.Event]:
    """A thread that asks for the pack; the event says that it got it."""
    got, leave = threading.Event(), threading.Event()

    def ask() -> None:
        with hold(paths, PACK, [], **options):
            got.set()
            leave.wait()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield got
    finally:
        leave.set()
        thread.join()


# ------------------------------------------------------------------------------------------------- one pack, its owner


def test_a_lease_says_who_holds_what_and_is_gone_afterwards(paths: Paths) -> None:
    before = time.time()
    with hold(paths, PACK, ["x", "y"], every=NEVER) as lease:
        owner = read_owner(paths.lease(PACK))
        assert owner
        assert (owner.pack, owner.runs, owner.pid) == (PACK, ("x", "y"), os.getpid())
        assert owner.stamp >= before
        assert seems_alive(paths.lease(owner.pack), owner)
        assert not lease.lost
        assert left_behind(paths) == [f"{PACK}.json"]
    assert left_behind(paths) == []
    assert not seems_alive(paths.lease(owner.pack), owner)


def test_an_exception_gives_it_back(paths: Paths) -> None:
    with pytest.raises(KeyError), hold(paths, PACK, []):
        raise KeyError
    assert left_behind(paths) == []


def test_beats_are_written_in_place_and_count_up(paths: Paths) -> None:
    with hold(paths, PACK, ["x"], every=0.01):
        path = paths.lease(PACK)
        inode, size = path.stat().st_ino, path.stat().st_size
        until(lambda: (owner := read_owner(path)) and owner.beat > 11)
        assert (path.stat().st_ino, path.stat().st_size) == (inode, size)


def test_a_deleted_file_is_put_back(paths: Paths) -> None:
    with hold(paths, PACK, [], every=0.01) as lease:
        owner = read_owner(paths.lease(PACK))
        paths.lease(PACK).unlink()
        until(paths.lease(PACK).exists)
        again = read_owner(paths.lease(PACK))
        assert owner
        assert again
        assert again.token == owner.token
        assert not lease.lost


def test_a_living_owner_is_waited_for(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    with process(paths, holder(every=0.05)) as owner:
        assert heard(owner) == "held"
        with made_to_wait(paths, every=0.01, stale_after=NEVER) as got:
            assert not got.wait(0.5)
            tell(owner)
            assert [heard(owner), heard(owner)] == ["False", "left"]
            got.wait()
    waited, followed = capsys.readouterr().out.splitlines()
    assert waited.startswith(f"Pack {PACK} is being trained by process {owner.pid} on ")
    assert followed.startswith(f"Pack {PACK} is now held by process {os.getpid()} on ")


@pytest.mark.parametrize("reaped", [False, True])
def test_a_killed_owner_is_followed_at_once(paths: Paths, reaped: bool) -> None:
    """What is left of a process that its parent has not asked for is as dead as one that is gone."""
    with process(paths, holder(every=NEVER, stale_after=NEVER)) as owner:
        assert heard(owner) == "held"
        owner.kill()
        if reaped:
            owner.wait()
        with hold(paths, PACK, [], every=NEVER, stale_after=NEVER) as lease:
            assert not lease.lost
    assert left_behind(paths) == []


def test_an_owner_whose_number_was_given_to_another_process_is_dead(paths: Paths) -> None:
    with hold(paths, PACK, [], every=NEVER):
        owner = read_owner(paths.lease(PACK))
    assert owner
    assert not owner.is_dead()
    assert replace(owner, started=owner.started - 1).is_dead()
    assert not replace(owner, started=owner.started - 1, machine="another").is_dead()
    assert not replace(owner, machine="").is_dead()


def test_a_suspended_owner_is_followed_and_notices(paths: Paths) -> None:
    with process(paths, holder(**QUICK)) as owner:
        assert heard(owner) == "held"
        owner.send_signal(signal.SIGSTOP)
        with hold(paths, PACK, [], **QUICK) as lease:
            owner.send_signal(signal.SIGCONT)
            tell(owner)
            assert [heard(owner), heard(owner)] == ["True", "left"], "and it does not take away what is not its own"
            found = read_owner(paths.lease(PACK))
            assert found
            assert found.pid == os.getpid()
            assert not lease.lost
    assert left_behind(paths) == []


CONTENDER = """
import os
for _ in range(5):
    with hold(paths, "PACK", [], every=0.02, stale_after=1e6) as lease:
        os.close(os.open(paths.root / "inside", os.O_CREAT | os.O_EXCL))
        time.sleep(0.01)
        (paths.root / "inside").unlink()
        say(lease.lost)
""".replace("PACK", PACK)


def test_of_many_that_take_over_one_wins_each_time(paths: Paths) -> None:
    with process(paths, holder(every=NEVER)) as dead:
        assert heard(dead) == "held"
        dead.kill()
    with process(paths, CONTENDER) as first, process(paths, CONTENDER) as second, process(paths, CONTENDER) as third:
        for contender in (first, second, third):
            out, _ = contender.communicate()
            assert contender.returncode == 0, "two were inside at once"
            said = [line for line in out.splitlines() if not line.startswith("Pack")]
            assert said == ["False"] * 5
    assert left_behind(paths) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"pack": 3, "runs": 4}'])
def test_a_damaged_lease_is_taken_over_once_it_stands_still(paths: Paths, content: str) -> None:
    paths.leases.mkdir(parents=True)
    paths.lease(PACK).write_text(content)
    assert read_owners(paths) == []
    with hold(paths, PACK, [], every=0.01, stale_after=0.1) as lease:
        assert read_owner(paths.lease(PACK))
        assert not lease.lost


def test_where_no_lease_can_be_written_training_goes_on(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.root.mkdir()
    paths.leases.write_text("a file")
    runs = [make_run(seed=seed) for seed in range(2)]
    with hold(paths, PACK, [run.id for run in runs]) as lease:
        assert not lease.lost
        assert list(lease.turns([runs])) == [runs]
    told = capsys.readouterr().err
    assert str(paths.leases) in told
    assert "Training goes on" in told
    assert "Traceback" not in told


# ------------------------------------------------------------------------------------------------ packs that share runs


@pytest.fixture
def runs() -> list[Run]:
    return [make_run(seed=seed) for seed in range(4)]


def publish(paths: Paths, *runs: Run) -> None:
    for run in runs:
        paths.run(run.id).parent.mkdir(parents=True, exist_ok=True)
        paths.run(run.id).write_text("trained")


def ids(runs: list[Run]) -> tuple[str, ...]:
    return tuple(run.id for run in runs)


def forge(paths: Paths, pack: str, runs: list[Run], **changed: Any) -> Path:
    """The lease of an owner elsewhere, of whom nothing but its beats is known."""
    with hold(paths, pack, ids(runs), every=NEVER):
        owner = read_owner(paths.lease(pack))
    assert owner
    path = paths.lease(pack)
    path.write_bytes(replace(owner, machine="another", **changed).encoded())
    return path


def test_what_an_older_pack_trains_comes_last_and_only_if_it_did_not(paths: Paths, runs: list[Run]) -> None:
    with process(paths, holder(OTHER, ids(runs[:2]), every=0.05)) as other:
        assert heard(other) == "held"
        with hold(paths, PACK, ids(runs), every=0.05) as lease:
            assert lease.held_elsewhere() == set(ids(runs[:2]))
            turns = lease.turns([runs[:3], runs[3:]])
            assert next(turns) == [runs[2]]
            publish(paths, runs[2])
            assert next(turns) == [runs[3]]
            publish(paths, runs[0], runs[3])
            tell(other)  # which ends, and has trained one of the two
            assert next(turns) == [runs[1]]
            publish(paths, runs[1])
            assert list(turns) == []


def test_a_killed_neighbour_is_not_waited_for(paths: Paths, runs: list[Run]) -> None:
    with process(paths, holder(OTHER, ids(runs), every=NEVER)) as other:
        assert heard(other) == "held"
        with hold(paths, PACK, ids(runs), every=0.05, stale_after=NEVER) as lease:
            turns = lease.turns([runs])
            other.kill()
            assert next(turns) == runs
            assert left_behind(paths) == [f"{PACK}.json"], "what the dead left is cleared away"


def test_the_older_of_two_does_not_wait(paths: Paths, runs: list[Run]) -> None:
    forge(paths, OTHER, runs, stamp=time.time() + 3600)
    with hold(paths, PACK, ids(runs), stale_after=NEVER) as younger:
        assert younger.held_elsewhere() == set(ids(runs)), "later than every lease there is, whatever its clock said"
        forge(paths, "c" * 16, runs)
        path = paths.lease("c" * 16)
        owner = read_owner(path)
        assert owner
        paths.lease(OTHER).unlink()
        assert younger.held_elsewhere() == set()
        assert list(younger.turns([runs[:1]])) == [runs[:1]]


def test_a_neighbour_elsewhere_is_given_up_when_it_beats_no_more(
    paths: Paths, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = forge(paths, OTHER, runs[:1]), [0.0]
    owner = read_owner(path)
    assert owner
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with hold(paths, PACK, ids(runs), every=NEVER, stale_after=60) as lease:
        for beat in range(1, 5):
            path.write_bytes(replace(owner, beat=beat).encoded())
            for _ in range(2):
                assert lease.held_elsewhere() == {runs[0].id}
                now[0] += 59
        now[0] += 2
        lease.wait_for(runs[0].id)
        assert not path.exists()
        assert lease.held_elsewhere() == set()


def test_a_run_that_was_published_is_not_waited_for(paths: Paths, runs: list[Run]) -> None:
    forge(paths, OTHER, runs)
    publish(paths, runs[0])
    with hold(paths, PACK, ids(runs), stale_after=NEVER) as lease:
        lease.wait_for(runs[0].id)
        lease.wait_for("f" * 16)  # which nobody holds


def _taken_over(paths: Paths, lease: Lease) -> None:
    owner = read_owner(paths.lease(PACK))
    assert owner
    paths.lease(PACK).unlink()
    paths.lease(PACK).write_bytes(replace(owner, token="another", pid=1, machine="another").encoded())
    assert lease.lost


def test_a_group_left_early_has_another_turn_once_the_pack_is_held_again(paths: Paths, runs: list[Run]) -> None:
    with hold(paths, PACK, ids(runs), every=NEVER, stale_after=0.1) as lease:
        lease._poll = 0.01
        turns = lease.turns([runs[:2], runs[2:]])
        assert next(turns) == runs[:2]
        publish(paths, runs[0])
        _taken_over(paths, lease)
        assert next(turns) == [runs[1]]
        assert not lease.lost
        assert next(turns) == runs[2:], "a run that failed has no other turn"
        publish(paths, *runs[2:])
        assert list(turns) == []
    assert left_behind(paths) == []


def test_a_beat_never_touches_another_owner(paths: Paths) -> None:
    with hold(paths, PACK, [], every=NEVER) as lease:
        _taken_over(paths, lease)
        before = paths.lease(PACK).read_bytes()
        lease._heart.beat()
        assert paths.lease(PACK).read_bytes() == before
    assert paths.lease(PACK).read_bytes() == before


def test_an_old_lease_seems_dead_at_one_look(paths: Paths) -> None:
    path = forge(paths, PACK, [])
    owner = read_owner(path)
    assert owner
    assert seems_alive(paths.lease(owner.pack), owner)
    then = time.time() - 2 * STALE_AFTER
    os.utime(path, (then, then))
    assert not seems_alive(paths.lease(owner.pack), owner)


def test_a_lease_is_json(paths: Paths) -> None:
    with hold(paths, PACK, ["x"], every=NEVER):
        content = json.loads(paths.lease(PACK).read_text())
    assert {"pack", "runs", "host", "pid", "token", "stamp", "beat"} <= content.keys()
