"""Pages through real Snakemake, and Snakemake's own report with them inside."""

from __future__ import annotations

import json
import re
import zipfile
from typing import Any

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


def held_by(text: str, variable: str) -> dict[str, Any]:
    """An object that a script of Snakemake's report holds."""
    start = re.search(rf"var {variable} = (?=\{{)", text)
    assert start, variable
    found: dict[str, Any] = json.JSONDecoder().raw_decode(text, start.end())[0]
    return found


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
    told = {entry["name"]: entry for entry in held_by(text, "results").values()}
    assert set(told) == {"report.html", "runs.csv", "loss_curves.svg", "sharpness_over_threshold.svg"}
    folder = "results/studies/tiny"
    assert {name: sorted(paths["Other"]) for name, paths in held_by(text, "categories").items()} == {
        "Studies": [f"{folder}/report.html", f"{folder}/runs.csv"],
        "Figures": [f"{folder}/figures/loss_curves.svg", f"{folder}/figures/sharpness_over_threshold.svg"],
    }
    assert told["loss_curves.svg"]["labels"] == {"study": "tiny", "figure": "loss_curves"}
    for entry in told.values():
        assert "tiny" in entry["caption"]
    assert "Stepscape trains the runs of each study" in text
