"""Where results come from: the commit of the code, what differs from it, and the versions it was made with."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import stepscape
from stepscape.store.files import sha256
from stepscape.study.identity import ENGINE_VERSION

_CODE = ("src", "rules", "workflow", "Snakefile", "envs", "pyproject.toml")
"""What of a checkout makes numbers and pictures."""

_DIFF = ("diff", "HEAD", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv")
_PREFIXES = ("--src-prefix=a/", "--dst-prefix=b/")
NO_DATE = "1980-01-01"
"""The date of what has none: that of every member of a zip here."""


class Checkout:
    """The checkout that Stepscape runs from.

    Attributes:
        root: its folder; of an installed package, whatever lies where a checkout's root would.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(stepscape.__file__).resolve().parents[2]

    def file(self, name: str) -> Path | None:
        """A file of the checkout; None where it is not there."""
        path = self.root / name
        return path if path.is_file() and (self.root / "pyproject.toml").is_file() else None

    @cached_property
    def commit(self) -> str:
        """The commit; empty where the code is not in git."""
        tracked = self._git("ls-files", "--error-unmatch", "src/stepscape/__init__.py")
        return self._git("rev-parse", "HEAD").decode().strip() if tracked else ""

    @cached_property
    def date(self) -> str:
        """The day of the commit in UTC: the same whenever an archive is made, unlike today."""
        stamp = self._git("show", "--no-patch", "--format=%ct", "HEAD") if self.commit else b""
        return datetime.fromtimestamp(int(stamp), UTC).date().isoformat() if stamp else NO_DATE

    @cached_property
    def changes(self) -> bytes:
        """What the code differs by from the commit, for `git apply`."""
        return self._git(*_DIFF, *_PREFIXES, "--", *_CODE) if self.commit else b""

    @cached_property
    def untracked(self) -> dict[str, str]:
        """Files of the code that git does not know, to their SHA-256."""
        if not self.commit:
            return {}
        names = self._git("ls-files", "-z", "--others", "--exclude-standard", "--", *_CODE).decode().split("\0")
        return {name: sha256(self.root / name) for name in sorted(filter(None, names)) if (self.root / name).is_file()}

    def record(self) -> dict[str, object]:
        """All of this but the changes themselves, in terms of JSON."""
        versions = {"stepscape": stepscape.__version__, "engine": ENGINE_VERSION}
        if not self.commit:
            return {**versions, "commit": None, "note": "the code was not in git: no commit, no changes are known"}
        state = {"commit": self.commit, "date": self.date, "changed": bool(self.changes), "untracked": self.untracked}
        return {**versions, **state}

    def _git(self, *words: str) -> bytes:
        try:
            done = subprocess.run(
                ["git", "-c", "core.quotePath=true", *words], cwd=self.root, capture_output=True, check=False
            )
        except OSError:
            return b""
        return done.stdout if done.returncode == 0 else b""
