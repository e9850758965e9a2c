"""Whatever surrounds them, planted secrets go, and what has no listed name stays byte for byte.

The reference is slow and plainly right: it decodes all that can be decoded, and looks for the secret everywhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.shared.guard import Guard
from services.shared.hit import Hit
from services.shared.privacy import FULL, SECRETS, Privacy

GUARD = Guard(Privacy(secrets=("loyalty_number",)))
OPEN = Guard(Privacy(ip=FULL))
SECRET, PUBLIC = "Planted7Secret", "Kept8Public"
SPECIAL = "é✓ '\"\\&=?#;%+/:@<>{}[],.~\t"

names = st.sampled_from((*SECRETS, "loyalty_number"))
plain_names = st.sampled_from(
    ("a", "type", "event", "keyword", "title", "n", "product_card", "map_pin", "tokens", "order_id", "q", "zip", "ship")
)


def _spelled(name: str, how: tuple[int, int, str]) -> str:
    """The name as somebody may write it."""
    case, prefix, separator = how
    text = name.replace("_", separator)
    text = (text, text.upper(), text.title(), text.swapcase())[case]
    return ("", "user_", "x-", "$", "data.")[prefix] + text if name not in ("card", "pin") else text


spellings = st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from(("_", "-", ".", "")))
listed = st.builds(_spelled, names, spellings)
noise = st.text(st.sampled_from("abcXYZ019" + SPECIAL), max_size=8)
secrets = st.builds(lambda before, after: before + SECRET + after, noise, noise)
publics = st.builds(lambda before, after: before + PUBLIC + after, noise, noise)
numbers = st.sampled_from(("1.10", "12345678901234567890", "1e400", "-0.0", "null", "true"))


def _hidden(text: str, places: list[int]) -> str:
    """The text percent-encoded, some of its letters too."""
    encoded = quote(text, safe="")
    for place in places:
        at = place % max(len(encoded), 1)
        if encoded[at : at + 1].isalpha() and "%" not in encoded[max(at - 2, 0) : at]:
            encoded = encoded[:at] + f"%{ord(encoded[at]):02{'xX'[place % 2]}}" + encoded[at + 1 :]
    return encoded


hiding = st.lists(st.integers(0, 40), max_size=3)


@st.composite
def queries(draw: st.DrawFn, depth: int = 2) -> str:
    """A query string in which some listed names have the secret, and others have what is to be kept."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 5 if depth else 1))
        name = _hidden(draw(listed if kind == 0 else plain_names), draw(hiding))
        if kind == 0:
            value = quote(draw(secrets), safe=draw(st.sampled_from(("", "/:?@"))))
        elif kind == 1:
            value = quote(draw(publics), safe="")
        elif kind == 2:
            value = quote(draw(urls(depth - 1)), safe=draw(st.sampled_from(("", ":/?"))))
        elif kind == 3:
            value = quote(draw(documents(depth - 1)), safe="")
        elif kind == 4:
            data = base64.urlsafe_b64encode(draw(documents(depth - 1)).encode()).decode()
            value = data.rstrip("=") if draw(st.booleans()) else quote(data, safe="")
        else:
            value = quote(draw(queries(depth - 1)), safe="")
        parts.append(f"{name}={value}")
    return "&".join(parts)


@st.composite
def urls(draw: st.DrawFn, depth: int) -> str:
    user = draw(st.sampled_from(("", f"me:{SECRET}@", f"{SECRET}@")))
    query = "?" + draw(queries(depth)) if draw(st.booleans()) else ""
    fragment = "#" + draw(queries(depth)) if draw(st.booleans()) else ""
    return f"https://{user}x.example/{PUBLIC}{query}{fragment}"


def _string(text: str, places: list[int]) -> str:
    """A JSON string, some of its letters escaped."""
    written = json.dumps(text, ensure_ascii=bool(len(places) % 2))
    for place in places:
        at = 1 + place % max(len(written) - 2, 1)
        if written[at].isalpha() and "\\" not in written[max(at - 5, 0) : at]:
            written = f"{written[:at]}\\u{ord(written[at]):04x}{written[at + 1 :]}"
    return written


@st.composite
def documents(draw: st.DrawFn, depth: int = 2) -> str:
    """The text of a JSON object, likewise; its secrets may be values of any kind."""
    space = draw(st.sampled_from(("", " ")))
    members = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 7 if depth else 2))
        name = _string(draw(listed if kind == 0 else plain_names), draw(hiding))
        if kind == 0:
            secret = _string(draw(secrets), draw(hiding))
            shape = draw(st.sampled_from(("{}", "[{}]", '[1,{},{{"x":{}}}]', '{{"a":{{"b":{}}},"c":"}}]"}}')))
            value = shape.format(*[secret] * shape.count("{}"))
        elif kind == 1:
            value = _string(draw(publics), draw(hiding))
        elif kind == 2:
            value = draw(numbers)
        elif kind == 3:
            value = _string(draw(urls(depth - 1)), draw(hiding))
        elif kind == 4:
            value = _string(draw(documents(depth - 1)), draw(hiding))
        elif kind == 5:
            value = draw(documents(depth - 1))
        elif kind == 6:
            value = f"[{draw(documents(depth - 1))},{_string(draw(queries(depth - 1)), draw(hiding))}]"
        else:
            data = base64.b64encode(draw(documents(depth - 1)).encode()).decode()
            value = _string(data.rstrip("=") if draw(st.booleans()) else data, [])
        members.append(f"{name}{space}:{space}{value}")
    return "{" + f"{space},{space}".join(members) + "}"


