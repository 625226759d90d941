"""The count of faults: how many were tried, noticed and mended, and the table that is made of it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TABLE = os.environ.get("FAULTS", "")
"""Where the table is to be written; empty where only a few faults are tried."""

HEAD = """\
# Faults

What `make faults` did to results, and what came of it; written by that command. Each fault is drawn from a seed, tried
on a sweep of four runs with checkpoints, parts, dataset and archive, and followed by a restart. *Noticed* says that
`stepscape verify`, or the job itself, named the file and what to do; a dash, that nothing is damaged that could be
noticed. *Mended*: the restart ended with the bytes of an undisturbed sweep: run files, dataset, table and archive.
*Lost*: anything else.

| fault | where | tried | noticed | mended | lost |
| --- | --- | --- | --- | --- | --- |
"""


@dataclass
class Tally:
    """Tries of one fault in one place.

    Attributes:
        fault: what was done.
        place: to what.
        to_notice: whether it is damage, which must be noticed.
        noticed: how often it was.
        mended: how often a restart gave the bytes of an undisturbed sweep.
        failures: what was said of each try that was not noticed or not mended.
    """

    fault: str
    place: str
    to_notice: bool
    tried: int = 0
    noticed: int = 0
    mended: int = 0
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def trying(self, words: str) -> Iterator[Tally]:
        """One try; what it does not note as noticed and mended, and what it raises, is kept with these words."""
        self.tried += 1
        noticed, mended = self.noticed, self.mended
        try:
            yield self
        except Exception as error:
            self.failures.append(f"{words}: {''.join(traceback.format_exception(error))}")
            return
        if self.to_notice and self.noticed == noticed:
            self.failures.append(f"{words}: not noticed")
        if self.mended == mended:
            self.failures.append(f"{words}: not mended")

    @property
    def row(self) -> str:
        noticed = str(self.noticed) if self.to_notice else "–"
        lost = self.tried - self.mended
        return f"| {self.fault} | {self.place} | {self.tried} | {noticed} | {self.mended} | {lost} |\n"


class Ledger:
    """All tallies of a session, in the order in which they were begun."""

    def __init__(self) -> None:
        self._tallies: list[Tally] = []

    @contextmanager
    def count(self, fault: str, place: str, *, damage: bool = False) -> Iterator[Tally]:
        """The tally of a fault in a place; behind the body, all tries must be mended and, if it is damage, noticed."""
        same = (tally for tally in self._tallies if (tally.fault, tally.place) == (fault, place))
        tally = next(same, None) or Tally(fault, place, damage)
        if not tally.tried:
            self._tallies.append(tally)
        yield tally
        assert tally.tried
        assert not tally.failures, "\n".join([f"{fault}, {place}: of {tally.tried} tries", *tally.failures])

    @property
    def table(self) -> str:
        rows = "".join(tally.row for tally in sorted(self._tallies, key=lambda tally: tally.fault))
        tried = sum(tally.tried for tally in self._tallies)
        damage = sum(tally.tried for tally in self._tallies if tally.to_notice)
        noticed = sum(tally.noticed for tally in self._tallies if tally.to_notice)
        mended = sum(tally.mended for tally in self._tallies)
        return f"{rows}| all | | {tried} | {noticed} of {damage} | {mended} | {tried - mended} |\n"

    @property
    def is_empty(self) -> bool:
        return not self._tallies
