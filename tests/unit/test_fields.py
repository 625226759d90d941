"""Types of fields: which spellings of a number are one, what is refused, and how it is told."""

from __future__ import annotations

import datetime
import math
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass as typed_dataclass
from pydantic_core import PydanticCustomError

from stepscape import fields
from stepscape.errors import Mistake
from stepscape.fields import is_identifier, mistakes_of, number, shown

ADAPTERS = {
    name: TypeAdapter(getattr(fields, name))
    for name in (
        "BatchSize",
        "Count",
        "Flag",
        "Fraction",
        "Index",
        "NonNegativeReal",
        "PositiveReal",
        "Real",
        "Share",
        "Text",
    )
}


@pytest.mark.parametrize(
    ("type_", "given", "expected"),
    [
        ("PositiveReal", "1e-3", 0.001),
        ("PositiveReal", 1, 1.0),
        ("PositiveReal", "+.5", 0.5),
        ("Real", "-2", -2.0),
        ("NonNegativeReal", "-0.0", 0.0),
        ("NonNegativeReal", 0, 0.0),
        ("Fraction", 0, 0.0),
        ("Share", 1, 1.0),
        ("Share", "1", 1.0),
        ("Count", "1e3", 1000),
        ("Count", 2.0, 2),
        ("Count", 2**63 - 1, 2**63 - 1),
        ("Index", "0", 0),
        ("Index", "9007199254740993", 2**53 + 1),
        ("Index", "9.007199254740993e15", 2**53 + 1),
        ("BatchSize", "full", "full"),
        ("BatchSize", "32", 32),
        ("BatchSize", 32.0, 32),
        ("Flag", False, False),
        ("Text", "", ""),
    ],
)
def test_a_number_has_one_value_and_one_type_however_it_is_spelled(type_: str, given: Any, expected: Any) -> None:
    value = ADAPTERS[type_].validate_python(given)
    assert (value, type(value)) == (expected, type(expected))


def test_minus_zero_is_zero() -> None:
    assert math.copysign(1, number(-0.0)) == math.copysign(1, number("-0")) == 1


