"""Finds in JSON what the policy removes or changes: members at any depth, and what strings hold.

Nothing is built and written again: numbers and texts stay as they were sent. Strings are found by one pattern; where a
removed value ends is found by the scanner of Python's library, which is written in C.
"""

from __future__ import annotations

import gc
import re
from json import JSONDecoder
from typing import TYPE_CHECKING

from services.shared import edits
from services.shared.edits import Edit, escaped_edits, unescape, unescape_at_once
from services.shared.name_rules import REMOVE, Rule

if TYPE_CHECKING:
    from services.shared.redact import Redactor

# A string, or the beginning of one that is cut off; and what follows it if it is a name. Strings before it that are no
# names and hold nothing are passed over. It matches wherever it begins, at last at the end of the text.
_STRING = re.compile(
    r'(?:[^"]*+"(?!\[|e[yw]|W)[^"\\=%{@#&?;]*+"(?!\s*+:))*+'
    r'[^"]*+(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)(?:"(\s*+:\s*+)?|\\?\Z)|\Z)',
    re.DOTALL,
)
# What a string has that may hold something; an escape may be one of a quote, or of an ASCII character.
_HOLDS = re.compile(r"""[=%{@]|\\(?:"|u00[2-7])|\A\[|(?:\A|[#&?;])(?:e[yw]|W)""")
_FLAT = re.compile(r'\[(?:[^\[\]{}"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+\]', re.DOTALL)  # a list of scalars
_SCALAR = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"|-?[0-9][^\s,\]}"]*+', re.DOTALL)
_MANY = 65_536  # characters
_COMMA = re.compile(r"\s*+,\s*+")
_scan = JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=str).raw_decode


def is_json(text: str) -> bool:
    """Whether a text is JSON as a whole."""
    end = _end(text, len(text) - len(text.lstrip()))
    return end is not None and not text[end:].strip()


def find(redactor: Redactor, text: str, depth: int, *, cut_off: bool = False) -> list[Edit]:
    """The edits of the JSON in a text. It may be cut off or damaged: then all goes from there on.

    `cut_off`: a string that does not end is one that is cut off, not a quote that somebody wrote.
    """
    found: list[Edit] = []
    rules: dict[str, Rule | None] = {}
    nothing: set[str] = set()  # names without a rule that hold nothing
    done = 0  # where the last edit ended
    for match in _STRING.finditer(text):
        content, name = match.groups()
        if content in nothing:
            continue
        if content is None or done == len(text):
            break
        start = match.start(1) - 1
        if start < done:
            continue
        holds = _HOLDS.search(content) is not None
        if name is not None:
            if content not in rules:
                redactor.spend()
                rules[content] = redactor.rule(_plain(redactor, content))
            rule = rules[content]
            if rule is not None and (made := _member(redactor, rule, text, match, done)) is not None:
                redactor.spend(len(made))
                found += made
                done = made[-1].end
                continue
            if rule is None and not holds:
                nothing.add(content)
        cut = cut_off and text[match.end(1) : match.end(1) + 1] != '"'
        if (holds or cut) and (inner := redactor.text(_plain(redactor, content), depth - 1, cut_off=cut)):
            redactor.spend(len(inner), cheap=content.count("\\"))
            found += escaped_edits(content, inner, start + 1)
    return found


def _plain(redactor: Redactor, content: str) -> str:
    """The content of a string without its escapes."""
    plain = unescape_at_once(content)
    if plain is not None:
        return plain
    redactor.spend(cheap=content.count("\\"))
    return unescape(content)


def _member(redactor: Redactor, rule: Rule, text: str, match: re.Match[str], before: int) -> list[Edit] | None:
    """The edits of a member; None where it stays, and what it holds is still to be read."""
    start, value = match.start(1) - 1, match.end()
    if rule.kind == REMOVE:
        redactor.note(rule)
        end = _end(text, value)
        return [_removed(text, start, before, end)]
    if text[value : value + 1] == "[":
        return _list(redactor, rule, text, start, value, before)
    scalar = _SCALAR.match(text, value)
    if scalar is None:
        return None
    new = redactor.values(rule, _sent(scalar))
    if new is None:
        return None
    if not new:
        return [_removed(text, start, before, scalar.end())]
    more = (f',"{match[1]}_previous":{_quoted(one)}' for one in new[1:])
    return [Edit(value, scalar.end(), _quoted(new[0]) + "".join(more))]


def _list(redactor: Redactor, rule: Rule, text: str, start: int, value: int, before: int) -> list[Edit] | None:
    """The edits of a list of scalars; if one of them goes, the list does. None where nothing of it is changed."""
    whole = _FLAT.match(text, value)
    if whole is None:
        return None
    found = []
    for scalar in _SCALAR.finditer(text, value, whole.end()):
        new = redactor.values(rule, _sent(scalar))
        if new:
            found.append(Edit(*scalar.span(), _quoted(new[0])))
        elif new is not None:
            return [_removed(text, start, before, whole.end())]
    return found or None


def _removed(text: str, start: int, before: int, end: int | None) -> Edit:
    """The edit that takes a member away, with the comma before it, or else the one after it."""
    if end is None:
        return Edit(start, len(text))
    bare = text[before:start].rstrip()
    if bare.endswith(","):
        return Edit(before + len(bare) - 1, end)
    comma = _COMMA.match(text, end)
    return Edit(start, end if comma is None else comma.end())


def _end(text: str, start: int) -> int | None:
    """The end of the value that starts here; None if it is not JSON, or is cut off."""
    collecting = len(text) - start > _MANY and gc.isenabled()
    if collecting:  # of the lists that a megabyte may hold none is garbage yet, and walking them takes twice as long
        gc.disable()
    try:
        return int(_scan(text, start)[1])
    except (ValueError, RecursionError):
        return None
    finally:
        if collecting:
            gc.enable()


def _sent(scalar: re.Match[str]) -> str:
    return scalar[0] if scalar[1] is None else unescape(scalar[1])


def _quoted(new: str) -> str:
    return f'"{edits.escaped(new)}"'
