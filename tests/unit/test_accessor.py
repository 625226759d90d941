"""What one asks of a dataset: by labels alone, the same values as looked up run by run."""

from __future__ import annotations

from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr

from stepscape.errors import StepscapeError
from stepscape.store.collect import open_study
from stepscape.study.paths import Paths
from tests.factories import collected, make_study

GRID = [
    {"lr": [0.5, 0.25], "seed": [1, 0]},
    {"lr": 0.25, "seed": 2, "batch_size": [1, 4]},
    {"optimizer": "adam", "optimizer.beta1": [0.5, 0.9], "lr": 0.01},
]
OBSERVED = {"losses": {"every": 1}, "hessian_top": {"every": 5, "k": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    paths = Paths(folder / "results")
    collected(make_study(folder, "small", grid=GRID, observe=OBSERVED), paths)
    return paths.study("small")


@pytest.fixture
def ds(folder: Path) -> xr.Dataset:
    return open_study(folder)


def test_final_losses_are_dense_and_each_at_its_place(ds: xr.Dataset) -> None:
    dense = ds.stepscape.dense("final_train_loss", optimizer="gd")
    assert dense.dims == ("model", "lr", "batch_size", "seed")
    assert dense.shape == (1, 2, 2, 3)
    gd = ds.isel(run=ds.optimizer.values == "gd")
    assert int(dense.notnull().sum()) == gd.sizes["run"] == 6
    for run in gd.run.values:
        row = gd.sel(run=run)
        place = {axis: row[axis].item() for axis in dense.dims}
        assert dense.sel(place).item() == row.final_train_loss.item()
    assert dense.attrs == ds.final_train_loss.attrs


def test_runs_in_one_place_are_an_error_that_names_what_tells_them_apart(ds: xr.Dataset) -> None:
    with pytest.raises(StepscapeError, match=r"optimizer_beta1 \(0\.5, 0\.9\)"):
        ds.stepscape.dense("final_train_loss", optimizer_name="adam")
    dense = ds.stepscape.dense("final_train_loss", optimizer="adam beta1=0.5")
    assert dense.shape == (1, 1, 1, 1)


def test_runs_are_those_with_the_values(ds: xr.Dataset) -> None:
    assert ds.stepscape.runs(lr=0.25).run.values.tolist() == ds.run.values[ds.lr.values == 0.25].tolist()
    assert ds.stepscape.runs(lr=0.1 * 5).sizes["run"] == 2
    assert ds.stepscape.runs(lr=[0.01, 0.5], seed=0).sizes["run"] == 3
    assert ds.stepscape.runs(full_batch=False).sizes["run"] == 1
    trajectories = ds.stepscape.runs(lr=0.25).train_loss
    assert trajectories.identical(ds.train_loss.isel(run=np.flatnonzero(ds.lr.values == 0.25)))


def test_the_last_sharpness_is_that_of_the_last_measurement(ds: xr.Dataset) -> None:
    last = ds.stepscape.last("hessian_eigenvalue")
    np.testing.assert_array_equal(last.values, ds.hessian_eigenvalue.isel(hessian_top_measurement=-1, eigenvalue=0))
    assert last.dims == ("run",)


def test_mistakes_name_what_is_allowed(ds: xr.Dataset) -> None:
    with pytest.raises(StepscapeError, match=r"'optimiser' is no coordinate.*did you mean 'optimizer'"):
        ds.stepscape.runs(optimiser="gd")
    with pytest.raises(StepscapeError, match=r"no run has .*lr: 0\.01, 0\.25, 0\.5"):
        ds.stepscape.runs(lr=7.0)
    with pytest.raises(StepscapeError, match=r"'train_loss' is no variable on `run`; allowed: .*final_train_loss"):
        ds.stepscape.dense("train_loss")
    with pytest.raises(StepscapeError, match=r"no last measurement of 'hessian_residual'; allowed: hessian_eigenvalue"):
        ds.stepscape.last("hessian_residual")


def test_values_are_read_when_they_are_used_or_by_dask(folder: Path, ds: xr.Dataset) -> None:
    lazy = open_study(folder, chunks={})
    assert isinstance(lazy.train_loss.data, dask.array.Array)
    assert lazy.load().identical(ds.load())


def test_importing_stepscape_imports_no_xarray_and_opening_registers(folder: Path) -> None:
    from tests.planning import run_python

    code = f"import sys, stepscape\nprint('xarray' in sys.modules, stepscape.open_study({str(folder)!r}).stepscape.last"
    assert run_python(f"{code}('train_loss').sizes['run'])") == "False 8\n"


def test_figures_are_drawn_from_a_selection_and_leave_it_as_it_was(ds: xr.Dataset) -> None:
    chosen = ds.stepscape.runs(optimizer="gd", batch_size=4)
    drawing = chosen.stepscape.draw("loss_curves", window=3)
    assert not chosen.train_loss._in_memory, "what is read for a figure is not kept"
    (ax,) = drawing.axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0.25", "0.5"]
    lines = [np.asarray(line.get_ydata()) for line in ax.get_lines()]
    expected = chosen.train_loss.values[(chosen.seed.values == 0) & (chosen.lr.values == 0.25)][0]
    assert any(len(line) == len(expected) and np.array_equal(line, expected) for line in lines)
    for wrong, told in ((("loss_curve",), "loss_curves"), (("loss_curves",), "window")):
        with pytest.raises(StepscapeError, match=told):
            chosen.stepscape.draw(*wrong, **({"window": 0} if told == "window" else {}))
