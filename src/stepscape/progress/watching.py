"""`stepscape status --watch`: how far studies are, shown again and again until all is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live

EVERY = 2.0
"""Seconds between two looks."""

Look = Callable[[], Iterable[RenderableType]]


def watch(
    look: Look, is_done: Callable[[], bool], console: Console, sleep: Callable[[float], None] = time.sleep
) -> bool:
    """Shows what `look` tells until `is_done`, or until the person interrupts.

    On a terminal one picture changes, and is gone at the end; anywhere else what has changed is printed below.

    Args:
        look: what is to be seen now.
        is_done: whether there is nothing left to wait for.
        console: where it is shown.
        sleep: waits for so many seconds.

    Returns:
        Whether all is done; False where the person had seen enough.
    """
    show = _drawn_again if console.is_terminal else _printed_below
    try:
        show(look, is_done, console, sleep)
    except KeyboardInterrupt:
        return False
    return True


def _drawn_again(look: Look, is_done: Callable[[], bool], console: Console, sleep: Callable[[float], None]) -> None:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not is_done():
            live.update(Group(*look()), refresh=True)
            sleep(EVERY)


def _printed_below(look: Look, is_done: Callable[[], bool], console: Console, sleep: Callable[[float], None]) -> None:
    shown = ""
    while not is_done():
        with console.capture() as caught:
            console.print(Group(*look()), soft_wrap=True)
        if caught.get() != shown:
            shown = caught.get()
            console.out(shown, end="", highlight=False)
        sleep(EVERY)
