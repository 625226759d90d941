"""From run files to one dataset and one table: every value where it belongs, the rest NaN."""

from __future__ import annotations

import csv
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import stepscape
from stepscape.errors import StepscapeError
from stepscape.store import collect
from stepscape.store.blocks import Filled
from stepscape.store.collect import collect_study, open_study
from stepscape.store.runfile import open_run, zipped
from stepscape.store.template import encoded
from stepscape.study.paths import Paths
from stepscape.study.plan import make_plan
from stepscape.study.spec import Study
from tests.factories import LEAST_SQUARES, collected, make_study, train_plan

GRID: list[dict[str, Any]] = [
    {"lr": [1.5, 0.5], "seed": [1, 0]},
    {"lr": 1e30, "budget.steps": 80, "observe": {"hessian_top": {"every": 4, "k": 3}}},
    {
        "optimizer": "adam",
        "optimizer.beta1": [0.5, 0.9],
        "lr": 0.01,
        "batch_size": 2,
        "observe": {"hessian_top": {"every": 3, "k": 1}, "preconditioned_top": {"every": 5, "k": 2}},
    },
    {"lr": 0.25, "batch_size": [1, 4], "dtype": "float64", "observe": {"losses": {"every": 2}}},
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("studies"), "ragged", grid=GRID, question="Why?", sources=["arXiv:1"])


