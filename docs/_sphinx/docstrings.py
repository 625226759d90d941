"""Docstrings are Google's form with plain words; what Sphinx would read in another way is put so that it does not."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(`[^`]*`)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Makes this a Sphinx extension."""
    app.connect("autodoc-process-docstring", _process, priority=400)  # before napoleon
    return {"parallel_read_safe": True}


def _process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = without_return_types([escaped(line) for line in lines])


def without_return_types(lines: list[str]) -> list[str]:
    """A docstring in which what is returned is described, and what stands before a colon is no type."""
    titles = ["", *(line.strip() for line in lines)]
    return [
        line.replace(": ", " – ", 1) if title == "Returns:" else line
        for title, line in zip(titles, lines, strict=False)
    ]


def escaped(line: str) -> str:
    """A line in which bars, such as those of a norm, are bars."""
    return "".join(part if part.startswith("`") else part.replace("|", r"\|") for part in _CODE.split(line))
