"""Faults: how many are tried, what counts them, and the table at the end.

`make faults` names in FAULTS the file that the table is written to, and all faults are tried; without it, a few are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.ledger import HEAD, TABLE, Ledger
from tests.faults.sweep import Sweep

LEDGER = Ledger()


@pytest.fixture
def ledger() -> Ledger:
    return LEDGER


@pytest.fixture
def tries() -> Callable[[int, int], range]:
    """The numbers of the tries: of all, or in the quick part of a few."""
    return lambda count, few: range(count if TABLE else few)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a sweep leaves that nothing disturbs."""
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"))
    sweep.make()
    assert sweep.faults() == []
    return sweep.results()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path / "sweep")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    if LEDGER.is_empty:
        return
    terminalreporter.section("faults")
    terminalreporter.write_line(LEDGER.table)
    if TABLE and exitstatus == 0:
        Path(TABLE).write_text(HEAD + LEDGER.table)
