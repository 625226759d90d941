"""Every figure draws whatever a study can give it, and its axes hold the data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.linalg
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Drawing

from stepscape.analysis.edge import sharpness_ratio
from stepscape.errors import StepscapeError
from stepscape.figures import Figure
from stepscape.figures._saving import rendered
from stepscape.figures._style import ordered_colors
from stepscape.registry import make, names
from stepscape.study.paths import Paths
from tests.factories import LEAST_SQUARES, SMALL_DIGITS, collected, make_run, make_study

mpl.use("Agg")

MODELS = [{"name": "mlp", "hidden": [5]}, {"name": "mlp", "hidden": [4]}, "linear"]
TOP: dict[str, Any] = {"every": 2, "tol": 1e-3}
SPECTRA: dict[str, Any] = {
    "hessian_subspace": {"every": 3, "k": 2},
    "first_layer": {"every": 6},
    "hessian_spectrum": {"every": 3},
    "gauss_newton_trace": {"every": 4},
    "per_class": {"at": [0, 12]},
    "layer_diagonals": {"at": [0, 4, 12], "entries": 4},
    "hessian_density": {"at": [0, 4, 12], "probes": 2, "nodes": 10},
}
CURVES = ("loss_curves", "sharpness_over_threshold")
"""Figures with a panel for each combination and a colour for each learning rate."""
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
    observe = {"losses": {"every": 1}, "hessian_top": TOP, "preconditioned_top": TOP, **SPECTRA}
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
        assert ax.get_xlabel() or ax.get_label() == "<colorbar>"
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


@pytest.mark.parametrize("name", CURVES)
def test_a_panel_for_each_combination(name: str, datasets: dict[str, xr.Dataset]) -> None:
    drawing = figure(name).draw(datasets["models and batches"])
    titles = [ax.get_title(loc="left") for ax in drawing.axes]
    labels = ("linear", "mlp hidden=4", "mlp hidden=5")
    assert sorted(titles) == sorted(f"{label}, batch {size}" for label in labels for size in (8, 40))
    for ax in drawing.axes:
        legend = ax.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["0.1", "0.4"]


@pytest.mark.parametrize("name", CURVES)
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
        least = {"hessian_subspace": {"k": 2}}  # of four parameters
        chosen = {group[-1]: {"every": 1, **least.get(group[-1], {})} for group in figure(name).needs(run)}
        base = SMALL_DIGITS if "per_class" in chosen else LEAST_SQUARES  # which has no classes
        defaults = {key: value for key, value in base.items() if key != "lr"}
        grid = [{"optimizer": optimizer, "lr": 0.01}]
        study = make_study(tmp_path, f"needs_{optimizer}", defaults=defaults, grid=grid, observe=chosen)
        assert figure(name).draw(collected(study, Paths(tmp_path / "results"))).axes


def _panels(drawing: Drawing) -> dict[str, Axes]:
    """The first line of a panel's title to its axes."""
    axes = [ax for ax in drawing.axes if ax.get_label() != "<colorbar>"]
    return {ax.get_title(loc="left").splitlines()[0]: ax for ax in axes}


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Mean squared cosine of the principal angles, by scipy."""
    return float(np.mean(np.cos(scipy.linalg.subspace_angles(one.T, other.T)) ** 2))


@pytest.mark.parametrize("k", [None, 1])
def test_inertia_holds_the_mean_overlap_over_seeds(k: int | None, datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["models and batches"]
    panels = _panels(figure("hessian_inertia", k=k).draw(ds))
    keys = list(zip(ds.model.values, ds.batch_size.values, ds.lr.values, strict=True))
    assert set(panels) == {f"{model}, batch {batch}, learning rate {lr:g}" for model, batch, lr in keys}
    steps, worst = ds.hessian_subspace_step.values, 0.0
    for model, batch, lr in dict.fromkeys(keys):
        (mesh,) = panels[f"{model}, batch {batch}, learning rate {lr:g}"].collections
        shown = np.ma.asarray(mesh.get_array()).reshape(len(steps), len(steps))
        runs = ds.subspace_sketch.values[[index for index, key in enumerate(keys) if key == (model, batch, lr)]]
        assert len(runs) == 2
        for row, column in np.ndindex(shown.shape):
            if row == column:
                assert shown.mask[row, column]
                continue
            both = runs[:, [row, column], :k].astype(float)
            entries = np.isfinite(both).all(axis=(0, 1, 2))
            expected = np.mean([_overlap(*pair) for pair in both[..., entries]])
            worst = max(worst, abs(shown[row, column] - expected))
    print(f"worst overlap: {worst:.1e}")
    assert worst < 2e-3, "sketches are stored in half precision"


def test_inertia_cells_surround_their_steps(datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["one run"].isel(hessian_subspace_measurement=[0, 1, 4])
    (ax,) = _panels(figure("hessian_inertia").draw(ds)).values()
    (mesh,) = ax.collections
    assert mesh.get_coordinates()[0, :, 0].tolist() == [-1.5, 1.5, 7.5, 16.5]
    assert mesh.get_clim() == (0, 1)
    assert mesh.get_cmap().name == "rocket"


def test_inertia_marks_the_largest_null_on_the_bar(datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["seeds and rates"]
    bar = figure("hessian_inertia").draw(ds).axes[-1]
    (line,) = [line for line in bar.get_lines() if len(np.unique(line.get_ydata())) == 1]
    null = float(ds.subspace_null.max())
    assert np.asarray(line.get_ydata())[0] == pytest.approx(null)
    assert [text.get_text() for text in bar.texts] == [f"null\n{null:.2f}"]


def _with_sharpness(ds: xr.Dataset, ratios: list[list[float]]) -> xr.Dataset:
    """A dataset whose sharpness over its threshold is given at steps 0, 10, ... 40."""
    clock = ("run", "hessian_top_measurement")
    kept = ds.drop_dims(["hessian_top_measurement", "preconditioned_top_measurement"], errors="ignore")
    sharpness = {"hessian_eigenvalue": ((*clock, "eigenvalue"), np.asarray(ratios)[..., None])}
    threshold = {"hessian_threshold": (clock, np.ones_like(ratios))}
    return kept.assign(sharpness | threshold).assign_coords(hessian_top_step=(clock[1], np.arange(0, 50, 10)))


def test_inertia_marks_the_median_of_the_first_crossings(datasets: dict[str, xr.Dataset]) -> None:
    """Of three seeds two cross, at 20 and at 40; being above at step 10 does not count."""
    ds = datasets["seeds and rates"]
    ds = ds.isel(run=ds.lr.values == 0.1)
    ratios = [[0.5, 1.2, 1.1, 0.9, 1.2], [0.5, 1.2, 0.9, 0.9, 1.0], [0.5, 1.2, 0.9, np.nan, 0.9]]
    (ax,) = _panels(figure("hessian_inertia").draw(_with_sharpness(ds, ratios))).values()
    vertical, horizontal = ax.get_lines()
    assert set(vertical.get_xdata()) == set(horizontal.get_ydata()) == {30}
    assert ax.get_title(loc="left").endswith("at the edge from step 30 (2 of 3 seeds)")
    (ax,) = _panels(figure("hessian_inertia").draw(_with_sharpness(ds, [[0.5, 1.2, 0.9, 0.9, 0.9]] * 3))).values()
    assert not ax.get_lines()
    assert ax.get_title(loc="left").endswith("never at the edge")
    bare = ds.drop_vars([name for name in ds.data_vars if name.startswith(("hessian_", "preconditioned_"))])
    (ax,) = _panels(figure("hessian_inertia").draw(bare)).values()
    assert ax.get_title(loc="left").endswith("sharpness not measured")


def test_inertia_tells_what_diverged(datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["some diverged"]
    panels = _panels(figure("hessian_inertia").draw(ds))
    for lr in (1e12, 1e30):
        first = ds.n_steps.values[ds.lr.values == lr].min()
        title = panels[f"learning rate {lr:g}"].get_title(loc="left")
        assert title.endswith(f"2 of 2 diverged, the first at step {first}")
    assert "diverged" not in panels["learning rate 0.1"].get_title(loc="left")
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in panels.values()}) == 1


def test_inertia_without_sketches_says_what_to_do(datasets: dict[str, xr.Dataset]) -> None:
    with pytest.raises(StepscapeError, match="`sketch` above 0"):
        figure("hessian_inertia").draw(datasets["one run"].drop_vars("subspace_sketch"))


def _legend(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def test_spectrum_of_a_diagonal_matrix_is_exact(tmp_path: Path) -> None:
    """Eigenvalues 1, 0.5, 0.25, 0.1: were the matrix diagonal, a probe of signs would give each the weight 1/4."""
    study = make_study(tmp_path, grid=[{"lr": 0.5}], observe={"hessian_density": {"at": [0, 10]}})
    ds = collected(study, Paths(tmp_path / "results"))
    ds = ds.assign(density_weight=ds.density_weight * 0 + 0.25, hessian_frobenius=ds.hessian_frobenius * 0 + 1.15)
    left, right = figure("spectral_density", width=0.02).draw(ds).axes
    eigenvalues = np.array([0.1, 0.25, 0.5, 1.0])
    curves = [(x, y) for x, y in _curves(left) if len(x) == 1000]
    assert len(curves) == 2
    for x, density in curves:
        peaks = np.exp(-((x[:, None] - eigenvalues) ** 2) / 0.0008) / (0.02 * np.sqrt(2 * np.pi))
        assert np.allclose(density, peaks.sum(axis=1), rtol=0, atol=1e-3)
    counts = [(x, y) for x, y in _curves(right) if len(x) > 2 and y.any()]
    assert len(counts) == 2
    for levels, numbers in counts:
        assert levels[0] == pytest.approx(0.03, rel=1e-5)
        for s, expected in ((0.03, 4), (0.09, 4), (0.11, 3), (0.3, 2), (0.6, 1), (0.99, 1)):
            assert numbers[np.flatnonzero(levels <= s * 1.00001)[-1]] == pytest.approx(expected, rel=1e-5)
        assert numbers[-1] == 0
    assert _legend(left) == ["step 0: 0.1 to 1", "step 10: 0.1 to 1"]


def test_spectrum_counts_all_parameters_and_the_negative_ones(datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["one run"]
    left, right = figure("spectral_density", resolved=0).draw(ds).axes
    last = {"hessian_density_measurement": -1}
    nodes, weights = ds.density_node.isel(last).values[0], ds.density_weight.isel(last).values[0]
    parameters = 64 * 5 + 5 + 5 * 10 + 10
    x, density = [curve for curve in _curves(left) if len(curve[0]) == 1000][-1]
    assert np.trapezoid(density, x) == pytest.approx(parameters, rel=1e-3)
    (_, everything), (_, negative) = [curve for curve in _curves(right) if len(curve[0]) > 10][-2:]
    assert everything[0] == pytest.approx(parameters, rel=1e-6)
    assert negative[0] == pytest.approx(parameters * weights[nodes < 0].sum() / len(nodes), rel=1e-6)
    assert 0 < negative[0] < everything[0]
    assert f"step 12: {nodes.min():.3g} to {nodes.max():.3g}" in _legend(left)


def test_spectrum_shows_what_was_tracked_and_the_threshold(datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["one run"].assign(hessian_threshold=lambda ds: 0.5 * ds.hessian_eigenvalue.isel(eigenvalue=0))
    left, right = figure("spectral_density").draw(ds).axes
    first, last = [line for line in left.get_lines() if line.get_marker() == "|"]
    for ticks, place in ((first, 0), (last, -1)):
        solved = [ds.hessian_eigenvalue.values[0, place], ds.subspace_eigenvalue.values[0, place]]
        assert np.array_equal(ticks.get_xdata(), np.unique(np.concatenate(solved)))
    threshold = float(ds.hessian_threshold.values[0, -1])
    for ax in (left, right):
        assert any(np.array_equal(x, [threshold, threshold]) for x, _ in _curves(ax))
        assert f"threshold {threshold:.3g}" in _legend(ax)
    far = figure("spectral_density").draw(ds.assign(hessian_threshold=ds.hessian_threshold * 100))
    assert f"threshold {100 * threshold:.3g}, right of the axis" in _legend(far.axes[0])
    assert far.axes[0].get_xlim()[1] < 100 * threshold


@pytest.mark.parametrize(
    ("rows", "shown"), [(1, [0.01]), (3, [0.01, 0.16, 2.56]), (20, [0.01 * 2**i for i in range(9)])]
)
def test_spectra_are_spread_over_the_configurations(
    rows: int, shown: list[float], datasets: dict[str, xr.Dataset]
) -> None:
    drawing = figure("spectral_density", rows=rows).draw(datasets["many rates"])
    titles = [ax.get_title(loc="left") for ax in drawing.axes[::2]]
    assert titles == [f"gd, learning rate {lr:g}" for lr in shown]
    assert f"{len(shown)} of 9 configurations" in drawing.get_suptitle()


def test_spectra_are_those_of_the_lowest_seed_that_has_one(datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["seeds and rates"].copy(deep=True)
    names = ("density_node", "density_weight", "hessian_frobenius")
    unmeasured = (ds.seed.values == 0) & (ds.lr.values == 0.4)
    for name in names:
        ds[name][unmeasured] = np.nan
    axes = figure("spectral_density").draw(ds).axes
    for left, lr, seed in ((axes[0], 0.1, 0), (axes[2], 0.4, 1)):
        (index,) = np.flatnonzero((ds.lr.values == lr) & (ds.seed.values == seed))
        nodes = ds.density_node.values[index, 0]
        assert f"step 0: {nodes.min():.3g} to {nodes.max():.3g}" in _legend(left)


@pytest.mark.parametrize("grid", ["all diverged", "some diverged"])
def test_spectra_tell_what_diverged(grid: str, datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets[grid]
    axes = figure("spectral_density").draw(ds).axes[::2]
    for lr, status, steps in zip(ds.lr.values, ds.status.values, ds.n_steps.values, strict=True):
        fate = f", diverged at step {steps}" if status == "diverged" else ""
        assert f"gd, learning rate {lr:g}{fate}" in [ax.get_title(loc="left") for ax in axes]


def test_a_dataset_without_any_spectrum_is_told(datasets: dict[str, xr.Dataset]) -> None:
    ds = datasets["all diverged"]
    drawing = figure("spectral_density").draw(ds.assign(hessian_frobenius=np.nan * ds.hessian_frobenius))
    assert drawing.axes[0].get_title(loc="left") == "no spectrum was measured"
    assert "0 of 1 configurations" in drawing.get_suptitle()
