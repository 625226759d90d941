"""`stepscape replay`: the same bytes, or what differs, where and by how much."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from stepscape.cli import main
from stepscape.store.files import sha256
from stepscape.store.runfile import as_dataset, open_run, write_run, zipped
from stepscape.store.template import encoded
from stepscape.study.identity import canonical_json, digest
from stepscape.study.paths import Paths
from stepscape.study.run import Run
from stepscape.training import replay as replaying
from stepscape.training.platform import platform_record, prepare
from stepscape.training.replay import deviations
from tests.factories import SMALL_DIGITS, make_run, train

CPU = prepare("cpu")
OBSERVED = {"losses": {"every": 1}, "hessian_top": {"every": 3, "k": 2}, "parameters": {"at": [12]}}


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(SMALL_DIGITS, observe=OBSERVED)


@pytest.fixture(scope="module")
def content(run: Run, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("runs") / "run.zarr.zip"
    write_run(train(run), path.with_name(f"{run.id}.zarr.zip"), platform_record(run, CPU))
    return path.with_name(f"{run.id}.zarr.zip").read_bytes()


@pytest.fixture
def path(run: Run, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with one run; the configuration beside it names it."""
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/config.yaml").write_text("studies: [small]\nresults: out\n")
    path = Paths(Path("out")).run(run.id)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["replay", *words])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return status, captured.out, captured.err


def rewrite(path: Path, change: Callable[[xr.Dataset], Any]) -> None:
    """Alters a run file so that every checksum is right."""
    ds = open_run(path).drop_encoding().copy(deep=True)
    change(ds)
    path.write_bytes(zipped(encoded(ds)))
    assert open_run(path).identical(ds)


def set_platform(**changed: Any) -> Callable[[xr.Dataset], None]:
    def change(ds: xr.Dataset) -> None:
        ds.attrs["platform"] = canonical_json({**json.loads(ds.attrs["platform"]), **changed})

    return change


