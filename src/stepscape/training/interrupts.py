"""Being told to stop: SIGTERM and SIGINT wait until the state has been saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """The signal to stop that has come, if any.

    Attributes:
        signal: its number; 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remembers a signal: a handler of Python's `signal` module."""
        self.signal = number


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Within it SIGTERM and SIGINT are only noted; in other threads than the main one nothing changes."""
    interrupts = Interrupts()
    try:
        before = [signal.signal(number, interrupts.note) for number in _SIGNALS]
    except ValueError:  # not the main thread
        yield interrupts
        return
    try:
        yield interrupts
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
