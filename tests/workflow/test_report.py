"""Pages through real Snakemake, and Snakemake's own report with them inside."""

from __future__ import annotations

import json
import re
import zipfile

import pytest

from tests.workflow.conftest import PAGES, Project

pytestmark = pytest.mark.workflow


def test_pages_are_made_and_made_again_when_they_are_gone(project: Project) -> None:
    page = project.folder / "results/studies/tiny/report.html"
    index = project.folder / "results/studies/index.html"
    before = page.read_bytes()
    assert b"A tiny sweep" in before
    assert b'href="tiny/report.html"' in index.read_bytes()
    page.unlink()
    assert project.jobs()[0] == PAGES
    assert page.read_bytes() == before
    index.unlink()
    assert project.jobs()[0] == {"index_studies/all"}
    assert project.jobs()[0] == set()


def test_the_page_is_made_by_hand_too(project: Project) -> None:
    page = project.folder / "results/studies/tiny/report.html"
    before = page.read_bytes()
    page.unlink()
    made = project.run("stepscape", "report", "tiny")
    assert (made.returncode, made.stdout) == (0, "results/studies/tiny/report.html\n"), made.stderr
    assert page.read_bytes() == before
    (project.folder / "results/studies/tiny/claims.json").unlink()
    failed = project.run("stepscape", "report")
    assert failed.returncode == 1
    assert "claims.json: missing" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert page.read_bytes() == before


def test_snakemake_s_report_holds_pages_figures_and_captions(project: Project) -> None:
    done = project.snakemake("--report", "report.zip")
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(project.folder / "report.zip") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    page = (project.folder / "results/studies/tiny/report.html").read_bytes()
    assert page in held.values()
    for figure in ("loss_curves", "sharpness_over_threshold"):
        assert (project.folder / f"results/studies/tiny/figures/{figure}.svg").read_bytes() in held.values()
    text = b"".join(held.values()).decode(errors="replace")
    start = re.search(r"var results = (?=\{)", text)
    assert start
    results, _ = json.JSONDecoder().raw_decode(text, start.end())
    told = {entry["name"]: entry for entry in results.values()}
    assert set(told) == {"report.html", "runs.csv", "loss_curves.svg", "sharpness_over_threshold.svg"}
    assert told["report.html"]["category"] == told["runs.csv"]["category"] == "Studies"
    assert told["loss_curves.svg"]["labels"] == {"study": "tiny", "figure": "loss_curves"}
    for entry in told.values():
        assert "tiny" in entry["caption"]
    assert "Stepscape trains the runs of each study" in text
