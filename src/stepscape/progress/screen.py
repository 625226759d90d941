"""Where progress is shown: one live line on a terminal, few plain lines anywhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 10.0
LINE_SHARE = 0.1


class Screen(Protocol):
    """What a display writes on.

    Attributes:
        live: whether `show` redraws one line.
    """

    live: bool

    def say(self, text: str, *, alarm: bool = False) -> None:
        """Writes lines that stay; `alarm` marks errors and warnings."""

    def show(self, doing: str, done: int, total: int, text: str) -> None:
        """Shows how far the work is: `done` of `total`, and the same in words."""

    def close(self) -> None:
        """Removes the live line; what follows is written on a clean one."""


def choose_screen(out: TextIO, err: TextIO, *, color: bool) -> Screen:
    """Returns a live screen if both streams are standard error on a terminal, else a plain one."""
    live = out is err and err.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return LiveScreen(err, color=color) if live else PlainScreen(out, err)


class PlainScreen:
    """Lines without control characters.

    Progress is written at most once for every tenth of the work, every 10 s, and, when it takes long, every hundredth
    of the time that has passed, so that a week fills no more than some hundred lines.
    """

    live = False

    def __init__(self, out: TextIO, err: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._err = err
        self._clock = clock
        self._begun = self._written = clock()
        self._done = 0

    def say(self, text: str, *, alarm: bool = False) -> None:
        """Writes lines; `alarm` sends them to the stream of errors."""
        stream = self._err if alarm else self._out
        stream.write(f"{text}\n")
        stream.flush()

    def show(self, doing: str, done: int, total: int, text: str) -> None:
        """Writes how far the work is, if it has moved noticeably since it was written last."""
        now = self._clock()
        recent = now - self._written < max(LINE_SECONDS, (now - self._begun) / 100)
        if done == self._done or (recent and done - self._done < LINE_SHARE * total):
            return
        self._written, self._done = now, done
        self.say(f"{doing}: {text}")

    def close(self) -> None:
        """Does nothing: there is no live line."""


class LiveScreen:
    """A terminal with a bar at its foot, above which lines are written."""

    live = True

    def __init__(self, stream: TextIO, *, color: bool) -> None:
        from rich.console import Console

        self._console = Console(file=stream, no_color=not color or None, highlight=False, markup=False, emoji=False)
        self._bar: Progress | None = None

    def say(self, text: str, *, alarm: bool = False) -> None:
        """Writes lines above the bar, alarms in red, neither wrapped nor cut."""
        self._console.print(text, style="red" if alarm else None, soft_wrap=True)

    def show(self, doing: str, done: int, total: int, text: str) -> None:
        """Redraws the bar."""
        if self._bar is None:
            self._bar = self._make_bar()
            self._bar.add_task(doing, text=text)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], description=doing, completed=done, total=total, text=text)
        self._bar.refresh()

    def _make_bar(self) -> Progress:
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        one_line = Column(no_wrap=True, overflow="ellipsis")
        return Progress(
            TextColumn("{task.description}", markup=False, table_column=one_line),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False, table_column=one_line),
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def close(self) -> None:
        """Removes the bar and gives the cursor back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
