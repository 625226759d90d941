"""The benchmark of pages at a size of seconds: it runs, and says whether its bars are met. No times."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]


def test_it_runs_and_judges(chromium: Browser, tmp_path: Path) -> None:
    """In a process of its own, as playwright wants, and in a folder without a quickstart."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.report", "--runs", "50", "--steps", "30"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("noise: 50 runs, made in ")
    assert re.search(r"^page: 0\.\d\d MB, the bar is at most 3: met$", done.stdout, re.MULTILINE)
    assert len(re.findall(r"^  a (?:cell|whole map) \(.*\), CPU: ", done.stdout, re.MULTILINE)) == 4
