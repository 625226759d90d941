"""The page around the explorer: table, words of users, accessibility, phone, print, no scripts."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.browser.chromium import Visit
from tests.browser.conftest import TITLE, Reported

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]
PRESSED = "cells=gd%20%2F%20mse%20%40%200.1%20%40%208"


def rows(visit: Visit) -> list[list[str]]:
    return visit.page.eval_on_selector_all(
        "#table tbody tr", "all => all.map(row => [...row.cells].map(cell => cell.innerText))"
    )


def header(visit: Visit) -> list[str]:
    found = visit.page.eval_on_selector_all("#table th button", "all => all.map(one => one.dataset.sort)")
    return ["run", *found[1:]]


def test_the_table_holds_the_dataset(visit: Open, reported: Reported) -> None:
    made = visit()
    made.open(reported.page)
    names, ds = header(made), reported.ds
    table = {row[0]: dict(zip(names, row, strict=True)) for row in rows(made)}
    assert len(table) == ds.sizes["run"] == 45
    for run in range(45):
        row = table[ds.run.values[run][:8]]
        assert row["optimizer"] == ds.optimizer.values[run]
        assert float(row["lr"]) == ds.lr.values[run]
        assert row["batch_size"] == ("full" if ds.full_batch.values[run] else str(ds.batch_size.values[run]))
        assert row["status"] == ds.status.values[run]
        for name in ("final_train_loss", "final_test_accuracy", "final_hessian_eigenvalue"):
            expected = float(ds[name].values[run])
            assert (
                row[name] == "" if not np.isfinite(expected) else float(row[name]) == pytest.approx(expected, rel=6e-4)
            )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", 45),
        ("adam", 18),
        ("gd lr>=0.1", 6 * 2 + 9),
        ("status=diverged", 3),
        ("lr=0.1 batch=8 seed!=0", 2 + 2),
        ("batch=full mse seed<1", 6),
        ("nothing", 0),
    ],
)
def test_filters(visit: Open, reported: Reported, words: str, expected: int) -> None:
    made = visit()
    made.open(reported.page)
    made.page.fill("#filter", words)
    made.settle()
    assert made.text("#table-status") == f"{expected} of 45 runs match; {expected} shown."
    assert len(rows(made)) == expected


def test_sorting_both_ways(visit: Open, reported: Reported) -> None:
    made = visit()
    made.open(reported.page)
    place = header(made).index("final_train_loss")
    for direction, order in (("ascending", 1), ("descending", -1)):
        made.press('[data-sort="final_train_loss"]')
        shown = [float(row[place]) for row in rows(made) if row[place]]
        assert len(shown) == 42, "all but those that diverged, which come last"
        assert shown == sorted(shown, key=lambda value: order * value)
        assert made.page.locator(f'th[aria-sort="{direction}"]').count() == 1
    made.press('[data-sort="lr"]')
    rates = [float(row[header(made).index("lr")]) for row in rows(made)]
    assert rates == sorted(rates), "as numbers, not as words"


def test_rows_lead_to_curves_and_the_selection_to_rows(visit: Open, reported: Reported) -> None:
    made = visit()
    made.open(reported.page)
    made.page.fill("#filter", "status=diverged")
    made.settle()
    made.press("#table tbody tr:first-child button")
    assert made.text("#selection") == "1 run, 1 diverged: chosen one by one."
    made.page.fill("#filter", "")
    made.page.check("#only")
    made.settle()
    assert made.text("#table-status") == "1 of 45 runs match; 1 shown."


def test_the_csv_has_the_filtered_rows(visit: Open, reported: Reported) -> None:
    made = visit()
    made.open(reported.page)
    made.page.fill("#filter", "adam seed=1")
    made.settle()
    with made.page.expect_download() as waiting:
        made.page.click("#csv")
    found = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))
    wanted = (reported.ds.optimizer.values != "gd") & (reported.ds.seed.values == 1)
    assert sorted(row["run"] for row in found) == sorted(reported.ds.run.values[wanted].tolist())
    assert waiting.value.suggested_filename == "hostile_runs.csv"


def test_words_of_users_are_words(visit: Open, reported: Reported) -> None:
    made = visit()
    for page in (reported.page, reported.index):
        if page == reported.page:
            made.open(page)
        else:
            made.page.goto(page.as_uri())
        assert TITLE in made.text("body")
        assert made.page.evaluate("window.harmed") is None
        assert made.page.locator("h1 b, table b b").count() == 0
    assert "</script><script>window" not in reported.page.read_text()


def test_scripts_that_are_not_the_page_s_do_not_run(visit: Open, reported: Reported, tmp_path: Path) -> None:
    harmed = tmp_path / "harmed.html"
    evil = '<script>window.harmed = 1</script><img src="https://example.org/x.png" onerror="window.harmed = 2">'
    harmed.write_text(reported.page.read_text().replace("</main>", f"{evil}</main>"))
    made = visit()
    made.open(harmed)
    assert made.page.evaluate("window.harmed") is None
    assert any("Content Security Policy" in fault for fault in made.faults)
    assert not any(fault.startswith("request") for fault in made.faults)
    made.faults.clear()


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_serious(visit: Open, reported: Reported, scheme: str, width: int) -> None:
    made = visit(width, scheme)
    for state in ("", PRESSED, "claim=all_at_the_edge"):
        made.open(reported.page, state)
        assert serious(made.page) == []
    made.page.goto(reported.index.as_uri())
    assert serious(made.page) == []


@pytest.mark.parametrize("state", ["", PRESSED, "claim=all_at_the_edge&lines=band"])
def test_a_phone_needs_no_sideways_scrolling(visit: Open, reported: Reported, state: str) -> None:
    made = visit(390)
    made.open(reported.page, state)
    assert made.page.evaluate("document.documentElement.scrollWidth") == 390
    made.page.goto(reported.index.as_uri())
    assert made.page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_theme_can_be_chosen_and_is_kept(visit: Open, reported: Reported) -> None:
    made = visit()
    made.open(reported.page)
    ground = "getComputedStyle(document.body).backgroundColor"
    before = made.page.evaluate(ground)
    made.press("#theme")
    after = made.page.evaluate(ground)
    assert before != after
    made.page.reload()
    made.settle()
    assert made.page.evaluate(ground) == after
    made.press("#theme")
    assert made.page.evaluate(ground) == before


def test_without_scripts_it_can_be_read(visit: Open, reported: Reported) -> None:
    made = visit(java_script_enabled=False)
    made.page.goto(reported.page.as_uri())
    assert "needs JavaScript" in made.text("#explorer")
    assert made.page.locator("#claims tbody tr").count() == 2
    assert made.page.locator('svg[role="img"]').count() == 2
    assert made.page.locator("#table tbody tr").count() == 45
    assert made.page.locator("#maps").is_hidden()


def test_it_prints(visit: Open, reported: Reported) -> None:
    made = visit()
    made.open(reported.page, PRESSED)
    pdf = made.page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") <= 20
    made.page.emulate_media(media="print")
    assert made.page.locator("#filter").is_hidden()
    assert made.page.locator("#table tbody tr:nth-child(40)").is_visible()
    assert made.page.locator("#table tbody tr:nth-child(41)").is_hidden()


def test_the_index_leads_to_the_page_and_its_claims(visit: Open, reported: Reported) -> None:
    made = visit()
    made.page.goto(reported.index.as_uri())
    assert made.text("h1") == "Studies"
    assert "45 runs, 2 claims judged" in made.text("header")
    made.page.click('a[href$="#claim=gd_at_the_edge"]')
    made.settle()
    assert made.text("#selection").startswith("18 runs: that the claim gd at the edge")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_screenshots(visit: Open, reported: Reported, tmp_path: Path, width: int, scheme: str) -> None:
    """Not compared with anything: for people, in the folder that SCREENSHOTS names. A chart that is blank is found."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    made = visit(width, scheme)
    for name, state in (("before", ""), ("after", PRESSED)):
        made.open(reported.page, state)
        made.page.screenshot(path=folder / f"report_{name}_{width}_{scheme}.png", full_page=True)
        inked = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean)"
        assert made.page.eval_on_selector("#chart-1 canvas", inked)
    made.page.goto(reported.index.as_uri())
    made.page.screenshot(path=folder / f"index_{width}_{scheme}.png", full_page=True)