def _all_of(text: bytes, depth: int = 9) -> list[bytes]:
    """The text, and all that it decodes to."""
    found, coming = {text}, [text]
    for _ in range(depth):
        made: set[bytes] = set()
        for one in coming:
            made.add(unquote_to_bytes(one))
            made.add(re.sub(rb"\\u00([0-9a-fA-F]{2})", lambda match: bytes.fromhex(match[1].decode()), one))
            made.add(re.sub(rb'\\(["\\/])', rb"\1", one))
            for token in re.findall(rb"[A-Za-z0-9+/_-]{12,}={0,2}", one):
                plain = token.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
                try:
                    made.add(binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True))
                except binascii.Error:
                    continue
        coming = [one for one in made if one not in found]
        found.update(coming)
    return list(found)


def _holds(text: bytes) -> bool:
    return any(SECRET.encode() in one for one in _all_of(text))


_SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@_SETTINGS
@given(queries())
def test_no_secret_is_left_in_a_query(query: str) -> None:
    edited = GUARD.query(query, False)
    assert not _holds(edited.encode())
    if GUARD.passes(query.encode()):
        assert not _holds(query.encode())
    assert GUARD.query(edited, False) == edited


@_SETTINGS
@given(documents())
def test_no_secret_is_left_in_json(document: str) -> None:
    edited = GUARD.json(document.encode(), False)
    assert not _holds(edited)
    json.loads(edited)
    assert GUARD.json(edited, False) == edited


@_SETTINGS
@given(queries(), documents(), st.integers(0, 400))
@example("a=https://me:Planted7Secret%40x.example/", "{}", 27)
@example("a=https://Planted7Secret%40x.example/", "{}", 24)
def test_no_secret_is_left_in_a_text_that_is_cut_off(query: str, document: str, size: int) -> None:
    for text in (query[:size], document[:size]):
        assert not _holds(GUARD.text(text, False, cut_off=True).encode())
    edited = GUARD.text(query + "\n" + document, False)
    assert SECRET.encode() not in unquote_to_bytes(edited)


def _kept(value: Any) -> Any:
    """Members without the listed ones."""
    if isinstance(value, dict):
        return {name: _kept(one) for name, one in value.items() if one != SECRET}
    return [_kept(one) for one in value] if isinstance(value, list) else value


flat = st.recursive(
    st.one_of(
        st.integers(), st.booleans(), st.none(), publics.filter(lambda text: "%" not in text and "=" not in text)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(plain_names, inner, max_size=3),
        st.dictionaries(listed, st.just(SECRET), max_size=2),
    ),
    max_leaves=20,
)


@_SETTINGS
@given(st.dictionaries(plain_names, flat, max_size=4), st.booleans())
def test_what_has_no_listed_name_is_kept(item: dict[str, Any], spaced: bool) -> None:
    text = json.dumps(item, separators=(", ", ": ") if spaced else (",", ":"))
    edited = GUARD.json(text.encode(), False).decode()
    expected = {name: _kept(one) for name, one in item.items()}
    assert json.loads(edited) == expected
    if SECRET not in text:
        assert edited == text


@_SETTINGS
@given(st.lists(st.tuples(st.booleans(), plain_names, listed, publics, secrets), max_size=6))
def test_pairs_without_a_listed_name_are_kept_as_they_are(pairs: list[tuple[bool, str, str, str, str]]) -> None:
    kept = [f"{name}={quote(value, safe='')}" for plain, name, _, value, _ in pairs if plain]
    sent = [
        f"{name}={quote(value, safe='')}" if plain else f"{quote(other, safe='')}={quote(secret, safe='')}"
        for plain, name, other, value, secret in pairs
    ]
    assert GUARD.query("&".join(sent), False) == "&".join(kept)


@_SETTINGS
@given(st.text(), st.binary(max_size=200))
def test_anything_is_taken(text: str, data: bytes) -> None:
    for anonymize in (False, True):
        for guard in (GUARD, OPEN):
            guard.query(text, anonymize)
            guard.text(text, anonymize)
            guard.text(data.decode("latin-1"), anonymize)
            guard.json(data, anonymize)
            guard.headers({"referer": text, "x-other": data.decode("utf-8", "surrogateescape")}, anonymize)
            guard.passes(data)


@_SETTINGS
@given(queries(1), documents(1), urls(1))
def test_no_secret_is_left_in_a_hit(query: str, document: str, url: str) -> None:
    body = msgspec.Raw(document.encode())
    hit = Hit("id", 1, "GET", "/i", query, {"referer": url}, "", body, text=query, envelope=body)
    assert not _holds(msgspec.json.encode(GUARD.hit(hit, "", False)))
