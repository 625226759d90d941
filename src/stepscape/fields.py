"""Types of the fields that studies and members are made of.

Numbers are coerced: PyYAML reads `1e-3` as text. Booleans are never numbers here, though Python takes `True` for 1.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictStr, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import ArgsKwargs, PydanticCustomError

from stepscape.errors import Mistake, listed, nearest


def number(value: Any) -> float:
    """A number as a study gives it, in one spelling.

    Args:
        value: a number, or its text.

    Returns:
        The number; it may be infinite or NaN.

    Raises:
        PydanticCustomError: it is no number; a ValueError.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise PydanticCustomError("number", "a number")
    try:
        return float(value) + 0.0  # -0.0 and 0.0 are one number, in one spelling
    except ValueError:
        raise PydanticCustomError("number", "a number") from None
    except OverflowError:
        return math.inf


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        real = number(value)
        exact = Decimal(value if isinstance(value, str) and abs(real) < 2**64 else real)  # floats skip large integers
        if exact == int(exact):
            return int(exact)
    except (ValueError, ArithmeticError):
        pass
    raise PydanticCustomError("integer", "a whole number")


def _batch_size(value: Any) -> int | str:
    try:
        size = "full" if value == "full" else _integer(value)
    except PydanticCustomError:
        size = 0
    if isinstance(size, int) and not 1 <= size < 2**63:
        raise PydanticCustomError("batch_size", "a whole number of at least 1, or full")
    return size


def _schema(kind: str, **limits: float) -> WithJsonSchema:
    """What the JSON schema says of a number: pydantic says nothing of limits that are checked behind a conversion."""
    return WithJsonSchema({"type": kind, **limits})


Real = Annotated[float, BeforeValidator(number), Field(allow_inf_nan=False), _schema("number")]
PositiveReal = Annotated[
    float, BeforeValidator(number), Field(gt=0, allow_inf_nan=False), _schema("number", exclusiveMinimum=0)
]
NonNegativeReal = Annotated[
    float, BeforeValidator(number), Field(ge=0, allow_inf_nan=False), _schema("number", minimum=0)
]
Fraction = Annotated[
    float, BeforeValidator(number), Field(ge=0, lt=1), _schema("number", minimum=0, exclusiveMaximum=1)
]
Share = Annotated[float, BeforeValidator(number), Field(ge=0, le=1), _schema("number", minimum=0, maximum=1)]
Count = Annotated[int, BeforeValidator(_integer), Field(ge=1, lt=2**63), _schema("integer", minimum=1)]
Several = Annotated[int, BeforeValidator(_integer), Field(ge=2, lt=2**63), _schema("integer", minimum=2)]
Index = Annotated[int, BeforeValidator(_integer), Field(ge=0, lt=2**63), _schema("integer", minimum=0)]
BatchSize = Annotated[Annotated[int, _schema("integer", minimum=1)] | Literal["full"], BeforeValidator(_batch_size)]
Flag = StrictBool
Text = StrictStr


class Raw:
    """A value as the study gives it, hashed by its text: lists and mappings have no hash."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._text = repr(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Raw) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return _spelled(self.value)


IDENTIFIERS = "small letters, digits and _"


def is_identifier(value: Any) -> bool:
    """Whether a value may name a study, a figure or a member: it becomes part of file names."""
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9_]*", value) is not None


def describe(text: str, unit: str = "") -> FieldInfo:
    """What a field means and in which unit it is, for the reference; used inside `Annotated`."""
    return Field(description=text, json_schema_extra={"unit": unit} if unit else None)


_ALLOWED = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "missing": "a value: this key is required",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values",
    "dataclass_type": "a mapping of keys to values",
    "too_short": "a list of {min_length} or more",
    "string_too_short": "text that is not empty",
    "string_type": "text; what looks like a number or a date needs quotes",
    "bool_type": "true or false",
}


def mistakes_of(error: ValidationError, where: str, keys: Iterable[str] = ()) -> list[Mistake]:
    """Translates what pydantic found into mistakes.

    Args:
        error: what pydantic raised.
        where: the key path of the validated value.
        keys: the keys that are allowed there, told for an unknown one.

    Returns:
        One mistake for every key path at fault.
    """
    mistakes: dict[str, Mistake] = {}
    for fault in error.errors(include_url=False):
        if fault["type"] == "too_short" and len(fault["input"]) >= fault["ctx"]["min_length"]:
            continue  # what made it short are its wrong entries, and those are told
        place = _place(where, fault["loc"])
        if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            key = str(fault["loc"][-1])
            mistakes[place] = Mistake(place, f"unknown key {key!r}", listed(keys), nearest(key, keys))
            continue
        pattern = _ALLOWED.get(fault["type"])
        allowed = pattern.format(**fault.get("ctx", {})) if pattern else fault["msg"]
        given = "nothing" if fault["type"] == "missing" else shown(fault["input"])
        other = mistakes.get(place)  # a type with alternatives is at fault in each of them
        mistakes[place] = Mistake(place, given, f"{other.allowed}, or {allowed}" if other else allowed)
    return list(mistakes.values())


def _place(where: str, loc: tuple[int | str, ...]) -> str:
    """The key path of a fault: a field, and positions in it; the name of an alternative of its type is left out."""
    place = where
    for depth, part in enumerate(loc):
        if isinstance(part, str) and depth:
            break
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    return place.lstrip(".")


def shown(value: Any) -> str:
    """A value as the reader of a message should see it: as YAML spells it, on one line, shortened."""
    if isinstance(value, ArgsKwargs):
        value = value.kwargs or {}
    text = "nothing" if value is None else _spelled(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _spelled(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_spelled(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value:g}".replace("inf", ".inf").replace("nan", ".nan")
    return value.isoformat() if isinstance(value, datetime.date) else repr(value)
