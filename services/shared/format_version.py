"""The version of a wire format: the attribute `schema` of a message is NAME/NUMBER, such as `hit/1`."""

from __future__ import annotations

import re

from services.shared.errors import Poison

_VERSION = re.compile(r"([a-z]{1,20})/([1-9][0-9]{0,3})")


class NewerFormat(Exception):
    """The message has a newer version of its format than this code reads: nack it, and a newer pod will read it."""


def check(found: str | None, known: str) -> None:
    """Returns if `found` is the `known` version. Raises NewerFormat for a newer one of the same name, else Poison."""
    if found == known:
        return
    text = f"schema is {found!r}, {known!r} is read here"
    name, _, number = known.partition("/")
    there = _VERSION.fullmatch(found or "")
    if there is not None and there[1] == name and int(there[2]) > int(number):
        raise NewerFormat(text)
    raise Poison(text)
