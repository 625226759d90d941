"""The explorer: what is pressed, what is read, and that both agree with the dataset."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import numpy as np
import pytest
import xarray as xr

from tests.browser.chromium import Visit
from tests.browser.conftest import Reported

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]
ADAM = "adam <b>bold</b>"


@pytest.fixture
def opened(visit: Open, reported: Reported) -> Visit:
    made = visit()
    made.open(reported.page)
    return made


def cells(opened: Visit) -> dict[tuple[str, str, str, str], str]:
    """(optimizer, loss, lr, batch) to what a cell says aloud."""
    found = opened.page.eval_on_selector_all("[data-cell]", "all => all.map(one => [one.dataset.cell, one.ariaLabel])")
    return {cell_key(cell): label for cell, label in found}


def cell_key(cell: str) -> tuple[str, str, str, str]:
    setting, lr, batch = cell.split(" @ ")
    optimizer, loss = setting.split(" / ")
    return optimizer, loss, lr, batch


def runs_in(ds: xr.Dataset, optimizer: str, loss: str, lr: str, batch: str) -> np.ndarray:
    size = 40 if batch == "full" else int(batch)
    same = (ds.optimizer.values == optimizer) & (ds.loss.values == loss)
    return np.flatnonzero(same & (ds.lr.values == float(lr)) & (ds.batch_size.values == size))


def press(opened: Visit, optimizer: str, loss: str, lr: str, batch: str, **options: object) -> None:
    opened.press(f'[data-cell="{optimizer} / {loss} @ {lr} @ {batch}"]', **options)


def test_every_cell_says_the_median_over_its_seeds(opened: Visit, reported: Reported) -> None:
    ds, told = reported.ds, cells(opened)
    assert len(told) == 6 + 6 + 3
    worst = 0.0
    for key, label in told.items():
        runs = runs_in(ds, *key)
        assert f"{len(runs)} runs" in label
        diverged = ds.status.values[runs] == "diverged"
        assert (f"{diverged.sum()} diverged" in label) == diverged.any()
        if diverged.all():
            assert "no value" in label
            continue
        expected = np.median(ds.final_train_loss.values[runs[~diverged]])
        shown = float(re.search(r"at the end ([\d.e+-]+)", label)[1])  # type: ignore[index]
        worst = max(worst, abs(shown / expected - 1))
    print(f"worst cell: {worst:.1e}")
    assert worst < 5e-4, "four digits are told"


def test_the_best_of_each_row_has_the_star(opened: Visit, reported: Reported) -> None:
    told = cells(opened)
    for optimizer, loss, batch in {(key[0], key[1], key[3]) for key in told}:
        row = {
            float(key[2]): label for key, label in told.items() if (key[0], key[1], key[3]) == (optimizer, loss, batch)
        }
        medians = {}
        for lr in row:
            runs = runs_in(reported.ds, optimizer, loss, f"{lr!r}", batch)
            if (reported.ds.status.values[runs] != "diverged").all():
                medians[lr] = np.median(reported.ds.final_train_loss.values[runs])
        stars = [lr for lr, label in row.items() if "best of its row" in label]
        assert stars == [min(medians, key=lambda lr: medians[lr])]
    assert "Best learning rate by batch size: 8: " in opened.text('section[aria-label="gd, mse"] .best')


def test_pressing_a_cell_shows_its_runs(opened: Visit, reported: Reported) -> None:
    press(opened, ADAM, "mse", "0.01", "8")
    assert opened.text("#selection").startswith("3 runs: ")
    assert opened.text("#legend") == "seed: 0 1 2"
    press(opened, ADAM, "mse", "0.1", "8", modifiers=["Shift"])
    assert opened.text("#selection").startswith("6 runs: ")
    assert opened.text("#legend") == "learning rate: 0.01 0.1"
    press(opened, ADAM, "mse", "0.01", "full")
    assert opened.text("#selection").startswith("3 runs: ")
    press(opened, ADAM, "mse", "0.01", "full")
    assert "all cells" in opened.text("#selection")


def test_arrows_move_through_a_map_and_enter_presses(opened: Visit) -> None:
    opened.page.focus('[data-cell="gd / mse @ 0.05 @ full"]')
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("ArrowDown")
    opened.page.keyboard.press("Enter")
    opened.settle()
    assert opened.text("#selection") == "3 runs: gd, mse, learning rate 0.1, batch 8."
    assert opened.page.locator('[data-cell="gd / mse @ 0.1 @ 8"]').get_attribute("aria-pressed") == "true"


def readout(opened: Visit, chart: str) -> tuple[int, float, str]:
    """Step, value and label that a chart reads."""
    match = re.fullmatch(r"step (\d+): (\S*) \((.*)\)", opened.text(f"{chart} .readout"))
    assert match, opened.text(f"{chart} .readout")
    return int(match[1]), float(match[2] or "nan"), match[3]


def run_of(ds: xr.Dataset, label: str, loss: str) -> int:
    optimizer, lr, batch, seed = re.fullmatch(r"(.*), learning rate (.*), batch (.*), seed (\d+).*", label).groups()  # type: ignore[union-attr]
    (run,) = (run for run in runs_in(ds, optimizer, loss, lr, batch) if ds.seed.values[run] == int(seed))
    return int(run)


def test_arrow_keys_read_every_value_of_every_curve(opened: Visit, reported: Reported) -> None:
    press(opened, "gd", "mse", "0.1", "8")
    opened.page.focus("#chart-1 .plot")
    worst, read = 0.0, set()
    for _ in range(3):
        opened.page.keyboard.press("Home")
        for _ in range(13):
            step, value, label = readout(opened, "#chart-1")
            run = run_of(reported.ds, label, "mse")
            expected = float(reported.ds.train_loss.values[run, step])
            worst = max(worst, abs(value / expected - 1))
            read.add((run, step))
            opened.page.keyboard.press("ArrowRight")
        opened.page.keyboard.press("ArrowDown")
    print(f"worst value: {worst:.1e}")
    assert len(read) == 3 * 13
    assert worst < 2.4e-3, "half a step of 0.002 decades, and four digits"
    assert opened.page.locator("#chart-1 .plot").get_attribute("aria-valuenow") == "12"


def test_the_pointer_reads_the_curve_below_it(opened: Visit, reported: Reported) -> None:
    press(opened, ADAM, "mse", "0.1", "full")
    plot = opened.page.locator("#chart-2 .plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    opened.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"])
    step, value, label = readout(opened, "#chart-2")
    run = run_of(reported.ds, label, "mse")
    place = reported.ds.preconditioned_top_step.values.tolist().index(step)
    ds = reported.ds.isel(run=run, preconditioned_top_measurement=place)
    expected = float(ds.preconditioned_eigenvalue[0] / ds.preconditioned_threshold)
    assert value == pytest.approx(expected, rel=3e-3)
    opened.page.mouse.down()
    opened.page.mouse.up()
    opened.settle()
    assert opened.page.input_value('#detail select[aria-label="Run"]') == reported.ds.run.values[run]


@pytest.mark.parametrize("variable", ["test_accuracy", "hessian_eigenvalue", "gradient_share"])
def test_other_quantities_are_read_too(opened: Visit, reported: Reported, variable: str) -> None:
    press(opened, ADAM, "mse", "0.01", "full")
    opened.page.select_option("#chart-1 select", variable)
    opened.settle()
    opened.page.focus("#chart-1 .plot")
    opened.page.keyboard.press("End")
    step, value, label = readout(opened, "#chart-1")
    held = reported.ds[variable].isel(run=run_of(reported.ds, label, "mse"))
    last = held.values[-1].flat[0]
    assert step == 12
    assert value == pytest.approx(float(last), rel=3e-3, abs=1e-6)


def test_spectra_and_overlaps_are_those_of_the_run(opened: Visit, reported: Reported) -> None:
    press(opened, ADAM, "mse", "0.01", "8")
    run_id = opened.page.input_value('#detail select[aria-label="Run"]')
    run = reported.ds.sel(run=run_id)
    spectrum, overlaps = opened.page.locator("#detail .chart").all()
    told = spectrum.locator(".readout").inner_text()
    assert told.startswith("step 12: ")
    shown = [float(word) for word in told.partition(": ")[2].split(", ")]
    assert shown == pytest.approx(run.hessian_eigenvalue.values[-1, :3].tolist(), rel=6e-3)
    overlaps.locator(".plot").focus()
    opened.page.keyboard.press("ArrowLeft")
    words = overlaps.locator(".readout").inner_text()
    steps = [int(step) for step in re.findall(r"steps (\d+) and (\d+)", words)[0]]
    place = [run.hessian_subspace_step.values.tolist().index(step) for step in steps]
    one, other = (np.asarray(run.subspace_sketch.values[index], float) for index in place)
    entries = np.isfinite(one).all(axis=0)
    expected = np.square(one[:, entries] @ other[:, entries].T).sum() / 2
    assert float(words.rpartition(" ")[2]) == pytest.approx(expected, abs=2e-3)


def test_diverged_runs_are_seen_in_maps_curves_and_words(opened: Visit, reported: Reported) -> None:
    assert (reported.ds.status.values == "diverged").sum() == 3
    assert "✕" in opened.text('[data-cell="gd / cross_entropy @ 1e+30 @ full"]')
    opened.press('[data-setting="gd / cross_entropy"]')
    for lines in ("each", "band"):
        opened.page.select_option("#lines", lines)
        opened.settle()
        assert opened.text("#selection").startswith("9 runs, 3 diverged")
        assert "✕ where a run diverged" in opened.text("#chart-1 .note")
        opened.page.focus("#chart-1 .plot")
        for _ in range(9):
            opened.page.keyboard.press("ArrowDown")
        assert readout(opened, "#chart-1")[2].endswith("diverged"), "the last of the curves"


def test_a_band_is_the_median_over_runs(opened: Visit, reported: Reported) -> None:
    opened.press('[data-setting="gd / mse"]')
    opened.page.select_option("#lines", "band")
    opened.settle()
    opened.page.focus("#chart-1 .plot")
    opened.page.keyboard.press("End")
    step, value, label = readout(opened, "#chart-1")
    assert (step, label) == (12, "lr 0.05: median of 6 runs")
    runs = (reported.ds.optimizer.values == "gd") & (reported.ds.loss.values == "mse") & (reported.ds.lr.values == 0.05)
    assert value == pytest.approx(float(np.median(reported.ds.train_loss.values[runs, 12])), rel=3e-3)


def test_the_address_keeps_everything(opened: Visit, visit: Open, reported: Reported) -> None:
    press(opened, "gd", "mse", "0.1", "8")
    press(opened, "gd", "mse", "0.4", "8", modifiers=["Shift"])
    opened.page.select_option("#metric", "edge_ratio")
    opened.page.select_option("#x", "log")
    opened.page.select_option("#chart-2 select", "test_loss")
    opened.page.uncheck('[data-facet="seed"][value="1"]')
    opened.page.fill("#filter", "gd lr>=0.1")
    opened.press('[data-sort="final_train_loss"]')
    other = visit()
    other.open(reported.page, opened.state)
    for selector in ("#selection", "#legend", "#table-status", "#maps", "#map-legend", "#table"):
        assert other.text(selector) == opened.text(selector)
    assert other.page.input_value("#x") == "log"
    assert other.page.input_value("#chart-2 select") == "test_loss"
    assert other.text("#selection").startswith("4 runs: ")
    assert other.state == opened.state
    other.press("#clear")
    assert other.state == ""


@pytest.mark.parametrize(
    "state", ["cells=nothing", "metric=x&y1=y&setting=z&claim=w&runs=v&run=u&lines=t", "is.lr=7", "%00=%F0", "runs"]
)
def test_an_address_that_means_nothing_harms_nothing(visit: Open, reported: Reported, state: str) -> None:
    made = visit()
    made.open(reported.page, state)
    assert made.text("#selection")
    made.press("#clear")
    assert "all cells" in made.text("#selection")


def test_a_claim_shows_its_runs(opened: Visit, reported: Reported) -> None:
    opened.page.click('a[href="#claim=gd_at_the_edge"]')
    opened.settle()
    (entry,) = (entry for entry in reported.study.claims if entry.id == "gd_at_the_edge")
    expected = len(reported.study.pick(entry))
    assert opened.text("#selection") == f"{expected} runs: that the claim gd at the edge is about."
    assert opened.page.locator(".cell.held").count() == 6
    opened.open(reported.page, f"claim={quote('all_at_the_edge')}")
    assert opened.text("#selection").startswith("45 runs, 3 diverged")


def test_facets_leave_runs_out(opened: Visit) -> None:
    opened.page.uncheck('[data-facet="optimizer"][value="gd"]')
    opened.settle()
    assert opened.page.locator(".map-card").count() == 1
    assert len(cells(opened)) == 6
    opened.page.uncheck(f'[data-facet="optimizer"][value="{ADAM}"]')
    opened.settle()
    assert "No run is left" in opened.text("#selection")
    opened.press("#clear")
    assert len(cells(opened)) == 15
