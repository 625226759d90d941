"""Pages: the numbers in them, what is kept of long runs, words of users, and what a page needs."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepscape.errors import StepscapeError
from stepscape.report.costs import Costs, costs_of
from stepscape.report.figures import inline_svg
from stepscape.report.grid import grid_in_words, grid_rows
from stepscape.report.index import write_index
from stepscape.report.outlines import compact
from stepscape.report.rendering import in_script, scripts
from stepscape.report.series import decode, encode, scale_of
from stepscape.report.study import page_of, report_study
from stepscape.report.thinning import caps_of, thinned, thinned_steps
from stepscape.store.collect import open_study
from stepscape.study.fingerprint import of_report
from stepscape.study.paths import Paths
from stepscape.study.spec import Study
from tests.factories import collected, judged_and_drawn, make_study

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=False)
FEW = settings(max_examples=50, deadline=None)


# -- numbers -----------------------------------------------------------------------------------------------------------


@FEW
@given(st.lists(st.lists(FLOATS, max_size=12), max_size=6), st.sampled_from(["log", "linear"]))
def test_numbers_come_back_within_half_a_step(rows: list[list[float]], scale: str) -> None:
    given = [np.asarray(row, float) for row in rows]
    found = decode(encode(given, scale), [len(row) for row in given], scale)  # type: ignore[arg-type]
    for row, back in zip(given, found, strict=True):
        known = (np.isfinite(row) & (row > 0)) if scale == "log" else np.isfinite(row)
        assert (back[row == np.inf] == np.inf).all()
        assert np.isnan(back[np.isnan(row) | (row == -np.inf)]).all()
        if scale == "log":
            assert (back[row == 0] == 0).all()
            assert np.isnan(back[row < 0]).all()
        heights = [np.log10(values[known]) if scale == "log" else values[known] for values in (row, back)]
        if known.any():
            finest = 0.002 if scale == "log" else np.abs(heights[0]).max() / 2048
            size = max(np.ptp(heights[0]) / 4091, finest)
            rounding = 1e-6 * np.abs(heights[0]).max() + 1e-30  # limits are float32
            assert np.abs(heights[0] - heights[1]).max() <= size / 2 * 1.001 + rounding


def test_a_loss_over_eight_decades_is_off_by_a_quarter_of_a_percent_at_most() -> None:
    row = np.geomspace(1e-7, 10, 5000)
    (back,) = decode(encode([row], "log"), [5000], "log")
    worst = np.abs(back / row - 1).max()
    print(f"worst: {worst:.2e}")
    assert worst < 2.4e-3
    assert back[0] == pytest.approx(1e-7, rel=1e-6)


def test_what_a_value_costs() -> None:
    """Noise of a factor e, as random as can be."""
    rows = list(np.exp(np.random.default_rng(0).standard_normal((100, 1000))))
    print(len(encode(rows, "log")) / 100_000)
    assert len(encode(rows, "log")) / 100_000 < 1.8


def test_scales() -> None:
    assert scale_of([np.array([0.01, 1.0])], 3) == "log"
    assert scale_of([np.array([0.5, 1.0])], 3) == "linear"
    assert scale_of([np.array([0.0, 0.01, 1.0])], 3) == "log"
    assert scale_of([np.array([-1.0, 0.01, 100.0])], 3) == "linear"
    assert scale_of([np.array([np.nan, np.inf])], 3) == "linear"
    assert scale_of([], 3) == "linear"


# -- thinning ----------------------------------------------------------------------------------------------------------


@FEW
@given(st.integers(70, 400), st.sampled_from([32, 64]), st.integers(0, 10))
def test_thinning_keeps_the_extremes_of_every_stretch(length: int, cap: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(length)
    values[:3] = np.nan
    kept, steps = thinned(values, cap), thinned_steps(np.arange(length), cap)
    assert len(kept) == len(steps) == cap
    assert np.nanmin(kept) == np.nanmin(values)
    assert np.nanmax(kept) == np.nanmax(values)
    assert (np.diff(steps) >= 0).all()
    bounds = [(part.min(), part.max()) for part in np.array_split(np.arange(length), cap // 2)]
    for place, (first, last) in enumerate(bounds):
        assert first <= steps[2 * place] <= last
        stretch = values[first : last + 1]
        if not np.isnan(stretch).all():
            assert kept[2 * place : 2 * place + 2].tolist() == [np.nanmin(stretch), np.nanmax(stretch)]


def test_nothing_is_thinned_that_fits_and_the_first_series_last() -> None:
    assert caps_of([[100] * 10, [50] * 10], most=1500) == [None, None]
    assert caps_of([[100] * 10, [50] * 10], most=1400) == [None, 32]
    assert caps_of([[1000] * 10, [1000] * 10], most=11_000) == [1024 // 2, 1024 // 2]
    assert caps_of([[100] * 10, [100] * 10, [100] * 10], most=1350) == [None, 32, 0]
    assert caps_of([[10_000] * 10], most=100) == [32]


# -- words of users ----------------------------------------------------------------------------------------------------


@FEW
@given(st.text())
def test_json_in_a_script_cannot_end_it(text: str) -> None:
    held = in_script(json.dumps({"title": text + "</script><!--"}))
    assert "<" not in held
    assert json.loads(held)["title"] == text + "</script><!--"


def test_the_scripts_of_a_page_do_not_end_their_element() -> None:
    assert "</script" not in scripts().lower()
    assert "<!--" not in scripts()


SVG = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="100pt" viewBox="0 0 100 50">
<metadata>who</metadata><style>*{color: red}</style><script>alert(1)</script>
<defs><clipPath id="c"><rect x="1.23456" y="2" width="3" height="4"/></clipPath></defs>
<defs><path id="m" d="M 1.005 2.123456"/></defs>
<g clip-path="url(#c)" onclick="alert(1)"><use xlink:href="#m"/><image xlink:href="https://example.org/x.png"/>
<text>a &lt; b</text></g></svg>"""


