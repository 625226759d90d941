"""The documentation: built with its examples, without a warning, and read without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.planning import ROOT

ELSEWHERE = re.compile(r"""(?:src|srcset|data)=["'](?:https?:)?//|(?:url\(|@import )["']?(?:https?:)?//""")
LOADED = re.compile(r"<link\b(?![^>]*rel=[\"'](?:canonical|author|license))[^>]*href=[\"'](?:https?:)?//")

pytestmark = [pytest.mark.slow, pytest.mark.workflow]


def build(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Builds what lies in `source` as `make docs` does, into `folder`/html."""
    flags = ["--fresh-env", "--fail-on-warning", "--keep-going", "--quiet", "--jobs", "auto"]
    places = ["--conf-dir", ROOT / "docs", "--doctree-dir", folder / "doctrees", source, folder / "html"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *flags, *places], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


def test_every_page_is_built_and_its_examples_are_executed(site: Path) -> None:
    pages = [page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts]
    assert len(pages) > 20
    for page in pages:
        assert (site / page.relative_to(ROOT)).with_suffix(".html").is_file(), page
    assert (site / "index.html").read_text().count("docs/README.html") == 2
    assert "as calculated" in (site / "docs/add_optimizer.html").read_text()
    assert "4 passed" in (site / "docs/add_study.html").read_text()


def test_no_page_asks_the_network_for_anything(site: Path) -> None:
    files = [file for file in site.rglob("*") if file.suffix in (".html", ".css")]
    assert len(files) > 30
    for file in files:
        text = file.read_text()
        found = ELSEWHERE.search(text) or LOADED.search(text)
        assert not found, (file, found)


def test_dead_links_and_failing_examples_are_errors(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "docs").mkdir(parents=True)
    mark = (ROOT / "docs/study.md").read_text().splitlines()[0]
    (source / "docs/README.md").write_text(
        "# Index\n- [Page](page.md)\n\n[gone](gone.md), [no such part](page.md#part)\n"
    )
    (source / "docs/page.md").write_text(f"{mark}\n# Page\n\n```python\nassert 1 + 1 == 3\n```\n")
    done = build(source, tmp_path)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    for words in ("gone.md", "part", "AssertionError"):
        assert words in said, said
    assert len(re.findall(r"WARNING", said)) == 4, said
