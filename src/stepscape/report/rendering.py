"""Pages from templates: escaped, self-contained, with a content policy that names their scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stepscape import __version__

_ROOM = "stepscape.report"
_WORDS = {
    "supported": ("\N{CHECK MARK}", "supported"),
    "not_supported": ("\N{MULTIPLICATION SIGN}", "not supported"),
    "undecided": ("?", "undecided"),
    "not_testable": ("\N{EN DASH}", "not testable"),
}


def render(template: str, context: Mapping[str, Any], data: Mapping[str, str] | None = None) -> bytes:
    """A page.

    Args:
        template: its name in `page/`.
        context: what it is made of; texts are escaped.
        data: name to JSON, for the name `head`, or to base64: what the page's scripts read.

    Returns:
        HTML.
    """
    script = scripts() if data else scripts("00_theme.js")
    page = _environment().get_template(template)
    text = page.render(
        context,
        data={name: Markup(in_script(value)) for name, value in (data or {}).items()},
        policy=_policy(script),
        script=Markup(script),
        style=Markup(_part("style.css")),
        version=__version__,
    )
    return text.encode()


def in_script(text: str) -> str:
    """JSON that may stand inside a script element: `<` can end it, and is written otherwise."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _policy(script: str) -> str:
    """Nothing may be fetched, and this script alone may run."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = ("default-src 'none'", f"script-src 'sha256-{digest}'", "style-src 'unsafe-inline'", "img-src data: blob:")
    return "; ".join((*rules, "base-uri 'none'", "form-action 'none'"))


def scripts(*names: str) -> str:
    """The page's scripts as one that leaves no names behind: those named, else all, in the order of their numbers."""
    folder = files(_ROOM).joinpath("page")
    chosen = names or tuple(sorted(file.name for file in folder.iterdir() if file.name.endswith(".js")))
    body = "".join(_part(name) for name in chosen)
    return f'(() => {{\n"use strict";\n{body}}})();\n'


def _part(name: str) -> str:
    return files(_ROOM).joinpath("page", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader(_ROOM, "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "words": _spaced,
        "number": _number,
        "verdict": _WORDS.__getitem__,
        "source": _source,
        "duration": _duration,
    }
    return found


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"


def _duration(hours: float) -> str:
    """Hours, with minutes beside them where they are few."""
    return f"{hours:.3g} hours" + (f" ({60 * hours:.2g} minutes)" if hours < 1 else "")


def _source(words: str) -> str:
    """The address of a source that has one; empty for others."""
    kind, _, rest = words.partition(":")
    return f"https://arxiv.org/abs/{rest}" if kind.lower() == "arxiv" else ""