def test_a_figure_becomes_part_of_a_page() -> None:
    text = inline_svg(SVG.encode(), "figure-a", "Title <b>", "What & how")
    root = ET.fromstring(text)
    ids = {element.get("id") for element in root.iter()} - {None}
    assert ids == {"figure-a-c", "figure-a-m", "figure-a-title", "figure-a-description"}
    assert 'clip-path="url(#figure-a-c)"' in text
    assert 'href="#figure-a-m"' in text
    for word in ("<script", "alert", "style>", "metadata", "xlink", "example.org", "width="):
        assert word not in text.replace('width="3"', "")
    assert "Title &lt;b&gt;" in text
    assert "a &lt; b" in text
    assert 'd="M 1 2.12"' in text or 'd="M 1.01 2.12"' in text
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "figure-a-title figure-a-description"


@pytest.mark.parametrize("rightwards", [False, True])
def test_long_lines_keep_their_points_to_a_tenth(rightwards: bool) -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-900, 900, (150, 2)).tolist()
    given = sorted(points) if rightwards else points
    path = " \n".join(f"{'L' if index else 'M'} {x:.6f} {y:.6f}" for index, (x, y) in enumerate(given))
    found = absolute(compact(path))
    assert len(found) == len(given), "nothing that spans more than its number of points is left out"
    assert np.abs(np.asarray(found) - np.asarray(given)).max() <= 0.0501


