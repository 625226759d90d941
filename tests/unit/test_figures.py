"""Every figure draws whatever a study can give it, and its axes hold the data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from stepscape.analysis.edge import sharpness_ratio
from stepscape.figures import Figure
from stepscape.figures._saving import rendered
from stepscape.figures._style import ordered_colors
from stepscape.registry import make, names
from stepscape.study.paths import Paths
from tests.factories import SMALL_DIGITS, collected, make_run, make_study

mpl.use("Agg")

MODELS = [{"name": "mlp", "hidden": [5]}, {"name": "mlp", "hidden": [4]}, "linear"]
TOP: dict[str, Any] = {"every": 2, "tol": 1e-3}
GRIDS: dict[str, list[dict[str, Any]]] = {
    "one run": [{"lr": 0.1}],
    "seeds and rates": [{"lr": [0.1, 0.4], "seed": [0, 1, 2]}],
    "many rates": [{"lr": [0.01 * 2**index for index in range(9)]}],
    "models and batches": [{"lr": [0.1, 0.4], "model": MODELS, "batch_size": ["full", 8], "seed": [0, 1]}],
    "optimizers": [{"lr": 0.1}, {"lr": [0.01, 0.02], "optimizer": ["adam", "rmsprop"]}],
    "some diverged": [{"lr": [0.1, 1e12, 1e30], "seed": [0, 1]}],
    "all diverged": [{"lr": 1e30}],
    "diverged at once": [{"lr": 1e38, "model": "linear"}],
    "now and then": [{"lr": 0.1, "observe": {"losses": {"every": 5}, "hessian_top": {"every": 7}}}],
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.Dataset]:
    folder = tmp_path_factory.mktemp("figures")
    observe = {"losses": {"every": 1}, "hessian_top": TOP, "preconditioned_top": TOP}
    defaults = {key: value for key, value in SMALL_DIGITS.items() if key != "lr"}
    found = {}
    for index, (name, grid) in enumerate(GRIDS.items()):
        study = make_study(folder, f"study_{index}", defaults=defaults, grid=grid, observe=observe, title=name)
        found[name] = collected(study, Paths(folder / "results"))
    return found


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def figure(name: str, **fields: Any) -> Figure:
    return make("figure", {"name": name, **fields}, name)  # type: ignore[return-value]


@pytest.mark.parametrize("name", names("figure"))
@pytest.mark.parametrize("grid", GRIDS)
def test_figure_draws_without_a_warning(name: str, grid: str, datasets: dict[str, xr.Dataset]) -> None:
    before = dict(mpl.rcParams)
    drawing = figure(name).draw(datasets[grid])
    for ending, start in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        assert rendered(drawing, ending).startswith(start)
    assert dict(mpl.rcParams) == before, "the settings of the caller's other figures changed"
    assert grid in drawing.get_suptitle()
    for ax in drawing.axes:
        assert ax.get_xlabel()
        assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()


@pytest.mark.parametrize("name", names("figure"))
@pytest.mark.parametrize("ending", ["svg", "png"])
def test_the_same_dataset_gives_the_same_bytes(name: str, ending: str, datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["optimizers"]
    first, second = (rendered(figure(name).draw(ds.copy(deep=True)), ending) for _ in range(2))
    assert first == second
    assert first != rendered(figure(name).draw(datasets["one run"]), ending)


@pytest.mark.parametrize("name", names("figure"))
def test_a_figure_leaves_the_dataset_as_it_was(name: str, datasets: dict[str, xr.Dataset]) -> None:
    before = datasets["optimizers"].copy(deep=True)
    figure(name).draw(datasets["optimizers"])
    assert datasets["optimizers"].identical(before)


@pytest.mark.parametrize("name", names("figure"))
def test_a_panel_for_each_combination(name: str, datasets: dict[str, xr.Dataset]) -> None:
    drawing = figure(name).draw(datasets["models and batches"])
    titles = [ax.get_title(loc="left") for ax in drawing.axes]
    labels = ("linear", "mlp hidden=4", "mlp hidden=5")
    assert sorted(titles) == sorted(f"{label}, batch {size}" for label in labels for size in (8, 40))
    for ax in drawing.axes:
        legend = ax.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["0.1", "0.4"]


@pytest.mark.parametrize("name", names("figure"))
@pytest.mark.parametrize("grid", ["many rates", "some diverged", "all diverged"])
def test_the_legend_names_every_rate_in_its_colour(name: str, grid: str, datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets[grid]
    colors = ordered_colors(sorted(set(ds.lr.values.tolist())))
    (ax,) = figure(name).draw(ds).axes
    legend = ax.get_legend()
    assert legend is not None
    entries = zip(legend.get_texts(), legend.get_lines(), strict=True)
    shown = {text.get_text(): to_rgb(line.get_color()) for text, line in entries}
    assert shown == {f"{lr:g}": to_rgb(color) for lr, color in colors.items()}


def _curves(ax: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in ax.get_lines()]


def _holds(ax: Axes, steps: np.ndarray, values: np.ndarray) -> bool:
    return any(
        len(x) == len(steps) and np.array_equal(x, steps) and np.allclose(y, values, rtol=1e-12) for x, y in _curves(ax)
    )


@pytest.mark.parametrize("grid", ["seeds and rates", "models and batches", "some diverged", "now and then"])
def test_loss_curves_hold_the_losses(grid: str, datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets[grid]
    drawing = figure("loss_curves").draw(ds)
    steps = ds["step" if ds.train_loss.dims[1] == "step" else "losses_step"].values
    drawn = 0
    for index in np.flatnonzero(ds.seed.values == 0):
        losses = ds.train_loss.values[index].astype(float)
        measured = np.isfinite(losses)
        drawn += any(_holds(ax, steps[measured], losses[measured]) for ax in drawing.axes)
    assert drawn == (ds.seed.values == 0).sum()


def test_loss_curves_mark_what_diverged(datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["some diverged"]
    (ax,) = figure("loss_curves").draw(ds).axes
    crosses = [line for line in ax.get_lines() if line.get_marker() == "x"]
    assert len(crosses) == len(
        {lr for lr, how in zip(ds.lr.values, ds.status.values, strict=True) if how == "diverged"}
    )
    for cross in crosses:
        assert 0 <= np.asarray(cross.get_xdata())[0] <= ds.n_steps.max()


def test_loss_curves_mark_the_first_crossing_after_the_first_steps() -> None:
    """A sharpness of 1.2 thresholds at step 10 does not count, 1.1 at step 40 does."""
    ds = _synthetic([0, 10, 20, 30, 40, 50], [0.5, 1.2, 0.7, 0.8, 1.1, 1.2])
    (ax,) = figure("loss_curves", window=1).draw(ds).axes
    (circle,) = [line for line in ax.get_lines() if line.get_marker() == "o"]
    assert np.asarray(circle.get_xydata()).tolist() == [[40, 1 / 41]]


def _synthetic(steps: list[int], ratios: list[float]) -> xr.Dataset:
    from tests.factories import sharpness_dataset

    ds = sharpness_dataset(np.asarray([ratios]), steps=steps, updates=50)
    return ds.assign(train_loss=(("run", "step"), 1 / (1 + np.arange(51.0))[None])).assign_coords(step=np.arange(51))


@pytest.mark.parametrize("grid", ["seeds and rates", "models and batches", "optimizers"])
def test_sharpness_holds_the_median_over_seeds(grid: str, datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets[grid]
    drawing = figure("sharpness_over_threshold").draw(ds)
    ratio = sharpness_ratio(ds)
    keys = list(zip(*(ds[key].values for key in ("optimizer", "model", "batch_size", "lr")), strict=True))
    for key in dict.fromkeys(keys):
        rows = ratio.values[[index for index, other in enumerate(keys) if other == key]]
        measured = np.isfinite(rows).all(axis=0)
        assert measured.sum() > 5
        expected = np.median(rows[:, measured], axis=0)
        steps = ratio.measured_step.values[measured]
        assert any(_holds(ax, steps, expected) for ax in drawing.axes), key


def test_sharpness_shows_the_band_and_where_judging_starts(datasets: dict[str, xr.Dataset]) -> None:
    (ax,) = (
        figure("sharpness_over_threshold", low=0.9, high=1.3, judged_from=0.5, top=2.5)
        .draw(datasets["seeds and rates"])
        .axes
    )
    assert ax.get_ylim() == (0, 2.5)
    assert any(np.array_equal(x, [6, 6]) for x, _ in _curves(ax))
    assert any(np.array_equal(y, [1, 1]) for _, y in _curves(ax))
    heights = [patch.get_extents().transformed(ax.transData.inverted()) for patch in ax.patches]
    assert any(np.allclose([box.y0, box.y1], [0.9, 1.3]) for box in heights)


def test_colours_are_ordered_and_apart() -> None:
    for count in (1, 2, 9):
        colors = ordered_colors([0.1 * 2**index for index in range(count)][::-1])
        lightness = [0.3 * red + 0.6 * green + 0.1 * blue for red, green, blue in colors.values()]
        assert list(colors) == sorted(colors)
        assert lightness == sorted(lightness, reverse=True), "dark for the large"
        assert max(lightness) < 0.75, "lost on white"


@pytest.mark.parametrize("name", names("figure"))
def test_what_a_figure_needs_is_enough(name: str, tmp_path: Path) -> None:
    """With one observable of each group that it asks for, and nothing else, it draws."""
    for optimizer in names("optimizer"):
        run = make_run(optimizer=optimizer, lr=0.01)
        chosen = {group[-1]: {"every": 1} for group in figure(name).needs(run)}
        grid = [{"optimizer": optimizer, "lr": 0.01}]
        study = make_study(tmp_path, f"needs_{optimizer}", grid=grid, observe=chosen)
        assert figure(name).draw(collected(study, Paths(tmp_path / "results"))).axes
