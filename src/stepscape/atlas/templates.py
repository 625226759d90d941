"""The pages' frames."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(name: str, **values: Any) -> str:
    """A page of Markdown.

    Args:
        name: a template beside this file, without `.j2`.
        values: what it may use.

    Returns:
        Its text.
    """
    environment = Environment(
        loader=PackageLoader("stepscape.atlas", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters |= {"cell": _cell, "paper": _paper, "counted": _counted}
    return environment.get_template(f"{name}.j2").render(**values)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paper(source: str) -> str:
    """A source as a link, where it is an arXiv number."""
    kind, _, number = source.strip().partition(":")
    return f"[{source.strip()}](https://arxiv.org/abs/{number})" if kind == "arXiv" else source.strip()


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