@pytest.mark.parametrize(
    ("type_", "given", "allowed"),
    [
        ("PositiveReal", 0, "a number above 0"),
        ("PositiveReal", -1e-300, "a number above 0"),
        ("PositiveReal", math.nan, "a number above 0"),
        ("PositiveReal", math.inf, "a finite number"),
        ("PositiveReal", 10**400, "a finite number"),
        ("PositiveReal", "1e400", "a finite number"),
        ("PositiveReal", True, "a number"),
        ("PositiveReal", "fast", "a number"),
        ("PositiveReal", "", "a number"),
        ("PositiveReal", None, "a number"),
        ("PositiveReal", [0.1], "a number"),
        ("PositiveReal", datetime.date(2024, 1, 1), "a number"),
        ("Real", "nan", "a finite number"),
        ("NonNegativeReal", -1, "a number of at least 0"),
        ("Fraction", 1, "a number below 1"),
        ("Fraction", -0.1, "a number of at least 0"),
        ("Share", 1.1, "a number of at most 1"),
        ("Count", 0, "a number of at least 1"),
        ("Count", 2**63, "a number below 9223372036854775808"),
        ("Count", 1.5, "a whole number"),
        ("Count", math.inf, "a whole number"),
        ("Count", math.nan, "a whole number"),
        ("Count", True, "a whole number"),
        ("Count", "many", "a whole number"),
        ("Count", "9007199254740993.5", "a whole number"),
        ("Index", "1e-400", "a whole number"),
        ("Index", "1e-99999999999999999999", "a whole number"),
        ("Count", "1e99999999999999999999", "a whole number"),
        ("Index", -1, "a number of at least 0"),
        ("BatchSize", 0, "a whole number of at least 1, or full"),
        ("BatchSize", "Full", "a whole number of at least 1, or full"),
        ("BatchSize", 2**63, "a whole number of at least 1, or full"),
        ("BatchSize", True, "a whole number of at least 1, or full"),
        ("BatchSize", None, "a whole number of at least 1, or full"),
        ("Flag", 1, "true or false"),
        ("Flag", "true", "true or false"),
        ("Text", 3, "text; what looks like a number or a date needs quotes"),
    ],
)
def test_what_is_no_such_value_is_refused_with_what_is(type_: str, given: Any, allowed: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTERS[type_].validate_python(given)
    assert mistakes_of(caught.value, "grid[0].lr") == [Mistake("grid[0].lr", shown(given), allowed)]


@typed_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Sample:
    """A dataclass with one field of each kind of message."""

    widths: tuple[fields.Count, ...]
    angle: fields.PositiveReal | Literal["right"] = "right"
    kind: Literal["tanh", "gelu"] = "tanh"
    pair: Annotated[tuple[float, ...], fields.Field(min_length=2)] = (0.0, 1.0)

    @model_validator(mode="after")
    def _has_an_end(self) -> Sample:
        if len(self.widths) > 3:
            raise PydanticCustomError("ends", "at most three, such as {1, 2, 3}")
        return self


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Mistake("model.widths", "nothing", "a value: this key is required")),
        ({"widths": 3}, Mistake("model.widths", "3", "a list")),
        ({"widths": [3, 0]}, Mistake("model.widths[1]", "0", "a number of at least 1")),
        ({"widths": [1], "pair": [1]}, Mistake("model.pair", "[1]", "a list of 2 or more")),
        ({"widths": [1], "kind": "relu"}, Mistake("model.kind", "'relu'", "'tanh' or 'gelu'")),
        ({"widths": [1], "angle": "left"}, Mistake("model.angle", "'left'", "a number, or 'right'")),
        (
            {"widths": [1, 2, 3, 4]},
            Mistake("model", "{widths: [1, 2, 3, 4]}", "at most three, such as {1, 2, 3}"),
        ),
        (
            {"widths": [1], "knd": "gelu"},
            Mistake("model.knd", "unknown key 'knd'", "angle, kind, pair, widths", "did you mean 'kind'?"),
        ),
        (
            {"widths": [1], "qqq": 1},
            Mistake("model.qqq", "unknown key 'qqq'", "angle, kind, pair, widths"),
        ),
    ],
)
def test_a_fault_is_told_at_its_key_path(given: dict[str, Any], expected: Mistake) -> None:
    with pytest.raises(ValidationError) as caught:
        Sample(**given)
    assert mistakes_of(caught.value, "model", ["widths", "angle", "kind", "pair"]) == [expected]


def test_all_faults_are_told_and_none_twice() -> None:
    with pytest.raises(ValidationError) as caught:
        Sample(widths=[0, "x"], pair=["a", "b"], angle=-1)
    assert [mistake.where for mistake in mistakes_of(caught.value, "")] == [
        "widths[0]",
        "widths[1]",
        "angle",
        "pair[0]",
        "pair[1]",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        ([None, False, "a", 1.5], "[null, false, 'a', 1.5]"),
        ({"name": "mlp", "hidden": (8, 8)}, "{name: 'mlp', hidden: [8, 8]}"),
        (math.inf, ".inf"),
        (-math.inf, "-.inf"),
        (math.nan, ".nan"),
        (datetime.date(2024, 1, 31), "2024-01-31"),
        ("a\nb", r"'a\nb'"),
    ],
)
def test_values_are_shown_as_yaml_spells_them(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("value", ["x" * 200, list(range(200)), {"a": "\n" * 100}], ids=["text", "list", "mapping"])
def test_long_values_are_shown_short_and_on_one_line(value: Any) -> None:
    assert len(shown(value)) == 80
    assert shown(value).endswith("...")
    assert "\n" not in shown(value)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("first_sweep", True),
        ("2_layers", True),
        ("_a", False),
        ("A", False),
        ("a-b", False),
        ("", False),
        ("a\n", False),
        ("a.b", False),
        ("é", False),
        (3, False),
        (None, False),
    ],
)
def test_names_that_become_file_names(name: Any, valid: bool) -> None:
    assert is_identifier(name) is valid
