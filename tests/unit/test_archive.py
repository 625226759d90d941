"""`stepscape archive`, `verify`, `replay --archive`, `unpack`: the same bytes, every damage named, nothing outside."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stepscape.archive.bag import bag_faults, is_portable, write_bag
from stepscape.archive.contents import archive_study
from stepscape.archive.provenance import NO_DATE, Checkout
from stepscape.cli import main
from stepscape.errors import StepscapeError
from stepscape.store.collect import collect_study, open_study
from stepscape.store.files import sha256
from stepscape.store.receipts import keep_up
from stepscape.store.runfile import EPOCH
from stepscape.study.fingerprint import of_archive
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from stepscape.study.spec import Study, load_study
from tests.factories import collected, make_study

POINTS = "lr,seed\n0.5,0\n1.0,1\n"


def finish(study: Study, results: Path) -> Paths:
    """All results of a study, as the rules make them."""
    paths = Paths(results)
    collected(study, paths)
    assert main(["judge", str(study.path), "--results", str(results)]) == 0
    for figure in study.figures:
        assert main(["draw", str(study.path), figure.id, "--results", str(results)]) == 0
    return paths


def write_study(folder: Path) -> Study:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/points.csv").write_text(POINTS)
    shape = {"weight": np.zeros((1, 4))}
    for name in ("zero", "same"):
        np.savez(folder / f"{name}.npz", **shape)
    starts = [None, {"file": "zero.npz"}]
    return make_study(
        folder,
        grid=[
            {"points": "sub/points.csv", "start": starts},
            {"lr": 0.25, "start": {"file": "same.npz"}},
        ],
        observe={"losses": {"every": 1}, "hessian_top": {"every": 5}},
        claims=[{"id": "edge", "name": "hovers_at_threshold"}],
        figures=["loss_curves"],
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Paths, bytes]:
    """A finished study and its archive."""
    folder = tmp_path_factory.mktemp("made")
    study = write_study(folder / "studies")
    paths = finish(study, folder / "out")
    return study, paths, archive_study(study, paths, folder / "a.zip").read_bytes()


@pytest.fixture
def archive(made: tuple[Study, Paths, bytes], tmp_path: Path) -> Path:
    path = tmp_path / "small.zip"
    path.write_bytes(made[2])
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main([*map(str, words)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return status, captured.out, captured.err


def test_the_same_results_give_the_same_bytes(made: tuple[Study, Paths, bytes], tmp_path: Path) -> None:
    study, paths, content = made
    again = finish(write_study(tmp_path / "elsewhere"), tmp_path / "other")
    for file in again.root.rglob("*"):
        os.utime(file, (0, 0))
    assert archive_study(load_study(tmp_path / "elsewhere/small.yaml"), again).read_bytes() == content
    assert archive_study(study, paths, tmp_path / "b.zip").read_bytes() == content
    with zipfile.ZipFile(io.BytesIO(content)) as held:
        assert {info.date_time for info in held.infolist()} == {EPOCH}
        assert {info.compress_type for info in held.infolist()} == {zipfile.ZIP_STORED}
        assert held.namelist() == sorted(held.namelist())


def test_it_holds_everything(made: tuple[Study, Paths, bytes], archive: Path) -> None:
    study, paths, _ = made
    with zipfile.ZipFile(archive) as held:
        names = {name.removeprefix("small/data/") for name in held.namelist()}
        assert {f"results/{paths.run(run.id).relative_to(paths.root)}" for run in study.runs} <= names
        wanted = {"sub/points.csv", "zero.npz", "same.npz", "small.yaml"}
        assert {f"config/studies/{name}" for name in wanted} <= names
        figures = {"figures/loss_curves.svg", "figures/loss_curves.png"}
        for name in {"runs.csv", "claims.json", "dataset.zarr/zarr.json"} | figures:
            member = f"small/data/results/studies/small/{name}"
            assert held.read(member) == (paths.study("small") / name).read_bytes()
        assert {"CITATION.cff", "envs/constraints.txt", "provenance.json", "ro-crate-metadata.json"} <= names
        told = json.loads(held.read("small/data/provenance.json"))
        assert set(told) >= {"stepscape", "engine", "commit", "lock"}
        (line,) = [line for line in held.read("small/data/README.md").decode().splitlines() if "open_zarr(" in line]
    address = line.strip().removeprefix("xarray.open_zarr(").split('"')[1].replace("small.zip", str(archive))
    assert xr.open_zarr(address, chunks=None).load().identical(open_study(paths.study("small")).load())


def test_the_library_of_bags_accepts_it(archive: Path, tmp_path: Path) -> None:
    bagit = pytest.importorskip("bagit", reason="bagit is no pinned dependency: old pips cannot build it")
    with zipfile.ZipFile(archive) as held:
        held.extractall(tmp_path / "unpacked")
    bag = bagit.Bag(str(tmp_path / "unpacked/small"))
    bag.validate()
    assert bag.info["External-Identifier"] == "small"
    assert bag.has_oxum()


def test_the_library_of_research_crates_accepts_it(archive: Path, tmp_path: Path) -> None:
    rocrate = pytest.importorskip("rocrate.rocrate", reason="rocrate is in the dev extra")
    with zipfile.ZipFile(archive) as held:
        held.extractall(tmp_path / "unpacked")
    crate = rocrate.ROCrate(str(tmp_path / "unpacked/small/data"))
    parts = {part.id for part in crate.root_dataset["hasPart"]}
    assert {"config/studies/small.yaml", "results/runs/", "results/studies/small/dataset.zarr/"} <= parts
    for part in parts:
        assert (tmp_path / "unpacked/small/data" / part).exists()
    action = crate.dereference("#sweep")
    assert action["instrument"].type == "SoftwareApplication"
    assert "results/studies/small/claims.json" in {result.id for result in action["result"]}
    assert crate.root_dataset["license"].id == "#license"


# ----------------------------------------------------------------------------------------------------------- provenance


def git(folder: Path, *words: str) -> None:
    settings = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "src/stepscape").mkdir(parents=True)
    (root / "src/stepscape/__init__.py").write_text("a\n")
    (root / "pyproject.toml").touch()
    return root


def test_commit_and_changes(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Checkout(checkout).record()["commit"] is None
    assert "not in git" in str(Checkout(checkout).record()["note"])
    assert (Checkout(checkout).date, Checkout(checkout).changes) == (NO_DATE, b"")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2031-05-06T23:30:00-0200")
    git(checkout, "init")
    git(checkout, "add", ".")
    git(checkout, "commit", "-m", "first")
    clean = Checkout(checkout)
    assert len(clean.commit) == 40
    assert clean.record() | {"date": "2031-05-07", "changed": False, "untracked": {}} == clean.record()
    (checkout / "src/stepscape/__init__.py").write_text("b\n")
    (checkout / "src/new.py").write_text("c\n")
    (checkout / "notes.txt").write_text("of no concern\n")
    changed = Checkout(checkout)
    assert changed.commit == clean.commit
    assert b"-a\n+b\n" in changed.changes
    assert changed.record()["untracked"] == {"src/new.py": sha256(checkout / "src/new.py")}


def test_a_package_in_a_repository_that_does_not_hold_it(checkout: Path) -> None:
    git(checkout, "init")
    assert Checkout(checkout).commit == ""


def test_an_archive_without_git_says_so(made: tuple[Study, Paths, bytes], checkout: Path, tmp_path: Path) -> None:
    path = archive_study(*made[:2], tmp_path / "b.zip", Checkout(checkout))
    with zipfile.ZipFile(path) as held:
        told = json.loads(held.read("small/data/provenance.json"))
        assert told["commit"] is None
        assert told["lock"] is None
        (root,) = [e for e in json.loads(held.read("small/data/ro-crate-metadata.json"))["@graph"] if e["@id"] == "./"]
        assert root["datePublished"] == NO_DATE
    assert bag_faults(path)[1] == []


# ------------------------------------------------------------------------------------------------- what is not archived


def lose_run(study: Study, paths: Paths) -> Path:
    paths.run(study.runs[0].id).unlink()
    return paths.run(study.runs[0].id)


def damage_run(study: Study, paths: Paths) -> Path:
    path = paths.run(study.runs[1].id)
    path.write_bytes(path.read_bytes()[:-1])
    return path


def lose_figure(study: Study, paths: Paths) -> Path:
    paths.figure("small", "loss_curves", "svg").unlink()
    return paths.figure("small", "loss_curves", "svg")


def add_run(study: Study, paths: Paths) -> Path:
    study.path.write_text(study.path.read_text().replace("lr: 0.25", "lr: [0.25, 0.3]"))
    collected_runs = load_study(study.path)
    for pack in make_plan([collected_runs]).packs:
        keep_up(make_plan([collected_runs]), paths)
        assert main(["train-pack", pack.id, "--results", str(paths.root), "--device", "cpu"]) == 0
    return paths.table("small")


def swap_claims(study: Study, paths: Paths) -> Path:
    paths.claims("small").write_text('{"claims": []}')
    return paths.claims("small")


def damage_dataset(study: Study, paths: Paths) -> Path:
    chunk = next(path for path in (paths.dataset("small") / "train_loss").rglob("c/*/*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    return paths.dataset("small")


def spoil_marker(study: Study, paths: Paths) -> Path:
    paths.dataset_marker("small").write_text("{")
    return paths.dataset("small")


def older_dataset(study: Study, paths: Paths) -> Path:
    marker = paths.dataset_marker("small")
    marker.write_text(marker.read_text().replace('"run_files_sha256": "', '"run_files_sha256": "0'))
    return paths.dataset("small")


@pytest.mark.parametrize(
    "harm", [lose_run, damage_run, lose_figure, add_run, swap_claims, damage_dataset, spoil_marker, older_dataset]
)
def test_what_is_missing_or_out_of_date_is_named(
    harm: Callable[[Study, Paths], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path / "studies")
    paths = finish(study, tmp_path / "out")
    named = harm(study, paths)
    status, _, err = said(capsys, "archive", study.path, "--results", paths.root)
    assert status == 1
    assert str(named) in err
    assert "Snakemake" in err
    assert not list(paths.archive("small").parent.glob("*"))


def test_a_companion_outside_is_refused(made: tuple[Study, Paths, bytes], tmp_path: Path) -> None:
    study = write_study(tmp_path / "studies")
    (tmp_path / "studies/sub/points.csv").rename(tmp_path / "points.csv")
    text = study.path.read_text()
    study.path.write_text(text.replace("sub/points.csv", "../points.csv"))
    assert "config/points.csv" in dict.fromkeys(p for p in of_files(study.path))
    study.path.write_text(text.replace("sub/points.csv", str(tmp_path / "points.csv")))
    with pytest.raises(StepscapeError, match=r"grid\[0\]\.points"):
        archive_study(load_study(study.path), made[1])


def of_files(path: Path) -> list[str]:
    from stepscape.study.companions import study_files

    return list(study_files(load_study(path)))


def test_a_folder_that_cannot_be_written(made: tuple[Study, Paths, bytes], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StepscapeError, match=str(tmp_path / "file")):
        archive_study(*made[:2], tmp_path / "file" / "a.zip")


def test_the_rule_runs_again_when_a_file_of_the_study_changes(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    before = of_archive(study)
    study.path.write_text(f"{study.path.read_text()}# a comment\n")
    commented = of_archive(study)
    (tmp_path / "sub/points.csv").write_text(POINTS.replace("1.0", "1.00"))
    assert len({before, commented, of_archive(study)}) == 3


# --------------------------------------------------------------------------------------------------------------- damage


def tiny(payload: dict[str, Path | bytes]) -> bytes:
    file = io.BytesIO()
    write_bag(file, "tiny", payload, {"Title": "of two\nlines"})
    return file.getvalue()


def faults(path: Path, content: bytes) -> list[str]:
    path.write_bytes(content)
    return bag_faults(path)[1]


def test_every_byte_counts(tmp_path: Path) -> None:
    whole = tiny({"a": b"some bytes", "b/c.txt": b"", "ä": bytes(range(256))})
    path = tmp_path / "tiny.zip"
    assert faults(path, whole) == []
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        assert faults(path, bytes(damaged)), f"byte {at} of {len(whole)}"
        assert faults(path, whole[:at]), f"the first {at} bytes"
        assert faults(path, whole[:at] + bytes(len(whole) - at)) or not any(whole[at:]), f"zeros from {at}"
    assert faults(path, whole + b"\0")
    assert faults(path, b"\0" + whole)


def test_the_member_is_named(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(archive) as held:
        infos = {info.filename: info for info in held.infolist()}
        count = len(infos)
    assert said(capsys, "verify", archive)[:2] == (0, f"{archive}: {count} file(s) checked, 0 damaged\n")
    whole = archive.read_bytes()
    for name, info in infos.items():
        for offset in (10, 30 + len(name)):  # a time stamp that no reader looks at, and the first byte of the data
            damaged = bytearray(whole)
            damaged[info.header_offset + offset] ^= 4
            archive.write_bytes(damaged)
            status, out, _ = said(capsys, "verify", archive)
            assert status == 1
            assert name in out
            assert "Take another copy" in out
    assert count > 20


@pytest.mark.parametrize("manifest", [b"", b"not a manifest\n", b"0" * 64 + b"  data/a\n"])
def test_a_manifest_that_lies(tmp_path: Path, manifest: bytes) -> None:
    whole = zipfile.ZipFile(io.BytesIO(tiny({"a": b"1", "b": b"2"})))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as held:
        for name in whole.namelist():
            replaced = manifest if name.endswith("/manifest-sha256.txt") else whole.read(name)
            held.writestr(zipfile.ZipInfo(name, EPOCH), replaced)
    assert any("manifest" in fault for fault in faults(tmp_path / "x.zip", file.getvalue()))


def test_what_is_no_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.zip"
    for content in (b"", b"no zip", b"PK\5\6" + bytes(18)):
        path.write_bytes(content)
        assert said(capsys, "verify", path)[0] == 1
        assert str(path) in said(capsys, "unpack", path, tmp_path / "out")[2]
        assert said(capsys, "replay", "--archive", path, "ab")[0] == 1
    assert not (tmp_path / "out").exists()
    assert "no such file" in said(capsys, "unpack", tmp_path / "y.zip", tmp_path)[2]


# --------------------------------------------------------------------------------------------------------------- replay


def test_a_run_is_replayed_from_it(
    made: tuple[Study, Paths, bytes], archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, paths, _ = made
    for run in (study.runs[0], study.runs[-1]):
        status, out, err = said(capsys, "replay", run.id, "--archive", archive)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1] == f"Same bytes. SHA-256 {sha256(paths.run(run.id))}"
    status, _, err = said(capsys, "replay", "", "--archive", archive)
    assert status == 1
    assert f"{archive}: {len(study.runs)} runs begin with" in err
    status, _, err = said(capsys, "replay", "xyz", "--archive", archive)
    assert status == 1
    assert "the id of a run that it holds" in err


# --------------------------------------------------------------------------------------------------------------- unpack


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_is_restored(
    made: tuple[Study, Paths, bytes], archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, paths, content = made
    folder = tmp_path / "restored"
    status, out, err = said(capsys, "unpack", archive, folder)
    assert (status, err) == (0, "")
    restored = load_study(folder / "config/studies/small.yaml")
    assert [run.id for run in restored.runs] == [run.id for run in study.runs]
    again = Paths(folder / "results")
    assert all(again.receipt(pack.id).exists() for pack in make_plan([restored]).packs)
    assert said(capsys, "verify", again.root)[0] == 0
    assert len({path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}) == 1
    assert archive_study(restored, again, tmp_path / "b.zip").read_bytes() == content
    assert collect_study(restored, again).identical(collect_study(study, paths))
    before = files(folder)
    status, out, _ = said(capsys, "unpack", archive, folder)
    assert status == 0
    assert "0 files unpacked" in out
    assert files(folder) == before


def test_what_was_interrupted_goes_on(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "restored"
    assert said(capsys, "unpack", archive, folder)[0] == 0
    before = files(folder)
    lost = sorted(before)[::2]
    for name in lost:
        (folder / name).unlink()
    assert said(capsys, "unpack", archive, folder)[0] == 0
    assert files(folder) == before
    stamps = {path.stat().st_mtime_ns for path in (folder / "results/studies").rglob("*") if path.is_file()}
    assert all(path.stat().st_mtime_ns <= min(stamps) for path in (folder / "results/packs").iterdir())


@pytest.mark.parametrize("name", ["config/studies/small.yaml", "results/studies/small/dataset.zarr/stranger"])
def test_nothing_that_differs_is_overwritten(
    archive: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "there" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    status, _, err = said(capsys, "unpack", archive, tmp_path / "there")
    assert status == 1
    assert str(path) in err
    assert files(tmp_path / "there") == {name: b"mine"}


def test_links_that_lead_out_are_not_followed(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside, there = tmp_path / "outside", tmp_path / "there"
    outside.mkdir()
    there.mkdir()
    (there / "results").symlink_to(outside)
    status, _, err = said(capsys, "unpack", archive, there)
    assert status == 1
    assert "a link" in err
    assert list(outside.iterdir()) == []
    assert list(there.iterdir()) == [there / "results"]


@pytest.mark.parametrize(
    "name", ["../x", "results/../../x", "/x", "results//x", "results/./x", "results\\..\\x", "results/x\n", "C:x"]
)
def test_a_path_that_leads_out_is_refused(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_portable(name)
    path = tmp_path / "bad.zip"
    path.write_bytes(tiny({name: b"evil", "results/good": b"good"}))
    assert said(capsys, "verify", path)[0] == 1
    status, _, err = said(capsys, "unpack", path, tmp_path / "in/folder")
    assert status == 1
    assert "Nothing was unpacked" in err
    assert sorted(tmp_path.rglob("*")) == [path]


def test_a_link_in_an_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = zipfile.ZipFile(io.BytesIO(tiny({"results/link": b"/etc/passwd"})))
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as held:
        for name in whole.namelist():
            info = zipfile.ZipInfo(name, EPOCH)
            if name.endswith("link"):
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            held.writestr(info, whole.read(name))
    status, _, err = said(capsys, "unpack", path, tmp_path / "out")
    assert status == 1
    assert "not as it was written" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("blocked", ["folder", "folder/results"])
def test_a_file_in_the_place_of_a_folder(
    archive: Path, tmp_path: Path, blocked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("mine")
    status, _, err = said(capsys, "unpack", archive, tmp_path / "folder")
    assert status == 1
    assert str(tmp_path / blocked) in err
    assert (tmp_path / blocked).read_text() == "mine"
