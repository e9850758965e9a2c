"""The language a browser prefers: `language.*`, from the header `accept-language`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

MAX_LENGTH = 256  # characters read of the header
REMEMBERED = 4_096  # headers

_RANGE = re.compile(r"[ \t]*([a-z]{2,3})(?:-[a-z0-9]{1,8}){0,7}[ \t]*(?:;[ \t]*q=([01](?:\.[0-9]{0,3})?)[ \t]*)?", re.I)


class Language(NamedTuple):
    """`code` as ISO 639 has it: two letters, or three where there are no two."""

    code: str | None = None


NOTHING = Language()


def read(headers: Mapping[str, str], _parameters: Mapping[str, Any]) -> Language:
    """The first of the languages with the highest weight; a header that names none says nothing."""
    text = headers.get("accept-language")
    return _read(text[:MAX_LENGTH]) if text else NOTHING


@lru_cache(REMEMBERED)
def _read(text: str) -> Language:
    best, code = 0.0, None
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        if match is not None and (weight := min(float(match[2] or 1), 1.0)) > best:
            best, code = weight, match[1].lower()
    return Language(code)
