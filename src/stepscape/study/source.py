"""Reading YAML: safe, with the line of every key path, refusing what PyYAML would let pass in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from stepscape.errors import FileError, Mistake, Mistaken, Mistakes
from stepscape.fields import shown

_MOST_NODES = 1_000_000
_MOST_BITS = 1024  # Python refuses to spell out numbers of some thousand digits
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_PLAIN = {f"{_TAG}{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")}
_REMEDIES = {
    "mapping values are not allowed here": "text that holds a colon and a space needs quotes",
    "found character '\\t' that cannot start any token": "indent with spaces",
}


def read_yaml(path: Path) -> tuple[Any, dict[str, int]]:
    """Reads a YAML file.

    Args:
        path: the file.

    Returns:
        Its value, and the line of each key path (`grid[0].lr[2]`), counted from 1.

    Raises:
        FileError: there is no such file, it is not UTF-8 or not YAML, a key stands twice, or aliases never end.
    """
    try:
        return parse_yaml(read_text(path))
    except Mistaken as error:
        raise FileError(path, error.mistakes) from None


def read_text(path: Path) -> str:
    """The text of a file in UTF-8.

    Args:
        path: the file.

    Returns:
        Its text, line ends as they are.

    Raises:
        Mistaken: there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        given = f"the byte 0x{error.object[error.start]:02x}, which is not UTF-8"
        raise Mistaken([Mistake("", given, "text in UTF-8", "save the file as UTF-8", line)]) from None
    except (OSError, ValueError) as error:  # the latter for a name that no file can have
        reason = getattr(error, "strerror", None) or str(error)
        raise Mistaken([Mistake("", reason.lower(), "a file that can be read")]) from None


def parse_yaml(text: str) -> tuple[Any, dict[str, int]]:
    """Reads YAML.

    Args:
        text: what to read.

    Returns:
        Its value, and the line of each key path, counted from 1.

    Raises:
        Mistaken: it is not YAML, a key stands twice or is no text, or aliases never end.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise Mistaken([Mistake("", "nothing: it is empty", "YAML")])
        survey = _Survey()
        survey.visit(node, "", node.start_mark.line + 1, ())
        if survey.mistakes:
            raise Mistaken(survey.mistakes)
        return loader.construct_document(node), survey.lines
    except yaml.YAMLError as error:
        raise Mistaken([_mistake(error, text)]) from None
    except RecursionError:
        raise Mistaken([Mistake("", "values nested too deep", "YAML")]) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Loader(yaml.SafeLoader):
    """Says where a value stands that is not what it looks like, such as the date 2024-13-45; PyYAML raises anything."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep)
            if isinstance(made, int) and made.bit_length() > _MOST_BITS:
                raise ValueError
            return made
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            problem = f"{shown(node.value)} cannot be read as {node.tag.removeprefix(_TAG)}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _mistake(error: yaml.YAMLError, text: str) -> Mistake:
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return Mistake("", f"the character {chr(error.character)!r}", "characters that can be printed", line=line)
    mark, start = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    problem, context = getattr(error, "problem", None) or str(error), getattr(error, "context", None)
    begun = f"{context} (line {start.line + 1}), " if start and context else ""
    return Mistake("", f"{begun}{problem}", "YAML", _REMEDIES.get(problem, ""), mark.line + 1 if mark else None)


class _Survey:
    """What a file holds, before it is built: the line of every key path, and what must not be there."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.mistakes = Mistakes()
        self._visited = 0

    def visit(self, node: yaml.Node, place: str, line: int, above: tuple[int, ...]) -> None:
        """Looks at a value and all that it holds; `above` are the values that hold it."""
        self._visited += 1
        if self._visited > _MOST_NODES:
            raise Mistaken([Mistake(place, f"more than {_MOST_NODES} values", "fewer, or fewer aliases", line=line)])
        if place:
            self.lines.setdefault(place, line)
        within = (*above, id(node))
        if id(node) in above:
            self.mistakes.append(Mistake(place, "an alias of what it is part of", "a value that ends", line=line))
        elif node.tag not in _PLAIN:
            tag = node.tag.replace(_TAG, "!!")
            allowed = "text, numbers, lists and mappings"
            self.mistakes.append(Mistake(place, f"a value of type {tag}", allowed, line=line))
        elif isinstance(node, yaml.MappingNode):
            self._visit_entries(node, place, within)
        elif isinstance(node, yaml.SequenceNode):
            for index, entry in enumerate(node.value):
                self.visit(entry, f"{place}[{index}]", entry.start_mark.line + 1, within)

    def _visit_entries(self, node: yaml.MappingNode, place: str, within: tuple[int, ...]) -> None:
        merged: list[tuple[yaml.Node, int]] = []
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == _MERGE:
                several = value.value if isinstance(value, yaml.SequenceNode) else [value]
                merged += [(entry, line) for entry in several]
                continue
            if key.tag != f"{_TAG}str":
                given = f"the key {key.value}" if isinstance(key, yaml.ScalarNode) else "a list or mapping as key"
                remedy = "quote a key that YAML takes for a number, a date, or yes or no"
                self.mistakes.append(Mistake(place, given, "keys that are text", remedy, line))
                continue
            where = f"{place}.{key.value}" if place else key.value
            if key.value in first:
                given = f"this key a second time; the first is in line {first[key.value]}"
                self.mistakes.append(Mistake(where, given, "each key once", line=line))
            first.setdefault(key.value, line)
            self.visit(value, where, line, within)
        for entry, line in merged:  # last: what a mapping says itself stands above what it merges
            if isinstance(entry, yaml.MappingNode):
                self.visit(entry, place, line, within)
            else:
                self.mistakes.append(Mistake(place, "a merge of what is no mapping", "<<: a mapping", line=line))


def line_of(lines: dict[str, int], where: str) -> int | None:
    """The line of a key path, or of the nearest thing around it."""
    while where and where not in lines:
        where = where[: max(0, *map(where.rfind, ".[:"))]
    return lines.get(where)
