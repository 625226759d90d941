"""`stepscape gc`: removes what no study needs, nothing that any needs, and nothing that is leased."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from stepscape.cli import main
from stepscape.store import garbage
from stepscape.store.collect import collect_study
from stepscape.store.leases import hold
from stepscape.store.processes import temporary_name
from stepscape.store.receipts import keep_up, known
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from stepscape.study.spec import Study, load_study
from tests.factories import make_study, train_plan

PATHS = Paths(Path("results"))
STUDIES = Path("config/studies")


def files() -> set[Path]:
    return {path for path in PATHS.root.rglob("*") if path.is_file()}


def gc(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, set[Path], str]:
    """Runs it; its status, what is gone, and what was said."""
    before = files()
    capsys.readouterr()
    status = main(["gc", *words])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, before - files(), captured.out + captured.err


def removed(capsys: pytest.CaptureFixture[str]) -> set[Path]:
    """What `gc --delete` removes, which is what `gc` lists."""
    status, gone, listed = gc(capsys)
    assert (status, gone) == (0, set())
    status, gone, said = gc(capsys, "--delete")
    assert status == 0
    assert all(is_told(path, listed) and is_told(path, said) for path in gone)
    assert gc(capsys, "--delete")[1] == set()
    return gone


def is_told(path: Path, text: str) -> bool:
    words = text.replace(",", " ").split()
    return any(str(place) in words for place in (path, *path.parents))


def study(name: str = "small", **given: object) -> Study:
    return make_study(STUDIES, name, **given)


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout whose only study is trained."""
    monkeypatch.chdir(tmp_path)
    train_plan(make_plan([study()]), PATHS)
    Path("config/config.yaml").write_text("studies: [small]\n")


def runs_of(study: Study, **wanted: float) -> set[Path]:
    hits = (run for run in study.runs if all(getattr(run, key) == value for key, value in wanted.items()))
    return {PATHS.run(run.id) for run in hits}


def test_what_is_needed_stays(capsys: pytest.CaptureFixture[str]) -> None:
    collect_study(load_study(STUDIES / "small.yaml"), PATHS)
    assert removed(capsys) == set()


def test_runs_that_a_study_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    before = load_study(STUDIES / "small.yaml")
    (pack,) = make_plan([before]).packs
    after = study(grid=[{"lr": [0.5, 1.0], "seed": [0, 1]}])
    dropped = runs_of(before, lr=1.5)
    plan = {path for path in [PATHS.pack_plan(pack.id)] if path.exists()}
    assert removed(capsys) == dropped | plan | {PATHS.receipt(pack.id)}
    told = known(PATHS, {run.id for run in after.runs})
    assert all(said and said["sha256"] for said in told.values()), "what is known of the others stays"
    assert len(told) == 4
    assert main(["verify", "results"]) == 0
    assert keep_up(make_plan([after]), PATHS) == {}


def test_every_study_of_the_folder_counts_and_those_configured(capsys: pytest.CaptureFixture[str]) -> None:
    other = study("other", grid=[{"lr": 0.1}])
    outside = make_study(Path("elsewhere"), "outside", grid=[{"lr": 0.2}])
    train_plan(make_plan([other, outside]), PATHS)
    Path("config/config.yaml").write_text("studies: [small, elsewhere/outside.yaml]\n")
    assert removed(capsys) == set()
    Path("config/config.yaml").write_text("studies: [small]\n")
    assert runs_of(outside) < removed(capsys)
    other.path.unlink()
    gone = removed(capsys)
    assert runs_of(other) < gone
    assert not gone & runs_of(load_study(STUDIES / "small.yaml"))


def descend(**start: object) -> dict[str, object]:
    grid = [{"lr": 0.5, **({"start": start} if start else {})}]
    return {"grid": grid, "observe": {"losses": {"every": 1}, "parameters": {"every": 1}}}


def test_the_runs_that_others_start_from(capsys: pytest.CaptureFixture[str]) -> None:
    parents = study("parents", **descend())
    children = study("children", **descend(run=parents.runs[0].id, step=3))
    grandchildren = study("grandchildren", **descend(run=children.runs[0].id, step=2))
    for one in (parents, children, grandchildren):
        train_plan(make_plan([one]), PATHS)
    parents.path.unlink()
    children.path.unlink()
    assert removed(capsys) == set(), "a run lost could not be trained again without those before it"
    grandchildren.path.unlink()
    assert runs_of(parents) | runs_of(children) | runs_of(grandchildren) < removed(capsys)


