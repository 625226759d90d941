"""Docstrings speak Markdown's plain subset; what reStructuredText would read otherwise is escaped."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(`[^`]*`)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Makes this a Sphinx extension."""
    app.connect("autodoc-process-docstring", _escape)
    return {"parallel_read_safe": True}


def _escape(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = [escaped(line) for line in lines]


def escaped(line: str) -> str:
    """A line in which bars, such as those of a norm, are bars."""
    return "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in _CODE.split(line))
