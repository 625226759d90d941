"""The map of step size against batch size, and final sharpness: what is drawn is what was computed."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, log
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as Drawing

from stepscape.analysis.batch_scaling import best_scaling, stable_scaling
from stepscape.errors import Mistaken, StepscapeError
from stepscape.figures import Figure
from stepscape.figures._style import ordered_colors
from stepscape.figures._ticks import grid_ticks
from stepscape.figures.final_sharpness import FinalSharpness
from stepscape.figures.step_size_batch_size import StepSizeBatchSize
from stepscape.registry import make
from tests.factories import loss_dataset, sharpness_dataset

mpl.use("Agg")

SIZES = [2, 4, 8, 16, 32, 64]
RATES = [2.0**power for power in range(-4, 8)]
Ratios = dict[tuple[str, int, int, float], float]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def _ratio(exponent: float, size: int, seed: int, lr: float) -> float:
    """Final over initial loss with a basin at log lr = exponent log B - 2 log 2, that crosses 1 above it."""
    away = log(4 * lr) - exponent * log(size) + 0.3 * (seed - 1)
    return exp(min(0.2 * away**2 - 1, 5))


def _map(**exponents: float) -> Ratios:
    return {
        (name, size, seed, lr): _ratio(exponent, size, seed, lr)
        for name, exponent in exponents.items()
        for size in SIZES
        for seed in range(3)
        for lr in RATES
        if lr > size**exponent / 32  # where the smallest would not train either
    }


def _only_bars(ax: Axes) -> list[ErrorbarContainer]:
    return [found for found in ax.containers if isinstance(found, ErrorbarContainer)]


def _bars(found: ErrorbarContainer) -> np.ndarray:
    """x, middle, lower and upper end of each point, (n, 4)."""
    middle, _, (lines,) = found.lines
    ends = [segment[:, 1] for segment in lines.get_segments()]
    points = np.asarray(middle.get_xydata()).reshape(-1, 2)
    return np.column_stack([points, np.asarray(ends).reshape(-1, 2)])


def _legend(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def _cells(ax: Axes, rates: int, sizes: int) -> np.ndarray:
    return np.ma.filled(ax.collections[0].get_array().astype(float), np.nan).reshape(rates, sizes)


def _marked(ax: Axes, marker: str) -> set[tuple[float, float]]:
    lines = [line for line in ax.get_lines() if line.get_marker() == marker and line.get_linestyle() == "None"]
    return {(float(x), float(y)) for line in lines for x, y in np.asarray(line.get_xydata())}


# --------------------------------------------------------------------------------------------- step size, batch size


def test_the_map_holds_the_median_over_seeds_in_one_panel_an_optimizer() -> None:
    ratios = _map(fast=1.0, slow=0.5)
    fast, slow, _ = StepSizeBatchSize().draw(loss_dataset(ratios)).axes
    for ax, name in ((fast, "fast"), (slow, "slow")):
        assert ax.get_title(loc="left") == name
        rates = sorted({key[3] for key in ratios if key[0] == name})
        shown = _cells(ax, len(rates), len(SIZES))
        for (row, lr), (column, size) in ((a, b) for a in enumerate(rates) for b in enumerate(SIZES)):
            seeds = [log(value) for key, value in ratios.items() if (key[0], key[1], key[3]) == (name, size, lr)]
            if seeds:
                assert shown[row, column] == pytest.approx(sorted(seeds)[1], abs=1e-12)
            else:
                assert np.isnan(shown[row, column])


def test_cells_surround_their_values() -> None:
    ax = StepSizeBatchSize().draw(loss_dataset(_map(one=0.0))).axes[0]
    corners = ax.collections[0].get_coordinates()
    assert np.allclose(corners[0, :, 0], 2 ** np.arange(0.5, 7), rtol=1e-12)
    assert np.allclose(corners[:, 0, 1], 2 ** np.arange(-4.5, 8), rtol=1e-12)


@pytest.mark.parametrize(("least", "most"), [(1 / 160, 30.0), (0.5, 3.0)])
def test_white_is_where_the_loss_neither_rose_nor_fell(least: float, most: float) -> None:
    drawing = StepSizeBatchSize(least=least, most=most).draw(loss_dataset(_map(one=0.5)))
    mesh = drawing.axes[0].collections[0]
    assert np.allclose(mesh.norm([log(least), 0, log(most)]), [0, 0.5, 1], rtol=0, atol=1e-12)
    bar = drawing.axes[-1]
    shown = [text.get_text() for text in bar.get_yticklabels()]
    assert shown == (["1/100", "1/10", "1", "10"] if most == 30 else ["1"])


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_points_bars_and_lines_are_those_of_the_analysis(exponent: float) -> None:
    ds = loss_dataset(_map(one=exponent))
    ax = StepSizeBatchSize().draw(ds).axes[0]
    fits = [stable_scaling(ds), best_scaling(ds)]
    lines = [line for line in ax.get_lines() if line.get_linestyle() == "-"]
    for fit, drawn, line, said in zip(fits, _only_bars(ax), lines, _legend(ax), strict=True):
        seeds = np.exp(list(fit.log_lr.values()))
        assert seeds.shape == (len(SIZES), 3)
        expected = np.column_stack([SIZES, np.median(seeds, axis=1), seeds.min(axis=1), seeds.max(axis=1)])
        assert np.allclose(_bars(drawn), expected, rtol=1e-12)
        slope, intercept = np.polyfit(np.log(SIZES), np.log(np.median(seeds, axis=1)), 1)
        assert np.allclose(line.get_ydata(), np.exp(intercept) * np.asarray(SIZES) ** slope, rtol=1e-9)
        assert fit.exponent is not None
        found = fit.exponent.interval()
        assert said.endswith(f"lr ~ B^{slope:.2f} [{found.low:.2f}, {found.high:.2f}]")
    assert [said.split(" lr")[0] for said in _legend(ax)] == ["largest stable", "best"]


def test_a_seed_that_diverged_counts_as_above_all_colours() -> None:
    """With one of three the median is the larger of the others; with two or three it is beyond."""
    ratios = _map(one=0.0)
    fates = {(2, 16.0): 1, (4, 16.0): 2, (8, 16.0): 3}
    status = ["diverged" if key[2] < fates.get((key[1], key[3]), 0) else "completed" for key in ratios]
    drawing = StepSizeBatchSize().draw(loss_dataset(ratios, status=status))
    ax = drawing.axes[0]
    first, second, third = _cells(ax, len(RATES), len(SIZES))[RATES.index(16.0), :3]
    assert first == pytest.approx(log(max(ratios["one", 2, seed, 16.0] for seed in (1, 2))))
    assert min(second, third) > log(30)
    assert _marked(ax, "x") == {(2.0, 16.0), (4.0, 16.0), (8.0, 16.0)}
    assert "crosses: a seed diverged" in " ".join(drawing.get_suptitle().split())


def test_what_was_not_run_is_grey_and_not_what_diverged() -> None:
    ratios = {key: value for key, value in _map(one=0.0).items() if (key[1], key[3]) != (2, RATES[0])}
    status = ["diverged" if key[3] == RATES[-1] else "completed" for key in ratios]
    drawing = StepSizeBatchSize().draw(loss_dataset(ratios, status=status))
    mesh = drawing.axes[0].collections[0]
    colors = mesh.get_cmap()(mesh.norm(mesh.get_array())).reshape(len(RATES), len(SIZES), 4)
    assert colors[0, 0, :3] == pytest.approx((0.75, 0.75, 0.75))
    assert colors[-1, 0] == pytest.approx(mesh.get_cmap()(1.0))
    assert "grey: not run" in drawing.get_suptitle()
    assert "grey" not in StepSizeBatchSize().draw(loss_dataset(_map(one=0.0))).get_suptitle()


@pytest.mark.parametrize(("end", "marker", "border"), [("above", "^", 2**7.5), ("below", "v", 2**-4.5)])
def test_a_batch_size_beyond_the_grid_is_named_and_has_an_arrow(end: str, marker: str, border: float) -> None:
    ratios = _map(one=0.0)
    ratios |= {key: 0.5 if end == "above" else 2.0 for key in ratios if key[1] == 64 and key[2] == 1}
    ds = loss_dataset(ratios)
    ax = StepSizeBatchSize().draw(ds).axes[0]
    assert _legend(ax)[0].splitlines()[1] == f"{end} the grid at B = 64"
    assert 64 not in _bars(_only_bars(ax)[0])[:, 0]
    black = [line for line in ax.get_lines() if line.get_marker() == marker and line.get_color() == "black"]
    ((x, y),) = np.concatenate([np.asarray(line.get_xydata()) for line in black])
    assert 64 / 2**0.5 < x < 64 * 2**0.5, "outside its column"
    assert y == pytest.approx(border)


def test_a_fit_without_any_point_is_told() -> None:
    ax = StepSizeBatchSize().draw(loss_dataset(dict.fromkeys(_map(one=0.0), 0.5))).axes[0]
    sizes = ", ".join(map(str, SIZES))
    assert _legend(ax) == [
        f"largest stable lr: no fit (0 of 5 batch sizes)\nabove the grid at B = {sizes}",
        f"best lr: no fit (0 of 5 batch sizes)\nbelow the grid at B = {sizes}",
    ]
    assert len(_marked(ax, "^")) == len(_marked(ax, "v")) == len(SIZES)


def test_too_few_batch_sizes_have_points_and_no_line() -> None:
    ratios = {key: value for key, value in _map(one=0.0).items() if key[1] <= 16}
    ax = StepSizeBatchSize().draw(loss_dataset(ratios)).axes[0]
    assert _legend(ax) == [f"{name} lr: no fit (4 of 5 batch sizes)" for name in ("largest stable", "best")]
    assert [len(_bars(found)) for found in _only_bars(ax)] == [4, 4]
    assert not [line for line in ax.get_lines() if line.get_linestyle() == "-"]


def test_one_seed_has_bars_of_no_length() -> None:
    ratios = {key: value for key, value in _map(one=0.5).items() if key[2] == 1}
    for found in _only_bars(StepSizeBatchSize().draw(loss_dataset(ratios)).axes[0]):
        bars = _bars(found)
        assert len(bars) == len(SIZES)
        assert np.array_equal(bars[:, [2, 3]], bars[:, [1, 1]])


@pytest.mark.parametrize("limits", [{"least": 1}, {"least": 2.0}, {"most": 1}, {"most": 0.5}])
def test_colours_that_leave_out_the_boundary_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(Mistaken, match="`least` below 1 and `most` above it"):
        make("figure", {"name": "step_size_batch_size", **limits}, "figures[0]")


def test_a_map_of_losses_without_their_start_is_refused() -> None:
    ds = loss_dataset(_map(one=0.5)).assign_coords(losses_step=("losses_measurement", [5, 100]))
    with pytest.raises(StepscapeError, match="step_size_batch_size: no train_loss at step 0"):
        StepSizeBatchSize().draw(ds)


# --------------------------------------------------------------------------------------------- final sharpness

THRESHOLDS = {0.25: 8.0, 0.5: 4.0, 1.0: 2.0}


def _sharpness(**changed: Any) -> xr.Dataset:
    """Batches of 8 and of all 100, three learning rates and seeds; sharpness over its threshold below 1 for B = 8."""
    points = [(size, lr, seed) for size in (8, 100) for lr in THRESHOLDS for seed in range(3)]
    size, lr, seed = (np.asarray(column) for column in zip(*points, strict=True))
    last = np.where(size == 100, 1.0, 0.4) + np.array([0.0, 0.1, 0.3])[seed]
    ratios = np.stack([0.2 * last, last], axis=1)
    ds = sharpness_dataset(ratios, steps=[0, 10], updates=10, lr=lr.tolist(), seed=seed.tolist(), **changed)
    final = {"final_hessian_eigenvalue": ("run", ds.hessian_eigenvalue.values[:, -1, 0])}
    return ds.assign(final).assign_coords(batch_size=("run", size), full_batch=("run", size == 100))


def _where(ds: xr.Dataset, keep: np.ndarray) -> xr.Dataset:
    return ds.isel(run=np.flatnonzero(keep))


def test_final_sharpness_is_the_median_and_range_over_seeds() -> None:
    (ax,) = FinalSharpness().draw(_sharpness()).axes
    small, full = _only_bars(ax)
    rates, thresholds = np.asarray(list(THRESHOLDS)), np.asarray(list(THRESHOLDS.values()))
    for found, level in ((small, 0.4), (full, 1.0)):
        expected = np.column_stack([rates, *(thresholds * (level + above) for above in (0.1, 0.0, 0.3))])
        assert np.allclose(_bars(found), expected, rtol=1e-12)
    assert _legend(ax) == ["8", "100 (full)"]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_the_threshold_is_that_of_the_dataset() -> None:
    ds = _sharpness()
    (ax,) = FinalSharpness().draw(ds.assign(hessian_threshold=3 * ds.hessian_threshold)).axes
    (dashed,) = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert dict(zip(dashed.get_xdata(), dashed.get_ydata(), strict=True)) == {lr: 6 / lr for lr in THRESHOLDS}


def test_one_learning_rate_has_a_threshold_too() -> None:
    ds = _sharpness()
    (ax,) = FinalSharpness().draw(_where(ds, ds.lr.values == 0.5)).axes
    (dashed,) = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert np.asarray(dashed.get_ydata()).tolist() == [4, 4]
    assert dashed.get_xdata()[0] < 0.5 < dashed.get_xdata()[1]


def test_a_threshold_that_none_is_known_of_is_not_drawn() -> None:
    ds = _sharpness()
    (ax,) = FinalSharpness().draw(ds.assign(hessian_threshold=np.nan * ds.hessian_threshold)).axes
    (dashed,) = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert not len(dashed.get_xdata())


def test_what_diverged_is_crossed_counted_and_has_no_point() -> None:
    """Two seeds of B = 8 at 0.5, and all of both batches at 1."""
    plain = _sharpness()
    size, lr, seed = plain.batch_size.values, plain.lr.values, plain.seed.values
    dead = (lr == 1) | ((lr == 0.5) & (size == 8) & (seed < 2))
    drawing = FinalSharpness().draw(_sharpness(status=np.where(dead, "diverged", "completed").tolist()))
    (ax,) = drawing.axes
    small, full = _only_bars(ax)
    assert _bars(small)[:, 0].tolist() == _bars(full)[:, 0].tolist() == [0.25, 0.5]
    assert _bars(small)[1, 1:].tolist() == pytest.approx([4 * 0.7] * 3), "the seed that is left"
    colors = {to_rgb(color): size for size, color in ordered_colors([8, 100]).items()}
    crosses = {
        colors[to_rgb(line.get_color())]: np.asarray(line.get_xydata())
        for line in ax.get_lines()
        if line.get_marker() == "x"
    }
    assert {size: at[:, 0].tolist() for size, at in crosses.items()} == {8: [0.5, 1], 100: [1]}
    heights = [set(at[:, 1]) for at in crosses.values()]
    assert not heights[0] & heights[1], "one hides the other"
    assert all(0.5 < height < 1 for found in heights for height in found), "shares of the panel's height"
    assert ax.get_title(loc="left").endswith("(8 diverged)")
    assert "crosses: diverged" in drawing.get_suptitle().replace("\n", " ")


def test_all_diverged_is_still_a_figure() -> None:
    (ax,) = FinalSharpness().draw(_sharpness(status=["diverged"] * 18)).axes
    assert [len(_bars(found)) for found in _only_bars(ax)] == [0, 0]
    low, high = ax.get_xlim()
    assert low < 0.25 < 1 < high
    assert _legend(ax) == ["8", "100 (full)"]


def test_the_caveat_stands_where_batch_sizes_are_compared() -> None:
    ds = _sharpness()
    said = [FinalSharpness().draw(part).get_suptitle() for part in (ds, _where(ds, ds.full_batch.values))]
    assert ["less trained" in text.replace("\n", " ") for text in said] == [True, False]


# --------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize(
    ("member", "ds"), [(StepSizeBatchSize(), loss_dataset(_map(one=0.5))), (FinalSharpness(), _sharpness())]
)
def test_runs_without_a_learning_rate_are_left_out_or_told(member: Figure, ds: xr.Dataset) -> None:
    some = ds.lr.where(ds.seed > 0)
    few = member.draw(ds.assign_coords(lr=some))
    assert _only_bars(few.axes[0])
    assert np.isfinite(few.axes[0].get_xlim()).all()
    with pytest.raises(StepscapeError, match=f"{member.name}: no run has a learning rate"):
        member.draw(ds.assign_coords(lr=ds.lr * np.nan))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4], ["1/16", "1/8", "1/4", "1/2", "1", "2", "4"]),
        ([2.0**power for power in range(-4, 7)], ["1/16", "1/4", "1", "4", "16", "64"]),
        ([0.2, 0.4, 0.57, 0.8, 1.6], ["0.2", "0.4", "0.57", "0.8", "1.6"]),
        ([0.001, 0.0011, 0.1, 1.0], ["0.001", "0.1", "1"]),
        ([0.25, 0.3], ["0.25", "0.3"]),
        ([0.125], ["1/8"]),
        ([100 / 3, 100.0], ["33.3", "100"]),
    ],
)
def test_ticks_stand_on_the_grid_and_labels_apart(values: list[float], labels: list[str]) -> None:
    drawing: Drawing = plt.figure()
    ax = drawing.subplots()
    ax.set(xscale="log")
    grid_ticks(ax.xaxis, values)
    assert [text.get_text() for text in ax.get_xticklabels()] == labels
    assert sorted([*ax.get_xticks(), *ax.get_xticks(minor=True)]) == pytest.approx(values)
    assert not any(text.get_text() for text in ax.get_xticklabels(minor=True))


# ------------------------------------------------------------------------------------------------- with a knee


def _bent(size: int) -> float:
    return min(size, 16)


def test_a_line_with_a_knee_is_the_one_of_the_analysis() -> None:
    ratios = {
        ("gd", size, seed, lr): exp(min(1.3 * (log(lr) - log(0.5 * _bent(size)) + 0.01 * seed), 3))
        for size in [*SIZES, 128, 256]
        for seed in range(3)
        for lr in RATES
    }
    ds = loss_dataset(ratios)
    fit = stable_scaling(ds).saturating()
    assert fit is not None
    assert fit.saturates
    ax = StepSizeBatchSize(saturates=True).draw(ds).axes[0]
    line = next(line for line in ax.get_lines() if line.get_linewidth() == 1.6 and len(np.unique(line.get_xdata())) > 2)
    found = np.log(np.asarray(line.get_xydata(), dtype=float))
    expected = fit.height + fit.slope.value * np.minimum(found[:, 0] - fit.knee.value, 0)
    np.testing.assert_allclose(found[:, 1], expected, rtol=0, atol=1e-9)
    text = "\n".join(_legend(ax))
    assert f"~ B^{fit.slope.value:.2f} [{fit.slope.low:.2f}, {fit.slope.high:.2f}]" in text
    assert f"flat from B = {exp(fit.knee.value):.3g} [" in text
    straight = "\n".join(_legend(StepSizeBatchSize().draw(ds).axes[0]))
    assert "flat" not in straight


def test_a_coordinate_that_is_missing_everywhere_makes_no_panels() -> None:
    """NaN, such as the step of a start of runs without one, is not equal to itself."""
    ds = loss_dataset(_map(one=1.0))
    ds = ds.assign_coords(start_step=("run", np.full(ds.sizes["run"], np.nan)))
    assert len(StepSizeBatchSize().draw(ds).axes) == 2, "a panel and the bar of colours"