def test_files_that_runs_start_from(capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in (("a", 0.0), ("b", 1.0)):
        np.savez(STUDIES / f"{name}.npz", weight=np.full((1, 4), value))
    both = study("starts", grid=[{"lr": 0.5, "start": [{"file": "a.npz"}, {"file": "b.npz"}]}])
    train_plan(make_plan([both]), PATHS)
    assert len(list(PATHS.start("x").parent.iterdir())) == 2
    assert removed(capsys) == set()
    study("starts", grid=[{"lr": 0.5, "start": {"file": "a.npz"}}])
    assert PATHS.start(both.start_files[STUDIES / "b.npz"]) in removed(capsys)
    assert PATHS.start(both.start_files[STUDIES / "a.npz"]).exists()


def test_parts_that_no_study_needs(capsys: pytest.CaptureFixture[str]) -> None:
    small = load_study(STUDIES / "small.yaml")
    collect_study(small, PATHS)
    (needed,) = PATHS.parts.iterdir()
    other = study("other", grid=[{"lr": 0.1}])
    train_plan(make_plan([other]), PATHS)
    collect_study(other, PATHS)
    (strange,) = set(PATHS.parts.iterdir()) - {needed}
    assert removed(capsys) == set()
    other.path.unlink()
    damaged = PATHS.parts / f"{'0' * 64}.part"
    damaged.write_bytes(needed.read_bytes()[:-1])
    assert removed(capsys) >= {strange, damaged}
    assert list(PATHS.parts.iterdir()) == [needed]
    path = PATHS.run(small.runs[0].id)
    path.unlink()
    path.write_bytes(b"another file")
    assert gc(capsys)[1] == set()
    assert str(needed) not in gc(capsys)[2], "the other runs are still taken from it"


def test_what_killed_processes_left(capsys: pytest.CaptureFixture[str]) -> None:
    def dead(name: str) -> Path:
        return Path(temporary_name(name).replace(f".{os.getpid()}-", ".999999999-"))

    left = [PATHS.packs / dead("a.json"), PATHS.runs / "ab" / dead("b.zarr.zip"), PATHS.root / dead("head.json")]
    folder = PATHS.study("small") / dead("dataset.zarr")
    living = PATHS.packs / temporary_name("a.json")
    for path in [*left, folder / "loss/c/0", folder / ".zarr.json.0f.tmp", living]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    told = gc(capsys)[2]
    (line,) = [line for line in told.splitlines() if str(folder) in line]
    assert line.split()[:3] == ["temporary", "8", "B"]
    assert removed(capsys) >= {*left, folder / "loss/c/0"}
    assert not folder.exists()
    assert living.exists()


def test_outlines_that_nobody_was_handed_for_a_day(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = PATHS.outline("0" * 16), PATHS.outline("1" * 16)
    for path in (old, new):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    os.utime(old, (1e9, 1e9))
    with hold(PATHS, "a" * 16, []):
        assert gc(capsys)[1] == set()
    assert removed(capsys) == {old}
    assert new.exists()


@pytest.fixture
def strange() -> Mapping[str, Path]:
    """What a job of a pack that no study has left behind, by kind."""
    other = make_study(Path("elsewhere"), "other", grid=[{"lr": 0.1, "seed": [0, 1]}])
    plan = make_plan([other])
    (pack,) = plan.packs
    keep_up(plan, PATHS)
    for path in (PATHS.checkpoint(pack.id), PATHS.checkpoint("x").parent / "aside/old.npz", PATHS.failures(pack.id)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    (PATHS.packs / "aside").mkdir(exist_ok=True)
    aside = PATHS.packs / "aside" / f"{pack.id}.json"
    aside.write_text(json.dumps({"runs": {other.runs[0].id: None}}))
    kinds = {"checkpoint": PATHS.checkpoint(pack.id), "plan": PATHS.pack_plan(pack.id)}
    old = {"old": PATHS.checkpoint("x").parent / "aside/old.npz", "receipt": aside}
    return kinds | old | {"failure": PATHS.failures(pack.id)}


def test_every_kind_with_its_size(strange: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    lines = gc(capsys)[2].splitlines()
    (line,) = [line for line in lines if str(strange["plan"]) in line]
    assert line.split()[:3] == ["plan", str(strange["plan"].stat().st_size), "B"]
    assert "5 files" in lines[-2]
    assert removed(capsys) == set(strange.values())


def test_what_is_leased_is_not_touched(strange: Mapping[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    pack = strange["checkpoint"].stem
    runs = [run.id for run in load_study(Path("elsewhere/other.yaml")).runs]
    PATHS.run(runs[0]).parent.mkdir(parents=True, exist_ok=True)
    PATHS.run(runs[0]).write_bytes(b"just trained")
    with hold(PATHS, pack, runs):
        assert gc(capsys, "--delete")[1] == {strange["old"]}
        assert "Kept for who trains now" in gc(capsys)[2]
    PATHS.lease(pack).parent.mkdir(exist_ok=True)
    PATHS.lease(pack).write_text("{")  # cannot be read: somebody may be writing it
    assert gc(capsys, "--delete")[1] == set()
    PATHS.lease(pack).unlink()
    assert gc(capsys, "--delete")[1] >= {strange["checkpoint"], strange["plan"], PATHS.run(runs[0])}


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("title: ["), lambda path: path.unlink()])
def test_where_studies_cannot_be_read_nothing_is_removed(spoil: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(spoil)
    spoil(STUDIES / "small.yaml")
    status, gone, said = gc(capsys, "--delete")
    assert (status, gone) == (1, set())
    assert "small" in said


def test_what_another_removed_meanwhile(
    strange: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = list(garbage.garbage(PATHS, garbage.what_is_needed([load_study(STUDIES / "small.yaml")], PATHS)))
    assert {item.path for item in found} == set(strange.values())
    monkeypatch.setattr(garbage, "garbage", lambda paths, needed: found)
    strange["plan"].unlink()
    status, gone, _ = gc(capsys, "--delete")
    assert status == 0
    assert gone == set(strange.values()) - {strange["plan"]}
