"""What all tests share: data that are not generated are stand-ins."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepscape.datasets._root import DATA_ROOT
from tests import stand_ins


@pytest.fixture(scope="session")
def stand_in_root() -> Iterator[Path]:
    yield stand_ins.data_root()
    shutil.rmtree(stand_ins.data_root())


@pytest.fixture(autouse=True)
def _data_root(stand_in_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each test anew, since the jobs that some call in this process choose another."""
    monkeypatch.setenv(DATA_ROOT, str(stand_in_root))


@pytest.fixture(autouse=True)
def _figures() -> Iterator[None]:
    """Closes what a test drew: matplotlib warns of more than twenty, in whichever test is then at work."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
