"""Reading YAML: the line of every key path, and what PyYAML would let pass or answer with an exception of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepscape.errors import FileError, Mistake, Mistaken
from stepscape.study.source import line_of, parse_yaml, read_yaml

TEXT = """\
# a comment
title: A study

grid:
  - optimizer:
      name: adam
    lr: [0.1,
         0.2]
    optimizer.beta1: [0.5]
  - &block
    lr: 0.3
  - <<: *block
    seed: 4
observe: {losses: {every: 1}}
"""
LINES = {
    "title": 2,
    "grid": 4,
    "grid[0]": 5,
    "grid[0].optimizer": 5,
    "grid[0].optimizer.name": 6,
    "grid[0].lr": 7,
    "grid[0].lr[0]": 7,
    "grid[0].lr[1]": 8,
    "grid[0].optimizer.beta1": 9,
    "grid[0].optimizer.beta1[0]": 9,
    "grid[1]": 10,
    "grid[1].lr": 11,
    "grid[2]": 12,
    "grid[2].lr": 11,
    "grid[2].seed": 13,
    "observe": 14,
    "observe.losses": 14,
    "observe.losses.every": 14,
}


def told(text: str) -> list[Mistake]:
    with pytest.raises(Mistaken) as caught:
        parse_yaml(text)
    return list(caught.value.mistakes)


def test_every_key_path_has_the_line_of_its_key() -> None:
    value, lines = parse_yaml(TEXT)
    assert lines == LINES
    assert value["grid"][2] == {"lr": 0.3, "seed": 4}
    assert value["grid"][0]["optimizer.beta1"] == [0.5]


def test_what_a_mapping_says_itself_stands_above_what_it_merges() -> None:
    value, lines = parse_yaml("a: &a {x: 1}\nb: {<<: *a, x: 2}\n")
    assert value["b"] == {"x": 2}
    assert lines["b.x"] == 2


def test_a_list_of_mappings_may_be_merged() -> None:
    value, _ = parse_yaml("a: &a {x: 1}\nb: &b {y: 2}\nc:\n  <<: [*a, *b]\n")
    assert value["c"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("grid[0].lr[1]", 8),
        ("grid[0].lr[7]", 7),
        ("grid[0].seed", 5),
        ("grid[0].optimizer.eps", 5),
        ("grid[1].points: extra.csv line 3, column 'optimizer.beta1'", 10),
        ("grid[9]", 4),
        ("nowhere", None),
        ("", None),
    ],
)
def test_the_line_of_what_is_not_there_is_that_around_it(where: str, line: int | None) -> None:
    assert line_of(LINES, where) == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", [("a", 3, "this key a second time; the first is in line 1")]),
        ("a:\n  b: 1\n  b: 2\n", [("a.b", 3, "this key a second time; the first is in line 2")]),
        (
            "a: {b: 1, b: 2}\nc: 1\nc: 1\nc: 1\n",
            [
                ("a.b", 1, "this key a second time; the first is in line 1"),
                ("c", 3, "this key a second time; the first is in line 2"),
                ("c", 4, "this key a second time; the first is in line 2"),
            ],
        ),
        ("a:\n  - 1\n  - &x [2, *x]\n", [("a[1][1]", 3, "an alias of what it is part of")]),
        ("a: &x\n  b:\n    c: *x\n", [("a.b.c", 3, "an alias of what it is part of")]),
        ("a: &x\n  <<: *x\n", [("a", 2, "an alias of what it is part of")]),
        ("a: &x 1\nb:\n  <<: *x\n", [("b", 3, "a merge of what is no mapping")]),
        ("a: &x {c: 1}\nb:\n  <<: [*x, 2]\n", [("b", 3, "a merge of what is no mapping")]),
        ("a:\n  1: 2\n", [("a", 2, "the key 1")]),
        ("on: 2\n", [("", 1, "the key on")]),
        ("~: 2\n", [("", 1, "the key ~")]),
        ("2024-01-01: 2\n", [("", 1, "the key 2024-01-01")]),
        ("a: 1\n? [b, c]\n: 2\n", [("", 2, "a list or mapping as key")]),
        ("a: 1\n? {b: c}\n: 2\n", [("", 2, "a list or mapping as key")]),
        ("a: !!set {b}\n", [("a", 1, "a value of type !!set")]),
        ("a: !!omap [b: 1]\n", [("a", 1, "a value of type !!omap")]),
        ("a: !!binary aGk=\n", [("a", 1, "a value of type !!binary")]),
        (
            "a: [!!python/object/apply:os.system [ls]]\n",
            [("a[0]", 1, "a value of type !!python/object/apply:os.system")],
        ),
        ("a: !local b\n", [("a", 1, "a value of type !local")]),
        ("a: [=]\n", [("a[0]", 1, "a value of type !!value")]),
    ],
)
def test_what_yaml_allows_and_a_study_must_not_hold(text: str, expected: list[tuple[str, int, str]]) -> None:
    assert [(mistake.where, mistake.line, mistake.given) for mistake in told(text)] == expected
    assert all(mistake.allowed for mistake in told(text))


@pytest.mark.parametrize(
    ("text", "line", "given"),
    [
        ("", None, "nothing: it is empty"),
        ("# nothing but a comment\n", None, "nothing: it is empty"),
        ("a: 1\nb: [1, 2\n", 3, "while parsing a flow sequence (line 2), expected ',' or ']', but got '<stream end>'"),
        ("a: 'b\n", 2, None),
        ("a: 1\n b: 2\n", 2, "mapping values are not allowed here"),
        ("title: a: b\n", 1, "mapping values are not allowed here"),
        ("a:\n\t- 1\n", 2, None),
        ("a: *b\n", 1, "found undefined alias 'b'"),
        ("a: 1\n---\nb: 1\n", 2, "expected a single document in the stream (line 1), but found another document"),
        ("a: @b\n", 1, None),
        ("a: 1\nb: \x00\n", 2, r"the character '\x00'"),
        ("a: 1\nb: \x07\n", 2, r"the character '\x07'"),
        ("a: 2024-13-45\n", 1, "'2024-13-45' cannot be read as timestamp"),
        ("a:\n  - !!int b\n", 2, "'b' cannot be read as int"),
        ("a: !!bool b\n", 1, "'b' cannot be read as bool"),
        ("a: !!float b\n", 1, "'b' cannot be read as float"),
        ("a: !!timestamp b\n", 1, "'b' cannot be read as timestamp"),
        ("a: !!int ''\n", 1, "'' cannot be read as int"),
        ("a: !!str [b]\n", 1, None),
        ("a: !!map [b]\n", 1, None),
        ("a: !!seq {b: 1}\n", 1, None),
        (f"a: {'9' * 5000}\n", 1, None),
        (f"a: 0x{'f' * 5000}\n", 1, None),
        (f"a: {'[' * 5000}\n", None, "values nested too deep"),
        (f"a: {'[' * 5000}{']' * 5000}\n", None, "values nested too deep"),
        (f"a: {'{b: ' * 5000}\n", None, "values nested too deep"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(text: str, line: int | None, given: str | None) -> None:
    (mistake,) = told(text)
    assert mistake.line == line
    assert given in (mistake.given, None)
    assert "\n" not in str(mistake.given)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("title: a: b\n", "text that holds a colon and a space needs quotes"),
        ("a:\n\t- 1\n", "indent with spaces"),
        ("on: 1\n", "quote a key that YAML takes for a number, a date, or yes or no"),
    ],
)
def test_common_slips_are_told_with_what_to_do(text: str, remedy: str) -> None:
    assert [mistake.remedy for mistake in told(text)] == [remedy]


def test_aliases_that_unfold_without_bound_are_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    (mistake,) = told("\n".join(levels))
    assert mistake.given == "more than 1000000 values"


def test_a_file_is_read_with_or_without_byte_order_mark_and_with_any_line_ends(tmp_path: Path) -> None:
    for name, text in {"plain": "a: é\nb: 1\n", "marked": "\ufeffa: é\nb: 1\n", "windows": "a: é\r\nb: 1\r\n"}.items():
        (tmp_path / name).write_bytes(text.encode())
        assert read_yaml(tmp_path / name) == ({"a": "é", "b": 1}, {"a": 1, "b": 2})


@pytest.mark.parametrize(
    ("content", "line", "byte"),
    [
        ("a: caf\xe9\n".encode("latin-1"), 1, "0xe9"),
        (b"a: 1\nb: 2\nc: \xff\n", 3, "0xff"),
        ("a: 1".encode("utf-16"), 1, "0xff"),
    ],
    ids=["latin-1", "third line", "utf-16"],
)
def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path, content: bytes, line: int, byte: str) -> None:
    path = tmp_path / "probe.yaml"
    path.write_bytes(content)
    with pytest.raises(FileError) as caught:
        read_yaml(path)
    expected = Mistake("", f"the byte {byte}, which is not UTF-8", "text in UTF-8", "save the file as UTF-8", line)
    assert caught.value.mistakes == (expected,)
    assert str(caught.value).startswith(f"{path}: 1 mistake\n  line {line}\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nothing.yaml", "no such file"), ("", "is a directory"), ("a\0b", "null"), ("a" * 300, "too long")],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(FileError) as caught:
        read_yaml(tmp_path / name)
    (mistake,) = caught.value.mistakes
    assert reason in mistake.given
    assert mistake.allowed == "a file that can be read"
