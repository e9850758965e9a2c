"""What a column's `transform` does, step by step. Pure, and linear in the text.

Steps on text come first: they take text and give text, or no value. Other values pass unchanged. Steps on
the value follow its conversion.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import re2

from services.processor import convert
from services.shared.schema import Column, Transform
from services.shared.schema_transforms import VALUE_STEPS

Step = Callable[[Any], Any]

_NOT_LISTED = "not among the values of the column's `map`"
_MORE = ("default", "map", "time_zone", "split")  # steps that are not from text to text, or to no value
# What most URLs are, read in a quarter of the time that urlsplit takes: no port, no user, ASCII without spaces.
_PLAIN_URL = re.compile(r"https?://([a-zA-Z0-9.-]+)(/[!\"$->@-~]*)?(?:\?([!\"$-~]*))?(?:#[!-~]*)?")
_ANY = "*"  # the name in a `map` that stands for all others


def text_steps(column: Column) -> list[Step]:
    """The steps before conversion, in order; each takes a value, which may be None, and gives one, or None.

    They raise convert.Invalid for a value that does not fit.
    """
    return [_text_step(step) for step in column.transforms if step.name not in VALUE_STEPS]


def changes(column: Column) -> list[Callable[[str], Any]] | None:
    """The same steps as functions of text, if all of them are no more than that, and none makes a list."""
    steps = [step for step in column.transforms if step.name not in VALUE_STEPS]
    return None if any(step.name in _MORE for step in steps) else [_change(step) for step in steps]


def value_steps(column: Column) -> list[Step]:
    """The steps after it, which take a number of the column's type."""
    return [_value_step(step, column.type) for step in column.transforms if step.name in VALUE_STEPS]


def apply(steps: list[Step], value: Any) -> Any:
    """The value after all steps; `split` makes a list, and the steps after it work on each of its elements."""
    for step in steps:
        value = step(value) if type(value) is not list else _each(step, value)
    return value


def _each(step: Step, values: list[Any]) -> list[Any]:
    """A null stays one, for the column to note; what a step finds no value in goes."""
    return [made for one in values if (made := step(one)) is not None or one is None]


def _text_step(step: Transform) -> Step:
    argument = step.argument
    match step.name:
        case "default":
            return lambda value: argument if value is None or value == "" else value
        case "map":
            return _mapped(argument)
        case "time_zone":
            return _zoned(ZoneInfo(argument))
    change = _change(step)
    return lambda value: change(value) if type(value) is str else value


def _change(step: Transform) -> Callable[[str], Any]:
    argument = step.argument
    match step.name:
        case "trim":
            return str.strip
        case "collapse":
            return lambda text: " ".join(text.split())
        case "lower":
            return str.lower
        case "upper":
            return str.upper
        case "sha256":
            return lambda text: hashlib.sha256(text.encode("utf-8", "replace")).hexdigest() if text else None
        case "max_length":
            return lambda text: text[:argument]
        case "split":
            return lambda text: [part for part in text.split(argument) if part]
        case "regex":
            return _matched(argument)
        case "url.host":
            return lambda text: _url(text)[0]
        case "url.path":
            return lambda text: _url(text)[1]
        case name if name.startswith("url.query."):
            wanted = name.removeprefix("url.query.")
            return lambda text: _of_query(_url(text)[2], wanted)
    raise AssertionError(f"the schema file's check let {step} through")


def _mapped(values: Mapping[str, str]) -> Step:
    others = values.get(_ANY)

    def look_up(value: Any) -> Any:
        if value is None or value == "":
            return None
        found = values.get(convert.string(value), others)
        if found is None:
            raise convert.Invalid(convert.OUT_OF_RANGE, _NOT_LISTED)
        return found

    return look_up


def _matched(pattern: str) -> Callable[[str], str | None]:
    """The first group of the first match, or all of it without one; None where nothing matches."""
    compiled = re2.compile(pattern)
    group = min(1, compiled.groups)

    def match(text: str) -> str | None:
        found = compiled.search(text)
        return None if found is None else found.group(group)

    return match


def _zoned(zone: ZoneInfo) -> Step:
    """A time without a zone is one of this zone's clocks; the first of the two where a clock is set back."""

    def place(value: Any) -> Any:
        return convert.with_zone(value, zone) if type(value) is str else value

    return place


@lru_cache(1_024)
def _url(text: str) -> tuple[str | None, str | None, str]:
    """Host, path and query of a URL; None for a missing part, and for every part of any other text."""
    if match := _PLAIN_URL.fullmatch(text):
        return match[1].lower(), match[2], match[3] or ""
    try:
        parts = urlsplit(text.strip())
        return parts.hostname or None, parts.path or None, parts.query
    except ValueError:
        return None, None, ""


def _of_query(query: str, name: str) -> str | None:
    try:
        return next((value for key, value in parse_qsl(query, max_num_fields=1_000) if key == name), None)
    except ValueError:
        return None


def _value_step(step: Transform, kind: str) -> Step:
    if step.name == "round":
        return _rounded(int(step.argument), kind)
    limit = Decimal(step.argument)
    if step.name == "min":
        return _bounded(lambda value: value < limit, f"below {step.argument}, the column's `min`")
    return _bounded(lambda value: value > limit, f"above {step.argument}, the column's `max`")


def _bounded(outside: Callable[[Any], bool], detail: str) -> Step:
    def check(value: Any) -> Any:
        if outside(value):
            raise convert.Invalid(convert.OUT_OF_RANGE, detail)
        return value

    return check


def _rounded(decimals: int, kind: str) -> Step:
    """Half away from zero, as BigQuery's ROUND does."""
    unit = Decimal(1).scaleb(-decimals)
    if kind in convert.UNITS and decimals >= -int(convert.UNITS[kind].as_tuple().exponent):
        return lambda value: value
    if kind in convert.UNITS:  # its converter has made all the decimals of its type
        whole = convert.UNITS[kind]
        return lambda value: value.quantize(unit, None, convert.WIDE).quantize(whole, None, convert.WIDE)

    def to_decimals(value: Any) -> Any:
        exact = Decimal(repr(value))
        if -exact.as_tuple().exponent <= decimals:  # type: ignore[operator]  # finite numbers only
            return value
        rounded = exact.quantize(unit, rounding=ROUND_HALF_UP, context=convert.WIDE)
        return float(rounded) if kind == "FLOAT64" else int(rounded)

    return to_decimals
