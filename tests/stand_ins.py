"""Stand-ins for published archives, in their formats; and the real ones, where a machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TEST_DATA = "STEPSCAPE_TEST_DATA"


def real_data(name: str) -> Path:
    """A file of published data in the folder that the environment names; the test is skipped where it is not there."""
    folder = os.environ.get(TEST_DATA)
    if not folder or not (Path(folder) / name).is_file():
        pytest.skip(f"no {name} in the folder named by {TEST_DATA}")
    return Path(folder) / name
