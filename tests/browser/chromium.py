"""Chromium of the system, headless, that may fetch nothing but files and says all that went wrong."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

EXECUTABLE = Path("/usr/bin/chromium")
PACKAGES = ("chromium", "fonts-dejavu-core")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking")


def what_is_missing() -> str:
    """Why no browser can be started here; "" if it can."""
    if EXECUTABLE.exists():
        return ""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"no {EXECUTABLE} here, and it takes root and apt-get to install {', '.join(PACKAGES)}"
    return ""


def install() -> None:
    """Installs Chromium where it is missing."""
    if EXECUTABLE.exists():
        return
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", *words], env=env, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser, gone behind the body."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=EXECUTABLE, args=list(_FLAGS))
        yield started
        started.close()


class Visit:
    """A page that is open.

    Attributes:
        page: the tab.
        faults: what its console, its scripts and its requests said that they should not.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.context.route("**/*", self._refuse)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _refuse(self, route: Route) -> None:
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.faults.append(f"request: {route.request.url}")
            route.abort()

    def open(self, file: Path, state: str = "") -> None:
        """Opens a page, at a state of its explorer, and waits until it is drawn."""
        self.page.goto("about:blank")
        self.page.goto(f"{file.resolve().as_uri()}{f'#{state}' if state else ''}")
        self.settle()

    def settle(self) -> None:
        """Waits until everything that was asked for is drawn."""
        self.page.wait_for_selector("body[data-ready]:not([data-busy])")

    def press(self, selector: str, **options: Any) -> None:
        """Clicks, and waits until what follows is drawn."""
        self.page.click(selector, **options)
        self.settle()

    def text(self, selector: str) -> str:
        """What stands in an element, spaces as one."""
        return " ".join(self.page.inner_text(selector).split())

    @property
    def state(self) -> str:
        """What the address keeps."""
        return self.page.url.partition("#")[2]
