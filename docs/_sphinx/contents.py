"""The lists of links on index pages are the site's table of contents, so that there is no second one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

INDEXES = ("docs/README", "docs/atlas/README")
_ENTRY = re.compile(r"(?:- |## )\[(?P<title>[^]]+)\]\((?P<page>[\w./-]+)\.md\)")
_CAPTION = re.compile(r"## (?P<caption>[^[].*)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Makes this a Sphinx extension."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    if page in INDEXES:
        source[0] += "".join(toctrees(source[0]))


def toctrees(text: str) -> Iterator[str]:
    """A hidden toctree for each section of an index page that links to other pages.

    A link counts where a list's entry or a heading begins with it; its text is the title in the sidebar.
    """
    caption, entries = "", list[str]()
    for line in [*text.splitlines(), "## end"]:
        if entry := _ENTRY.match(line):
            entries.append(f"{entry['title']} <{entry['page']}>")
        elif heading := _CAPTION.match(line):
            if entries:
                named = f":caption: {caption}\n" if caption else ""
                yield "\n".join(["\n```{toctree}", f":hidden:\n{named}", *entries, "```\n"])
            caption, entries = heading["caption"], []