@pytest.fixture(scope="module")
def paths(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    paths = Paths(tmp_path_factory.mktemp("results"))
    collected(study, paths)
    return paths


@pytest.fixture(scope="module")
def ds(study: Study, paths: Paths) -> xr.Dataset:
    return open_study(paths.study(study.name)).load()


def test_every_recorded_value_is_at_its_run_and_step_and_all_else_is_nan(
    study: Study, paths: Paths, ds: xr.Dataset
) -> None:
    """The oracle is one run file at a time, looked up by label alone."""
    assert set(ds.run.values) == {run.id for run in study.runs}
    recorded: dict[str, int] = {}
    for run in study.runs:
        own, row = open_run(paths.run(run.id)), ds.sel(run=run.id)
        for name, variable in own.data_vars.items():
            clock = str(variable.dims[0])
            own_steps = own["step" if clock == "step" else clock.replace("_measurement", "_step")].values
            there = str(row[name].dims[0])
            steps = ds["step" if there == "step" else there.replace("_measurement", "_step")].values
            for step, value in zip(own_steps, variable.values, strict=True):
                (found,) = row[name].values[steps == step]
                np.testing.assert_array_equal(np.ravel(found)[: value.size], np.ravel(value))
            recorded[str(name)] = recorded.get(str(name), 0) + int(variable.notnull().sum())
    assert set(recorded) == {str(name) for name in ds.data_vars if ds[name].ndim > 1}
    assert {name: int(ds[name].notnull().sum()) for name in recorded} == recorded


def test_shape_clocks_and_order(ds: xr.Dataset) -> None:
    assert dict(ds.sizes) == {
        "run": 9,
        "step": 81,
        "hessian_top_measurement": len({*range(0, 81, 4), *range(0, 11, 3)}),
        "preconditioned_top_measurement": 3,
        "eigenvalue": 3,
    }
    assert ds.step.values.tolist() == list(range(81))
    assert ds.hessian_top_step.values.tolist() == sorted({*range(0, 81, 4), *range(0, 11, 3)})
    assert ds.preconditioned_top_step.values.tolist() == [0, 5, 10]
    order = list(zip(ds.optimizer.values, ds.batch_size.values, ds.lr.values, ds.seed.values, strict=True))
    assert order == sorted(order)
    assert ds.hessian_eigenvalue.dims == ("run", "hessian_top_measurement", "eigenvalue")


def test_axes_of_the_grid_are_coordinates(ds: xr.Dataset) -> None:
    adam = ds.isel(run=ds.optimizer_name.values == "adam")
    assert adam.optimizer.values.tolist() == ["adam beta1=0.5", "adam beta1=0.9"]
    assert adam.optimizer_beta1.values.tolist() == [0.5, 0.9]
    gd = ds.isel(run=ds.optimizer.values == "gd")
    assert np.isnan(gd.optimizer_beta1.values).all()
    assert sorted(set(ds.batch_size.values.tolist())) == [1, 2, 4]
    assert ds.full_batch.values.tolist() == (ds.batch_size.values == 4).tolist()
    assert set(ds.dtype.values) == {"float32", "float64"}
    assert sorted(set(ds.budget_steps.values.tolist())) == [10, 80]
    assert set(ds.model.values) == {"linear"}
    assert ds.lr.dtype == np.float64


def test_attributes_tell_what_the_study_is(study: Study, ds: xr.Dataset) -> None:
    assert (ds.attrs["title"], ds.attrs["question"], ds.attrs["study"]) == (study.title, "Why?", "ragged")
    assert ds.attrs["sources"] == ["arXiv:1"]
    assert len(ds.attrs["platforms"]) == 2, "two dtypes"
    for name, variable in ds.variables.items():
        assert variable.attrs.get("long_name") or name == "platform", name


def test_a_diverged_run_is_padded(ds: xr.Dataset) -> None:
    (diverged,) = np.flatnonzero(ds.status.values == "diverged")
    run = ds.isel(run=diverged)
    assert 0 < run.n_steps < 80
    assert np.isnan(run.train_loss.values[int(run.n_steps) + 1 :]).all()
    assert not np.isnan(run.train_loss.values[: int(run.n_steps)]).any()
    assert set(ds.status.values) == {"completed", "diverged"}


def test_final_values_are_the_last_recorded(study: Study, paths: Paths, ds: xr.Dataset) -> None:
    finals = {str(name) for name in ds.data_vars if str(name).startswith("final_")}
    assert finals == {
        f"final_{name}" for name in ("train_loss", "test_loss", "hessian_eigenvalue", "preconditioned_eigenvalue")
    }
    for run in study.runs:
        own, row = open_run(paths.run(run.id)), ds.sel(run=run.id)
        for name in finals:
            recorded = own.get(name.removeprefix("final_"))
            expected = np.nan if recorded is None or not recorded.size else recorded.values[-1].flat[0]
            np.testing.assert_array_equal(row[name].values, expected)
        assert row.n_steps == own.attrs["updates"]
        assert row.status == own.attrs["status"]


def test_the_table_holds_what_the_dataset_holds(study: Study, paths: Paths, ds: xr.Dataset) -> None:
    with paths.table(study.name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {str(name) for name, variable in ds.variables.items() if variable.dims == ("run",)}
    assert set(rows[0]) == names
    assert next(iter(rows[0])) == "run"
    for name in names:
        values, column = ds[name].values, [row[name] for row in rows]
        if values.dtype.kind == "f":
            found = np.asarray([float(text) if text else np.nan for text in column])
            np.testing.assert_array_equal(found.astype(values.dtype), values)
        else:
            assert column == [str(value) for value in values.tolist()]


def test_the_dataset_opens_without_a_warning(study: Study, paths: Paths, ds: xr.Dataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = xr.open_zarr(paths.dataset(study.name), chunks=None).load()
        assert stepscape.open_study(paths.dataset(study.name)).load().identical(plain)
    assert plain.identical(ds)


def test_the_same_runs_give_the_same_bytes(study: Study, paths: Paths) -> None:
    def contents() -> dict[str, bytes]:
        files = [path for path in paths.study(study.name).rglob("*") if path.is_file()]
        return {str(path.relative_to(paths.root)): path.read_bytes() for path in files}

    before = contents()
    assert len(before) > 20
    collect_study(study, paths)
    assert contents() == before


def test_the_order_of_the_grid_does_not_matter(study: Study, paths: Paths, ds: xr.Dataset, tmp_path: Path) -> None:
    reordered = make_study(tmp_path, "ragged", grid=GRID[::-1], question="Why?", sources=["arXiv:1"])
    assert collect_study(reordered, paths).drop_attrs(deep=False).identical(ds.drop_attrs(deep=False))
    collect_study(study, paths)


def test_damaged_run_files_are_all_named_set_aside_and_then_missing(tmp_path: Path) -> None:
    study, paths = make_study(tmp_path), Paths(tmp_path / "results")
    collected(study, paths)
    first, second, third = (paths.run(run.id) for run in study.runs[:3])
    first.write_bytes(first.read_bytes()[:-40])
    second.write_bytes(third.read_bytes())
    third.unlink()
    with pytest.raises(StepscapeError) as caught:
        collect_study(study, paths)
    told = str(caught.value)
    assert all(str(path) in told for path in (first, second, third))
    assert "there is no such file" in told
    assert "Start Snakemake again" in told
    assert [path.exists() for path in (first, second, third)] == [False] * 3
    assert sorted(path.name for path in paths.damaged.iterdir()) == sorted([first.name, second.name])
    assert open_study(paths.study(study.name)).sizes["run"] == 6, "the old dataset is still there"
    train_plan(make_plan([study]), paths)
    assert collect_study(study, paths).sizes["run"] == 6


def test_one_bad_chunk_of_a_dataset_is_an_error(tmp_path: Path) -> None:
    study, paths = make_study(tmp_path), Paths(tmp_path / "results")
    collected(study, paths)
    chunks = [path for path in (paths.dataset(study.name) / "train_loss").rglob("*") if path.is_file()]
    (chunk,) = [path for path in chunks if path.name != "zarr.json"]
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(ValueError, match="checksum"):
        open_study(paths.study(study.name)).load()


def test_a_study_that_was_never_collected_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StepscapeError, match="no complete dataset"):
        open_study(tmp_path)


def test_platforms_are_told_apart(tmp_path: Path) -> None:
    study, paths = make_study(tmp_path), Paths(tmp_path / "results")
    assert "platform" not in collected(study, paths).coords
    file = paths.run(study.runs[2].id)
    run = open_run(file).drop_encoding()
    other = json.dumps({**json.loads(run.attrs["platform"]), "device": "another"})
    file.write_bytes(zipped(encoded(run.assign_attrs(platform=other))))
    ds = collect_study(study, paths)
    assert len(ds.attrs["platforms"]) == 2
    is_other = [ds.attrs["platforms"][index] == other for index in ds.platform.values]
    assert is_other == (ds.run.values == study.runs[2].id).tolist()


def test_a_run_recorded_every_step_and_one_recorded_now_and_then_share_the_step(tmp_path: Path) -> None:
    """The clock of an observable is `step` as soon as one run records it every step."""
    observe = {"hessian_top": {"every": 1}}
    grid = [{"lr": 0.5}, {"lr": 1.0, "observe": {"hessian_top": {"every": 4, "k": 2}}}]
    study = make_study(tmp_path, grid=grid, observe=observe)
    ds = collected(study, Paths(tmp_path / "results"))
    assert ds.hessian_eigenvalue.dims == ("run", "step", "eigenvalue")
    measured = ds.hessian_eigenvalue.notnull().sum("eigenvalue").values
    assert measured.tolist() == [[1] * 11, [2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0]]


def test_the_eigenvalues_of_the_quadratic_arrive(ds: xr.Dataset) -> None:
    assert LEAST_SQUARES["dataset"] == "quadratic"
    top = ds.hessian_eigenvalue.isel(hessian_top_measurement=0, eigenvalue=0)
    found = top.values[np.isfinite(top.values)]
    assert len(found) == 3
    np.testing.assert_allclose(found, 1.0, rtol=1e-3)


def test_a_folder_that_vanishes_while_a_dataset_is_written_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zarr begins a store anew where it is gone, so that what was written before would be missing, unseen."""
    study, paths = make_study(tmp_path), Paths(tmp_path / "results")
    collected(study, paths)
    expected = paths.table(study.name).read_bytes()

    def fill_another(block: Any) -> Any:
        shutil.copy(block.store / "train_loss/zarr.json", tmp_path / "zarr.json")
        shutil.rmtree(block.store)
        (block.store / "train_loss").mkdir(parents=True)
        shutil.copy(tmp_path / "zarr.json", block.store / "train_loss/zarr.json")
        (block.store / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
        return Filled()

    with monkeypatch.context() as patch:
        patch.setattr(collect, "fill_block", fill_another)
        with pytest.raises(StepscapeError, match="files vanished"):
            collect_study(study, paths)
    assert collect_study(study, paths).sizes["run"] == 6
    assert paths.table(study.name).read_bytes() == expected