def test_a_run_gives_the_same_bytes_by_id_prefix_and_path(
    run: Run, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(Path().rglob("*"))
    for given in (run.id, run.id[:4], str(path)):
        status, out, err = said(capsys, given)
        assert (status, err) == (0, "")
        assert out.splitlines()[-1] == f"Same bytes. SHA-256 {sha256(path)}"
        assert run.id in out.splitlines()[0]
    assert said(capsys, run.id, "--results", "out", "--device", "cpu")[0] == 0
    assert sorted(Path().rglob("*")) == before


def test_a_path_needs_no_configuration(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config/config.yaml").unlink()
    assert said(capsys, str(path.rename("copy.zip")))[0] == 0


def test_a_diverged_run_gives_the_same_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(lr=1e30, observe={"losses": {"every": 1}, "hessian_top": {"at": [9], "k": 2}})
    path = tmp_path / f"{run.id}.zarr.zip"
    write_run(train(run), path, platform_record(run, CPU))
    assert open_run(path).attrs["status"] == "diverged"
    assert said(capsys, str(path))[0] == 0
    rewrite(path, set_platform(torch="0"))
    assert said(capsys, str(path))[0] == 0


def test_an_altered_number_is_told_with_its_step(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(ds: xr.Dataset) -> None:
        ds.hessian_eigenvalue[3, 1] += 0.25
        ds.train_loss[7] = np.nan

    kept = open_run(path)
    rewrite(path, change)
    status, out, _ = said(capsys, str(path))
    assert status == 1
    eigenvalue = kept.hessian_eigenvalue.values[3, 1]
    assert "  train_loss: 1 of 13 values by inf at most, first at step 7: nan then, " in out
    expected = f"1 of 10 values by 0.25 at most, first at step 9: {eigenvalue + 0.25} then, {eigenvalue} now"
    assert f"  hessian_eigenvalue: {expected}" in out
    assert out.count("values by") == 2
    assert out.splitlines()[-1] == "Not the same, though the platform record is."


def test_one_last_bit_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(ds: xr.Dataset) -> None:
        ds.parameters[0, 17] = np.nextafter(ds.parameters[0, 17], np.float32(9))

    rewrite(path, change)
    status, out, _ = said(capsys, str(path))
    assert status == 1
    assert "  parameters: 1 of 385 values by " in out
    assert "first at step 12" in out


def test_another_end_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(path, lambda ds: ds.attrs.update(status="diverged", updates=1))
    status, out, _ = said(capsys, str(path))
    assert status == 1
    assert "it ended: diverged after 1 update then, completed after 12 updates now" in out


def test_fewer_measurements_are_told(path: Path) -> None:
    ds = open_run(path)
    told = {found.name: str(found) for found in deviations(ds.isel(step=slice(9)), ds)}
    assert told["train_loss"] == "train_loss: 9 measurements then, 13 now"
    assert told["step"] == "step: 9 measurements then, 13 now"
    assert "hessian_eigenvalue" not in told


def test_bytes_that_no_number_shows_are_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(path.read_bytes())
    data[10] ^= 1  # the time in a local header
    path.write_bytes(data)
    status, out, _ = said(capsys, str(path))
    assert status == 1
    assert "Every number is the same, but the bytes are not" in out


def test_another_platform_is_told_and_averages_are_compared(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(path, set_platform(torch="0.4.1", abacus=True))
    status, out, _ = said(capsys, str(path))
    assert status == 0
    assert "  torch: 0.4.1 then, " in out
    assert "  abacus: True then, not told now" in out
    assert "threads" not in out
    assert "allowed difference: 5%" in out
    assert "  train_loss: " in out
    assert "  hessian_eigenvalue: " in out
    assert "hessian_residual" not in out
    assert out.splitlines()[-1] == "It agrees within rounding."


def _scaled(late: slice, factor: float) -> Callable[[xr.Dataset], None]:
    def change(ds: xr.Dataset) -> None:
        set_platform(torch="0.4.1")(ds)
        ds.hessian_eigenvalue.values[late, 0] *= factor

    return change


@pytest.mark.parametrize(
    ("late", "factor", "status"),
    [
        (slice(2, None), 1.04, 0),
        (slice(2, None), 1.06, 1),
        (slice(2, None), 0.9, 1),
        (slice(0, 2), 5.0, 0),  # the first half is not compared
        (slice(2, None), np.nan, 1),
        (slice(2, None), np.inf, 1),
    ],
)
def test_averages_elsewhere_may_differ_by_rounding_and_no_more(
    path: Path, late: slice, factor: float, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(path, _scaled(late, factor))
    found, out, _ = said(capsys, str(path))
    assert found == status, out
    assert ("hessian_eigenvalue" in out and "differs by more than" in out) == bool(status)


def test_what_rounds_differently_at_the_edge_agrees_and_what_trains_differently_does_not() -> None:
    """A run past the edge of stability, with noise as small as rounding, against it and against another step size."""
    observed = {"losses": {"every": 1}, "hessian_top": {"every": 5, "tol": 1e-2}}
    base = {**SMALL_DIGITS, "lr": 0.9, "budget": {"steps": 200}}
    here, elsewhere, other = (
        as_dataset(train(make_run(base, observe=observed, **changed)), {})
        for changed in ({}, {"branch_noise": 1e-7}, {"lr": 0.6})
    )
    assert (here.hessian_eigenvalue[-20:, 0] > 0.95 * here.hessian_threshold[-20:]).any(), "it is at the edge"
    assert deviations(here, elsewhere)
    run = make_run(base, observe=observed)
    assert replaying._judge_averages(here, elsewhere, run, []) == 0
    assert replaying._judge_averages(here, other, run, []) == 1


def test_another_end_elsewhere_does_not_agree(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(path, set_platform(torch="0.4.1"))
    rewrite(path, lambda ds: ds.attrs.update(status="diverged"))
    status, out, _ = said(capsys, str(path))
    assert status == 1
    assert "diverged after 12 updates then, completed after 12 updates now" in out


@pytest.mark.parametrize("platform", ["", "{", "[]", 3])
def test_a_platform_record_that_cannot_be_read(path: Path, platform: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(path, lambda ds: ds.attrs.update(platform=platform))
    status, _, err = said(capsys, str(path))
    assert status == 1
    assert "its platform record cannot be read" in err


def test_a_damaged_file_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    status, out, err = said(capsys, str(path))
    assert (status, out) == (1, "")
    assert f"{path}: damaged" in err


def test_a_run_of_another_version_is_told(run: Run, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {**run.spec, "optimizer": {**run.spec["optimizer"], "version": 99}}
    text = canonical_json(spec)
    rewrite(path.rename("copy.zip"), lambda ds: ds.attrs.update(spec=text, run_id=digest(text)))
    status, out, err = said(capsys, "copy.zip")
    assert (status, out) == (1, "")
    assert "version 99 of optimizer gd" in err
    assert "install the version that made it" in err


def test_a_run_that_is_not_there_is_told(run: Run, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = "f" if run.id[0] != "f" else "0"
    status, _, err = said(capsys, other)
    assert status == 1
    assert f"no run whose id begins with '{other}'" in err
    twin = Paths(Path("out")).run(f"{run.id[:-1]}{'0' if run.id[-1] != '0' else '1'}")
    twin.write_bytes(b"")
    status, _, err = said(capsys, run.id[:15])
    assert status == 1
    assert f"2 runs begin with '{run.id[:15]}'" in err
    assert run.id in err
    assert said(capsys, "missing.zarr.zip")[2].strip() == "missing.zarr.zip: damaged (there is no such file)"
