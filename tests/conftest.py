"""What all tests share: data that are not generated are stand-ins."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from stepscape.datasets._root import DATA_ROOT
from tests import stand_ins


@pytest.fixture(scope="session", autouse=True)
def _data_root() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_ROOT, str(stand_ins.data_root()))
        yield
    shutil.rmtree(stand_ins.data_root())
