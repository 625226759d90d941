"""Figures in a page: SVG that is part of it, with names of its own and words for those who do not see it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from stepscape.errors import StepscapeError
from stepscape.report.outlines import compact

_SVG, _XLINK = "http://www.w3.org/2000/svg", "{http://www.w3.org/1999/xlink}href"
_LEFT_OUT = {f"{{{_SVG}}}{name}" for name in ("metadata", "style", "script", "foreignObject")}
_STROKES = "stroke-linejoin:round;stroke-linecap:butt"
"""What matplotlib says in a style sheet, which would hold for the whole page."""
_GROWTH = 1.15
"""How much larger than drawn a figure may be shown."""
_NUMBERS = re.compile(r"-?\d+\.\d{3,}")
_ROUNDED = ("d", "x", "y", "points", "transform")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(content: bytes, prefix: str, title: str, description: str) -> str:
    """A figure's file as an element of a page.

    Args:
        content: SVG as matplotlib writes it.
        prefix: put before each id, so that the figures of a page do not meet.
        title: what it is, in a few words.
        description: what it shows, for those who do not see it.

    Returns:
        The element: an image with a title and a description, without scripts and style sheets, coordinates to 1/100 pt,
        of long lines to 1/10.

    Raises:
        StepscapeError: it is no SVG.
    """
    try:
        root = ET.fromstring(content)
    except ET.ParseError as error:
        raise StepscapeError(f"figure {prefix}: no SVG ({error}); delete it, and start Snakemake again") from None
    _clean(root, prefix)
    width = re.match(r"[\d.]+", root.get("width", ""))
    size = f";max-width:{_GROWTH * float(width[0]):.0f}pt" if width else ""
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-labelledby": f"{prefix}-title {prefix}-description", "style": _STROKES + size}
    for place, (kind, text) in enumerate((("title", title), ("desc", description))):
        element = ET.Element(f"{{{_SVG}}}{kind}", {"id": f"{prefix}-{'title' if kind == 'title' else 'description'}"})
        element.text = text
        root.insert(place, element)
    return _serialised(root)


def _clean(element: ET.Element, prefix: str) -> None:
    for child in list(element):
        if child.tag in _LEFT_OUT:
            element.remove(child)
        else:
            _clean(child, prefix)
    for name, value in list(element.attrib.items()):
        if name.lower().startswith("on"):
            del element.attrib[name]
        elif name == "id":
            element.attrib[name] = f"{prefix}-{value}"
        elif name in (_XLINK, "href"):
            del element.attrib[name]
            if value.startswith("#"):
                element.attrib["href"] = f"#{prefix}-{value[1:]}"
            elif value.startswith("data:image/png;"):
                element.attrib["href"] = re.sub(r"\s", "", value)
        elif name in _ROUNDED:
            shorter = compact(value) if name == "d" else value
            element.attrib[name] = _NUMBERS.sub(_rounded, shorter).replace(" \n", "\n").strip()
        else:
            element.attrib[name] = _REFERENCE.sub(rf"url(#{prefix}-\1)", value)
    element.tail = None if not (element.tail or "").strip() else element.tail


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.2f}".rstrip("0").rstrip(".")


def _serialised(root: ET.Element) -> str:
    """As HTML wants it: a default namespace, and no other."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    root.attrib["xmlns"] = _SVG
    return ET.tostring(root, encoding="unicode")
