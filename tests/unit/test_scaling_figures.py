"""The map of step size against batch size, and final sharpness: what is drawn is what was computed."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from stepscape.analysis.batch_scaling import stable_scaling
from stepscape.figures.final_sharpness import FinalSharpness
from stepscape.figures.step_size_batch_size import StepSizeBatchSize

SIZES = [2, 4, 8, 16, 32]
RATES = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]


def coordinates(runs: int, **own: object) -> dict[str, object]:
    labels = {name: ("run", ["one"] * runs) for name in ("optimizer", "model", "dataset", "loss", "schedule")}
    return {"run": [f"{index:016x}" for index in range(runs)], **labels, **own}


@pytest.fixture
def scaling() -> xr.Dataset:
    """Loss ratios that cross 1 where lr = B / 4, for three seeds that differ by a little; the largest diverge."""
    points = [(size, rate, seed) for size in SIZES for rate in RATES for seed in (0, 1, 2)]
    size, rate, seed = (np.array(column) for column in zip(*points, strict=True))
    log_ratio = 1.3 * np.log(4 * rate / size) + 0.02 * (seed - 1)
    diverged = log_ratio > 3.5
    losses = np.stack([np.ones(len(points)), np.where(diverged, np.nan, np.exp(log_ratio))], axis=1)
    own = {
        "lr": ("run", rate),
        "batch_size": ("run", size),
        "seed": ("run", seed),
        "losses_step": ("losses_measurement", [0, 10]),
    }
    variables = {
        "train_loss": (("run", "losses_measurement"), losses),
        "final_train_loss": ("run", losses[:, 1]),
        "status": ("run", np.where(diverged, "diverged", "completed")),
        "n_steps": ("run", np.full(len(points), 10)),
    }
    return xr.Dataset(variables, coordinates(len(points), **own))


def test_the_map_shows_every_cell_every_divergence_and_the_fit(scaling: xr.Dataset) -> None:
    axes = StepSizeBatchSize().draw(scaling).axes[0]
    (mesh,) = axes.collections[:1]
    shown = np.ma.filled(mesh.get_array().astype(float), np.nan).reshape(len(RATES), len(SIZES))
    expected = 1.3 * np.log(4 * np.array(RATES)[:, None] / np.array(SIZES)[None, :])
    dead = expected > 3.5
    np.testing.assert_allclose(shown[~dead], expected[~dead], atol=0.021)
    assert np.isnan(shown[dead]).all()
    crosses = next(line for line in axes.lines if line.get_marker() == "x")
    assert len(crosses.get_xdata()) == dead.sum() > 0
    exponent = stable_scaling(scaling).exponent
    assert exponent is not None
    assert exponent.interval().value == pytest.approx(1, abs=0.05)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0].startswith(f"largest stable lr ~ B^{exponent.interval().value:.2f} [")


def test_a_batch_size_whose_boundary_is_beyond_the_grid_is_named(scaling: xr.Dataset) -> None:
    stable = scaling.isel(run=np.flatnonzero((scaling.lr.values <= 4) & (scaling.status.values != "diverged")))
    axes = StepSizeBatchSize().draw(stable).axes[0]
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0].endswith("beyond the grid: B = 16, 32")


def test_ticks_are_fractions_or_short_numbers(scaling: xr.Dataset) -> None:
    axes = StepSizeBatchSize().draw(scaling).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1/8", "1/4", "1/2", "1", "2", "4", "8", "16"]


def test_final_sharpness_is_that_of_the_runs_that_ended() -> None:
    points = [(size, rate, seed) for size in (8, 100) for rate in (0.5, 1.0) for seed in (0, 1, 2)]
    size, rate, seed = (np.array(column) for column in zip(*points, strict=True))
    sharpness = size / 100 * 2 / rate + 0.1 * (seed - 1)
    status = np.where((size == 8) & (rate == 1.0) & (seed == 2), "diverged", "completed")
    ds = xr.Dataset(
        {
            "final_hessian_eigenvalue": ("run", sharpness),
            "hessian_threshold": (("run", "hessian_top_measurement"), np.repeat(2 / rate[:, None], 2, axis=1)),
            "status": ("run", status),
        },
        coordinates(len(points), lr=("run", rate), batch_size=("run", size), seed=("run", seed)),
    )
    axes = FinalSharpness().draw(ds).axes[0]
    small, full, dashed = axes.lines[0], axes.lines[-2], axes.lines[-1]
    np.testing.assert_allclose(small.get_ydata(), [0.32, 0.11], atol=1e-12)
    assert full is not small
    np.testing.assert_allclose(dashed.get_ydata(), 2 / dashed.get_xdata())
    assert axes.get_title(loc="left") == "one (1 diverged)"
