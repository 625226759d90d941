"""Files of another version, and archives that lie: a message names the file and what to do."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stepscape.archive.bag import write_bag
from stepscape.errors import StepscapeError
from stepscape.store.runfile import EPOCH, zipped
from stepscape.store.seals import sealed_zip, write_sealed
from tests.faults.ledger import Ledger
from tests.faults.sweep import Sweep, command

Renew = Callable[[Sweep], tuple[Path, str]]


def run_file(sweep: Sweep) -> tuple[Path, str]:
    path = sweep.paths.run(sweep.study.runs[0].id)
    with zipfile.ZipFile(path) as held:
        members = {name: held.read(name) for name in held.namelist()}
    assert members["zarr.json"].count(b'"format": 1') == 1
    members["zarr.json"] = members["zarr.json"].replace(b'"format": 1', b'"format": 9')
    path.write_bytes(zipped(members))
    return path, "format 9; this version reads 1"


def receipt(sweep: Sweep) -> tuple[Path, str]:
    path = sweep.paths.receipt(sweep.plan.packs[0].id)
    told = json.loads(path.read_bytes())
    write_sealed(path, {"pack": told["pack"], "runs": told["runs"], "format": 9})
    return path, "it has the keys format"


def part(sweep: Sweep) -> tuple[Path, str]:
    (path,) = sweep.paths.parts.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"U")
    return path, "its index is not as it was written"


def dataset(sweep: Sweep) -> tuple[Path, str]:
    path = sweep.paths.dataset_marker(sweep.study.name)
    path.write_text(path.read_text().replace('"zarr_format": 3', '"zarr_format": 9', 1))
    return path, "damaged"


def archive(sweep: Sweep) -> tuple[Path, str]:
    path = sweep.paths.archive(sweep.study.name)
    path.write_bytes(path.read_bytes().replace(b"BagIt-Version: 1.0", b"BagIt-Version: 9.0"))
    return path, "bagit.txt"


@pytest.mark.parametrize("renew", [run_file, receipt, part, dataset, archive])
def test_a_file_of_another_version(sweep: Sweep, renew: Renew, ledger: Ledger, undisturbed: dict[str, bytes]) -> None:
    files = "run file, receipt, part, dataset, archive"
    with ledger.count("other version", files, damage=True) as tally, tally.trying(renew.__name__):
        sweep.make()
        path, words = renew(sweep)
        (fault,) = [fault for fault in sweep.faults() if fault.startswith(f"{path}: ")]
        assert words in fault
        tally.noticed += 1
        path.unlink()
        sweep.make()
        assert sweep.results() == undisturbed
        assert sweep.faults() == []
        tally.mended += 1


def test_a_checkpoint_of_another_version(sweep: Sweep, ledger: Ledger, undisturbed: dict[str, bytes]) -> None:
    """It is whole, so that only the job that would go on from it has something to say."""
    with ledger.count("other version", "checkpoint", damage=True) as tally, tally.trying("checkpoint"):
        content = io.BytesIO()
        np.savez(content, header=np.array(json.dumps({"format": 9})))
        path = sweep.paths.checkpoint(sweep.plan.packs[0].id)
        path.parent.mkdir(parents=True)
        path.write_bytes(sealed_zip(content.getvalue()))
        sweep.make()
        assert not path.exists()
        assert [kept.name for kept in (path.parent / "aside").iterdir()] == [path.name]
        tally.noticed += 1
        assert sweep.results() == undisturbed
        tally.mended += 1


def test_a_run_file_of_another_version_is_set_aside_by_whoever_collects(
    sweep: Sweep, ledger: Ledger, undisturbed: dict[str, bytes]
) -> None:
    with ledger.count("other version", "run file, met while collecting", damage=True) as tally, tally.trying("run"):
        sweep.make()
        path, words = run_file(sweep)
        sweep.paths.dataset_marker(sweep.study.name).unlink()
        with pytest.raises(StepscapeError) as told:
            sweep.make()
        assert str(path) in str(told.value)
        assert words in str(told.value)
        assert "Start Snakemake again" in str(told.value)
        assert [kept.name for kept in sweep.paths.damaged.iterdir()] == [path.name]
        tally.noticed += 1
        sweep.make()
        assert sweep.results() == undisturbed
        assert sweep.faults() == []
        tally.mended += 1


# ---------------------------------------------------------------------------------------------------- archives that lie

LIES = ["../out", "../../out", "a/../../out", "/out", "//out", "C:/out", "..\\out", "./out", "a//out", "a/./out"]


def _with_link(target: str) -> bytes:
    """A bag whose member is, to some programs, a link."""
    whole = io.BytesIO()
    write_bag(whole, "lie", {"results/link": target.encode(), "results/link/out": b"evil"}, {})
    content = io.BytesIO()
    with zipfile.ZipFile(whole) as honest, zipfile.ZipFile(content, "w") as archive:
        for name in honest.namelist():
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16 if name.endswith("/link") else 0
            archive.writestr(info, honest.read(name))
    return content.getvalue()


def _with_name(name: str) -> bytes:
    content = io.BytesIO()
    write_bag(content, "lie", {f"results/{name}" if name[0] != "/" else name: b"evil", "results/good": b"good"}, {})
    return content.getvalue()


def test_an_archive_cannot_write_outside(tmp_path: Path, ledger: Ledger) -> None:
    """Mended means here that nothing was written anywhere."""
    lies = {f"name {name}": _with_name(name) for name in LIES}
    lies |= {f"link to {target}": _with_link(target) for target in ("..", "/", "../../out", str(tmp_path))}
    inside = tmp_path / "in/side"
    inside.mkdir(parents=True)
    with ledger.count("lying archive", "names and links that lead out", damage=True) as tally:
        for words, content in lies.items():
            with tally.trying(words):
                path = tmp_path / "lie.zip"
                path.write_bytes(content)
                status, _, told = command("unpack", path, inside)
                assert status == 1
                assert str(path) in told
                assert "Nothing was unpacked" in told
                tally.noticed += 1
                assert sorted(tmp_path.rglob("*")) == [tmp_path / "in", inside, path]
                assert not Path("/out").exists()
                tally.mended += 1
