"""`stepscape verify`: names everything that is damaged, and nothing that is not."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stepscape.cli import main
from stepscape.store.collect import collect_study
from stepscape.store.receipts import RECEIPT_KEYS, write_receipt
from stepscape.store.runfile import open_run
from stepscape.store.seals import sealed_zip, unsealed_json, write_sealed
from stepscape.study.paths import Paths
from stepscape.study.plan import Pack, make_plan
from stepscape.study.spec import Study
from tests.factories import collected, make_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path)


@pytest.fixture
def paths(study: Study, tmp_path: Path) -> Paths:
    paths = Paths(tmp_path / "a:b")  # a colon in a path is no end of it
    collected(study, paths)
    return paths


def verified(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    status = main(["verify", str(path)])
    return status, capsys.readouterr().out.splitlines()


def test_what_is_whole_is_told_so(study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(paths.root, capsys) == (0, [f"{paths.root}: 10 file(s) checked, 0 damaged"])
    file = paths.run(study.runs[0].id)
    assert verified(file, capsys) == (0, [f"{file}: 1 file(s) checked, 0 damaged"])


def test_every_damage_is_named_once(study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    truncated, missing, header, swapped = (paths.run(run.id) for run in study.runs[:4])
    truncated.write_bytes(truncated.read_bytes()[:-1])
    missing.unlink()
    data = bytearray(header.read_bytes())
    data[10] ^= 1  # the time in a local header, which no reader looks at
    header.write_bytes(data)
    assert open_run(header).attrs["status"] == "completed"
    swapped.write_bytes(paths.run(study.runs[4].id).read_bytes())
    (paths.packs / "0123456789abcdef.json").write_text("{")
    (chunk,) = [path for path in (paths.dataset("small") / "train_loss").rglob("c/*/*") if path.is_file()]
    chunk.write_bytes(chunk.read_bytes()[:-1])
    status, lines = verified(paths.root, capsys)
    assert status == 1
    faults = lines[:-2]
    expected = {truncated: "damaged", missing: "missing", header: "not as it was written", swapped: "it holds run"}
    for path, words in {
        **expected,
        paths.packs / "0123456789abcdef.json": "it is not JSON",
        paths.dataset("small"): "damaged",
    }.items():
        (line,) = [line for line in faults if line.startswith(str(path))]
        assert words in line
    assert len(faults) == 6
    assert lines[-2] == f"{paths.root}: 10 file(s) checked, 6 damaged"
    assert lines[-1].startswith("Delete what is damaged")


def whole_study(paths: Paths) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in paths.study("small").rglob("*") if path.is_file()}


@pytest.mark.parametrize("damage", ["deleted", "flipped", "truncated", "emptied"])
def test_every_file_of_a_dataset_and_its_table_is_checked(
    study: Study, paths: Paths, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    files = whole_study(paths)
    del files[paths.checksums("small")]
    assert len(files) > 30
    for path, content in files.items():
        flipped = bytes([*content[:-1], content[-1] ^ 1])
        if damage == "deleted":
            path.unlink()
        else:
            path.write_bytes({"flipped": flipped, "truncated": content[:-1], "emptied": b""}[damage])
        status, lines = verified(paths.root, capsys)
        assert status == 1, path
        assert lines[0].startswith(f"{path}: ")
        assert len(lines) == 3
        path.write_bytes(content)
    assert verified(paths.root, capsys)[0] == 0


def test_a_dataset_is_made_again_as_it_was(study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    files = whole_study(paths)
    (chunk,) = (paths.dataset("small") / "train_loss" / "c").rglob("0/0")
    chunk.unlink()
    assert verified(paths.root, capsys)[1][0] == f"{chunk}: missing"
    collect_study(study, paths)
    assert whole_study(paths) == files
    assert verified(paths.root, capsys)[0] == 0


def test_what_is_no_part_of_a_dataset_is_told(study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = paths.dataset("small") / "train_loss" / "c" / "1" / "0"
    stranger.parent.mkdir()
    stranger.write_bytes(b"")
    assert verified(paths.root, capsys)[1][0] == f"{stranger}: not in SHA256SUMS"


@pytest.mark.parametrize("content", [None, b"", b"nonsense\n", b"0" * 64 + b" runs.csv\n", b"\xff"])
def test_without_its_checksums_a_dataset_is_not_taken_for_whole(
    study: Study, paths: Paths, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    sums = paths.checksums("small")
    sums.unlink() if content is None else sums.write_bytes(content)
    status, lines = verified(paths.root, capsys)
    assert status == 1
    assert lines[0].startswith(f"{sums}: {'missing' if content is None else 'damaged'}")


def test_a_shortened_list_of_checksums_is_noticed(
    study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    sums = paths.checksums("small")
    *lines, last = sums.read_text().splitlines(keepends=True)
    assert last.endswith("  runs.csv\n")
    sums.write_text("".join(lines))
    assert verified(paths.root, capsys)[1][0] == f"{paths.table('small')}: not in SHA256SUMS"


def test_a_dataset_that_is_gone_is_told_once(study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(paths.dataset("small"))
    status, lines = verified(paths.root, capsys)
    assert (status, lines[0], len(lines)) == (1, f"{paths.dataset('small')}: missing", 3)


def test_other_tools_can_check_too(study: Study, paths: Paths) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=paths.study("small"), check=False).returncode == 0
    paths.table("small").write_text("")
    done = subprocess.run(command, cwd=paths.study("small"), check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "runs.csv: FAILED\n")


def test_a_file_that_its_receipt_does_not_tell_of(
    study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    run = study.runs[0]
    receipt = paths.receipt(make_plan([study]).packs[0].id)
    told = unsealed_json(receipt.read_bytes(), RECEIPT_KEYS)
    write_sealed(receipt, {**told, "runs": {run: {**said, "sha256": "0"} for run, said in told["runs"].items()}})
    status, lines = verified(paths.root, capsys)
    assert status == 1
    assert len(lines) == 8
    assert f"{paths.run(run.id)}: whole, but not the file that its receipt tells of (SHA-256 differs)" in lines


def test_of_two_receipts_the_later_one_counts(study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    run = study.runs[0]
    old = {"sha256": "0" * 64, "finished": "2001-01-01T00:00:00+00:00"}
    for other in study.runs[1:5]:  # whichever name comes first in the folder
        write_receipt(paths, Pack((run, other)), {run.id: old})
    assert verified(paths.root, capsys)[0] == 0


def test_what_is_kept_beside_runs_is_checked_too(
    study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    (pack,) = make_plan([study]).packs
    content = io.BytesIO()
    np.savez(content, theta=np.zeros(3))
    paths.checkpoint(pack.id).parent.mkdir()
    paths.checkpoint(pack.id).write_bytes(sealed_zip(content.getvalue()))
    (part,) = paths.parts.glob("*.part")
    assert verified(paths.root, capsys)[0] == 0
    named = {paths.receipt(pack.id): "delete it", paths.pack_plan(pack.id): "delete it", part: "delete it"}
    named[paths.checkpoint(pack.id)] = "its runs start anew"
    for path, remedy in named.items():
        whole = path.read_bytes()
        for at in (0, 10, len(whole) // 2, len(whole) - 20, len(whole) - 1):
            for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
                path.write_bytes(damaged)
                status, lines = verified(paths.root, capsys)
                assert status == 1
                assert any(line.startswith(f"{path}: damaged") and remedy in line for line in lines)
        path.write_bytes(whole)
    assert verified(paths.root, capsys)[0] == 0


def test_failures_and_plans_are_no_receipts(study: Study, paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    paths.failures("0123456789abcdef").write_text('{"pack": "x", "failures": []}')
    assert verified(paths.root, capsys)[0] == 0


@pytest.mark.parametrize("name", ["missing.zarr.zip", "."])
def test_what_is_neither_is_an_error(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / name)]) == 1
    assert "no" in capsys.readouterr().err
