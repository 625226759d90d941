"""Runs beside their flows: pairing, errors, distances and the claims about them, on datasets whose truth is known."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.flows import distance_ratio, distances, edge_step, prediction_error, smoothed, trios
from stepscape.claims import Claim
from stepscape.registry import make
from tests.factories import make_run

mpl.use("Agg")

UPDATES, EDGE = 300, 60
STEPS = np.arange(UPDATES + 1)
LOSS = np.exp(-STEPS / 300)


def flow_dataset(
    central: float = 0.01, stable: float = 0.2, *, seeds: int = 3, near: float = 0.1, edge: int = EDGE
) -> xr.Dataset:
    """Runs of gd (oscillating by 2 %), and flows whose loss is too small by these shares and that are so far away."""
    rows = [(name, seed) for name in ("gd", "central_flow", "stable_flow") for seed in range(seeds)]
    share = {"gd": 0.0, "central_flow": central, "stable_flow": stable}
    loss = np.stack([LOSS * (1 - share[name] * (1 + 0.01 * seed)) for name, seed in rows])
    loss[:seeds] *= 1 + 0.02 * (-1.0) ** STEPS
    modes = np.stack([np.where(edge <= STEPS, 1.0, 0.0) * (name == "central_flow") for name, _ in rows])
    away = {"gd": 0.0, "central_flow": near, "stable_flow": 1.0}
    kept = np.stack([np.outer([0, 1, 1], np.full(4, away[name] * (1 + 0.01 * seed))) for name, seed in rows])
    labels = {key: ("run", np.full(len(rows), key, object)) for key in ("model", "dataset", "loss", "schedule")}
    return xr.Dataset(
        {
            "average_loss": (("run", "step"), loss),
            "oscillation_modes": (("run", "step"), modes),
            "parameters": (("run", "parameters_measurement", "parameter"), kept),
            "preconditioned_eigenvalue": (("run", "step", "eigenvalue"), 4 * np.ones((*loss.shape, 1))),
            "status": ("run", np.full(len(rows), "completed", object)),
            "n_steps": ("run", np.full(len(rows), UPDATES)),
        },
        {
            "run": np.asarray([f"{index:016x}" for index in range(len(rows))], object),
            **labels,
            "optimizer": ("run", np.asarray([name for name, _ in rows], object)),
            "lr": ("run", np.full(len(rows), 0.5)),
            "batch_size": ("run", np.full(len(rows), 4)),
            "seed": ("run", np.asarray([seed for _, seed in rows])),
            "step": STEPS,
            "parameters_step": ("parameters_measurement", [0, 250, 300]),
        },
    )


def test_a_trio_is_alike_in_all_but_the_optimizer() -> None:
    ds = flow_dataset()
    assert [(trio.followed, trio.near, trio.far, trio.of) for trio in trios(ds)] == [
        (0, 3, 6, "gd"), (1, 4, 7, "gd"), (2, 5, 8, "gd")
    ]  # fmt: skip
    assert len({trio.group for trio in trios(ds)}) == 1
    rate = np.where(np.arange(9) == 4, 0.1, 0.5)
    assert [trio.followed for trio in trios(ds.assign_coords(lr=("run", rate)))] == [0, 2]
    status = np.where(np.arange(9) == 8, "diverged", "completed").astype(object)
    assert [trio.followed for trio in trios(ds.assign(status=("run", status)))] == [0, 1]
    assert trios(ds.isel(run=slice(0, 6))) == []


def test_runs_from_different_starts_are_no_trio_and_seeds_share_a_group() -> None:
    ds = flow_dataset()
    starts = np.asarray([f"{seed}" for seed in ds.seed.values], object)
    same = ds.assign_coords(start_run=("run", starts))
    assert len({trio.group for trio in trios(same)}) == 1
    starts[3] = "elsewhere"
    assert [trio.followed for trio in trios(ds.assign_coords(start_run=("run", starts)))] == [1, 2]


def test_a_flow_follows_the_optimizer_that_it_names() -> None:
    ds = flow_dataset(seeds=1)
    both = xr.concat([ds, ds.assign_coords(run=["x", "y", "z"])], "run")
    names = np.asarray([*ds.optimizer.values, "rmsprop", "central_flow", "stable_flow"], object)
    of = np.asarray(["", "gd", "gd", "", "rmsprop", "rmsprop"], object)
    both = both.assign_coords(optimizer_name=("run", names), optimizer_of=("run", of))
    assert [(trio.followed, trio.near, trio.far) for trio in trios(both)] == [(0, 1, 2), (3, 4, 5)]


def test_errors_are_relative_and_smoothing_removes_the_oscillation() -> None:
    ds = flow_dataset(central=0.05, stable=0.4)
    trio = trios(ds)[0]
    assert edge_step(ds, trio) == EDGE
    found = prediction_error(ds, trio, "loss", sigma=20)
    assert found == pytest.approx(0.05, rel=0.02)
    assert prediction_error(ds, trio, "loss", sigma=20, of_far=True) == pytest.approx(0.4, rel=0.02)
    assert prediction_error(ds, trio, "loss", sigma=0) == pytest.approx(0.5 * (0.07 / 1.02 + 0.03 / 0.98), rel=0.01)
    assert np.isnan(prediction_error(ds, trio, "loss", sigma=20, after=250))
    quiet = flow_dataset(edge=UPDATES + 1)
    assert edge_step(quiet, trios(quiet)[0]) is None
    assert np.isnan(prediction_error(quiet, trios(quiet)[0], "loss", sigma=20))


def test_smoothing_keeps_a_constant_and_lets_a_series_be() -> None:
    np.testing.assert_allclose(smoothed(np.full(50, 3.0), 10), 3.0)
    assert smoothed(STEPS, 0) is STEPS


def test_distances_are_those_of_kept_parameters() -> None:
    ds = flow_dataset(near=0.25)
    trio = trios(ds)[0]
    steps, gaps = distances(ds, trio.followed, trio.far)
    np.testing.assert_allclose(steps, [0, 250, 300])
    np.testing.assert_allclose(gaps, [0, 2, 2])
    assert distance_ratio(ds, trio, 50) == pytest.approx(0.25)
    assert distance_ratio(ds, trio, 20) == pytest.approx(0.25)


def _claim(name: str, **fields: Any) -> Claim:
    return make("claim", {"name": name, **fields}, name)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("name", "truth", "verdict"),
    [
        ("flow_predicts", {"central": 0.01}, "supported"),
        ("flow_predicts", {"central": 0.05}, "not_supported"),
        ("central_flow_closer", {"central": 0.01, "stable": 0.2}, "supported"),
        ("central_flow_closer", {"central": 0.1, "stable": 0.2}, "not_supported"),
        ("stays_closer", {"near": 0.1}, "supported"),
        ("stays_closer", {"near": 0.5}, "not_supported"),
    ],
)
def test_verdicts(name: str, truth: dict[str, float], verdict: str) -> None:
    found = _claim(name).judge(flow_dataset(**truth))  # type: ignore[arg-type]
    assert found.verdict == verdict
    assert found.runs == {"with both flows": 3, "judged": 3}
    expected = {"flow_predicts": truth.get("central"), "stays_closer": truth.get("near")}
    if name in expected:
        assert found.value == pytest.approx(expected[name], abs=2e-3)  # the oscillation's last step is continued
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high  # type: ignore[operator]


@pytest.mark.parametrize("name", ["flow_predicts", "central_flow_closer", "stays_closer"])
def test_too_few_runs_are_not_testable(name: str) -> None:
    found = _claim(name).judge(flow_dataset(seeds=2))
    assert found.verdict == "not_testable"
    assert "at least 3 must" in found.reason


def test_what_a_claim_needs_of_a_run_is_told() -> None:
    sparse = make_run(observe={"time_average": {"every": 5}, "parameters": {"every": 5}})
    assert "every step" in _claim("flow_predicts").fault(sparse)
    assert "collected: true" in _claim("stays_closer").fault(sparse)
    whole = make_run(observe={"time_average": {"every": 1}, "parameters": {"every": 5, "collected": True}})
    assert not _claim("flow_predicts").fault(whole)
    assert not _claim("stays_closer").fault(whole)


@pytest.mark.parametrize(
    ("show", "lines"),
    [("loss", 4), ("sharpness", 3 * 3 + 1), ("distance", 3 * 2)],
    ids=["loss", "sharpness", "distance"],
)
def test_the_figure_draws_the_runs_and_names_them(show: str, lines: int) -> None:
    """A run thin and smoothed, two flows; sharpness and distance of every seed, the edge once."""
    ds = flow_dataset()
    ds = ds.assign_coords(preconditioned_top_step=ds.step.rename(step="preconditioned_top_measurement"))
    made: Any = make("figure", {"name": "flows", "show": show}, "flows")
    drawing = made.draw(ds)
    (ax,) = drawing.axes
    drawn = [line for line in ax.get_lines() if len(line.get_xdata())]
    assert len(drawn) == lines
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == (["optimizer"] if show != "distance" else []) + ["central flow", "stable flow"]
    highest = {"loss": 1.02, "sharpness": 2.0, "distance": 2 * 1.02}[show]
    assert max(np.max(line.get_ydata()) for line in drawn) == pytest.approx(highest, rel=1e-6)
    plt.close(drawing)