def absolute(path: str) -> list[tuple[float, float]]:
    """The points of `M x y l dx dy dx dy ...`, read by the grammar of SVG."""
    first, _, rest = path[1:].partition("l")
    numbers = [float(number) for number in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", rest)]
    x, y = map(float, first.split())
    found = [(x, y)]
    for across, down in zip(numbers[::2], numbers[1::2], strict=True):
        x, y = x + across, y + down
        found.append((x, y))
    return found


def test_dense_lines_keep_the_extremes_of_every_column() -> None:
    xs = np.linspace(10, 60, 2000)
    ys = 50 * np.random.default_rng(0).random(2000)
    path = " ".join(f"{'L' if index else 'M'} {x:.6f} {y:.6f}" for index, (x, y) in enumerate(zip(xs, ys, strict=True)))
    found = np.asarray(absolute(compact(path)))
    assert len(found) <= 2 * 50 + 4
    assert (np.diff(found[:, 0]) >= -1e-9).all()
    for column in range(11, 59):
        given, kept = ys[(xs >= column) & (xs < column + 1)], found[:, 1][np.abs(found[:, 0] - column - 0.5) <= 0.551]
        assert abs(kept.min() - given.min()) <= 0.051 or kept.min() < given.min()
        assert abs(kept.max() - given.max()) <= 0.051 or kept.max() > given.max()
    curve = "M 1.25 2 C 1 2 3 4 5 6"
    assert compact(curve) == curve


def test_a_figure_that_is_none_is_named() -> None:
    with pytest.raises(StepscapeError, match="figure-a: no SVG"):
        inline_svg(b"\x89PNG", "figure-a", "", "")


# -- a page ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Study, Paths]:
    """Six runs on a quadratic, two of which diverge, judged and drawn."""
    study = make_study(
        tmp_path,
        grid=[{"lr": [0.5, 1.0, 1e30], "seed": [0, 1], "budget.steps": 40}],
        observe={"losses": {"every": 1}, "hessian_top": {"every": 5, "k": 2}},
        question="How far?",
        sources=["arXiv:2103.00065"],
        claims=[{"id": "at_the_edge", "name": "hovers_at_threshold"}],
        figures=["loss_curves"],
    )
    paths = Paths(tmp_path / "results")
    collected(study, paths)
    judged_and_drawn(study, paths)
    return study, paths


class Elements(HTMLParser):
    """The elements of a page: id, and what would fetch something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.policy = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.ids += [held["id"] or ""] if "id" in held else []
        self.fetched += [str(held[name]) for name in ("src", "srcset", "poster", "data") if name in held]
        if tag == "link":
            self.fetched.append(str(held["href"]))
        if held.get("http-equiv") == "Content-Security-Policy":
            self.policy = held["content"] or ""


def test_a_page_has_no_doubles_and_fetches_nothing(finished: tuple[Study, Paths]) -> None:
    study, paths = finished
    text = report_study(study, paths).read_text()
    elements = Elements(text)
    assert len(elements.ids) == len(set(elements.ids))
    assert elements.fetched == ["data:,"]
    assert elements.policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "http" not in elements.policy
    for words in (
        "How far?",
        "at the edge.",
        "stepscape replay",
        "arxiv.org/abs/2103.00065",
    ):
        assert words in text


def test_the_same_results_give_the_same_bytes(finished: tuple[Study, Paths]) -> None:
    study, paths = finished
    first = page_of(study, paths, Costs())
    assert page_of(study, paths, Costs()) == first
    told = report_study(study, paths).read_bytes()
    assert told != first, "costs are told"
    for receipt in paths.packs.glob("*.json"):
        receipt.unlink()
    assert report_study(study, paths).read_bytes() == first


def test_costs_are_what_receipts_say(finished: tuple[Study, Paths]) -> None:
    study, paths = finished
    ids = {run.id for run in study.runs}
    said = {}
    for receipt in paths.packs.glob("????????????????.json"):
        said |= json.loads(receipt.read_text())["runs"]
    found = costs_of(study, paths, dict.fromkeys(ids, "a machine"))
    assert found.runs == len(ids) == 6
    assert found.hours == {"a machine": pytest.approx(sum(said[run]["seconds"] for run in ids) / 3600)}
    assert sum(pack.runs for pack in found.packs) == 6
    assert found.days
    assert found.failed == ()
    (pack,) = study.packs
    failure = {"run": study.runs[0].id, "fields": "gd", "error": "<b>no</b>"}
    paths.failures(pack.id).write_text(json.dumps({"failures": [failure, {"run": "another study's"}]}))
    assert costs_of(study, paths, {}).failed == (failure,)
    assert "&lt;b&gt;no&lt;/b&gt;" in report_study(study, paths).read_text()


def test_the_grid_in_words(finished: tuple[Study, Paths]) -> None:
    ds = open_study(finished[1].study("small"))
    assert grid_in_words(ds) == "6 runs: gd on 1 model; learning rates 0.5, 1, 1e+30; batch sizes full; 2 seeds."
    (row,) = grid_rows(ds)
    assert row == {
        "optimizer": "gd",
        "learning rates": "0.5, 1, 1e+30",
        "batch sizes": "full",
        "seeds": "0, 1",
        "runs": "6",
    }


def test_divergence_is_told(finished: tuple[Study, Paths]) -> None:
    text = report_study(*finished).read_text()
    endings = re.sub(r"<[^>]+>", " ", text[text.index('id="endings-h"') : text.index('id="runs"')])
    assert re.search(r"diverged\s+gd\s+1e\+30\s+full\s+2\s", endings)


def test_what_is_missing_or_of_another_study_is_named(finished: tuple[Study, Paths]) -> None:
    study, paths = finished
    figure, claims = paths.figure("small", "loss_curves", "svg"), paths.claims("small")
    for path in (figure, claims):
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises(StepscapeError, match=f"{path.name}.*\n?.*Start Snakemake"):
            report_study(study, paths)
        path.write_bytes(kept)
    report_study(study, paths)
    other = make_study(study.path.parent, grid=[{"lr": [0.5], "budget.steps": 40}])
    with pytest.raises(StepscapeError, match="its runs are not those of"):
        report_study(other, paths)
    with pytest.raises(StepscapeError, match="no complete dataset"):
        report_study(make_study(study.path.parent, "another"), paths)


def test_a_page_is_made_again_when_its_words_change(finished: tuple[Study, Paths]) -> None:
    study, _ = finished
    before = of_report(study)
    text = study.path.read_text()
    from stepscape.study.spec import load_study

    study.path.write_text(f"{text}# a comment\n")
    assert of_report(load_study(study.path)) == before
    study.path.write_text(text.replace("How far?", "How fast?"))
    assert of_report(load_study(study.path)) != before


def test_the_index_knows_every_study_that_has_a_page(finished: tuple[Study, Paths]) -> None:
    study, paths = finished
    assert "None yet." in write_index(paths).read_text()
    report_study(study, paths)
    text = write_index(paths).read_text()
    assert 'href="small/report.html"' in text
    assert "6 runs, 1 claims judged" in text
    assert write_index(paths).read_text() == text
