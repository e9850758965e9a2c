"""Where each protocol has its write key, and what a request has there. Pure.

This reads the few members that it needs, before the guard removes keys as the secrets that they are. Nothing that a
stranger sends raises here.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from multidict import istr

from services.collector.cut import Cut
from services.collector.json_items import Item
from services.shared.tenants import KEY_PARAMETER, MAX_KEY, MAX_KEYS, in_query

HEADERS = ("x-write-key", "authorization")  # that may hold a key
_KEY, _AUTHORIZATION = istr("X-Write-Key"), istr("Authorization")
_BEARER, _BASIC = "bearer", "basic"
_NOTHING = msgspec.Raw()
_NUMBER = 20  # digits of an id that is a number
_LONGEST = 6 * MAX_KEY + 2  # bytes of a key in JSON, each character escaped
_NOBODYS = "?" * (MAX_KEY + 1)  # stands for a key that is too long to be one


class Places(NamedTuple):
    """Where a protocol has its keys.

    `schemes` are those of Authorization; `keys` and `ids` are names: of parameters of the query string and of a form,
    and of members of an item and of what surrounds the items. `nested` is a member and those in it, which are keys.
    `ids` are no secrets: see Resolver.resolve.
    """

    header: bool = False
    schemes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    nested: tuple[str, tuple[str, ...]] = ("", ())
    nested_ids: bool = False


_NATIVE = Places(header=True, schemes=(_BEARER,), keys=(KEY_PARAMETER,))
_SEGMENT = Places(schemes=(_BASIC, _BEARER), keys=("writeKey",))
PLACES: Mapping[str, Places] = {
    **dict.fromkeys(("pixel", "redirect", "events", "form"), _NATIVE),
    "hook": Places(),  # whose it is says its path; its senders have headers and bodies of their own
    "amplitude": Places(keys=("api_key",)),
    "cloudevents": Places(header=True, schemes=(_BEARER,)),
    "ga4": Places(keys=("api_secret",), ids=("measurement_id", "firebase_app_id")),
    "gtag": Places(ids=("tid",)),
    "jitsu": _SEGMENT._replace(header=True),
    "matomo": Places(keys=("token_auth",), ids=("idsite",)),
    "mixpanel": Places(schemes=(_BASIC,), keys=("token", "$token", "api_key"), nested=("properties", ("token",))),
    "plausible": Places(ids=("d", "domain")),
    "posthog": Places(keys=("api_key", "token"), nested=("properties", ("token",))),
    "rudderstack": _SEGMENT,
    "segment": _SEGMENT,
    "snowplow": Places(ids=("aid",)),
    "umami": Places(nested=("payload", ("website",)), nested_ids=True),
}


class Keys(NamedTuple):
    """`said` is what the parameter says that may name a tenant."""

    keys: list[str]
    ids: list[str]
    said: str = ""


def of_request(protocol: str, headers: Any, query: str, found_in: Cut | None = None) -> Keys:
    """What a request has beside its items: in its headers, its query string, and around its items.

    `headers` have a `getall`, and are as they were sent.
    """
    places = PLACES[protocol]
    found = Keys([], [])
    for value in headers.getall(_KEY, ())[:MAX_KEYS] if places.header else ():
        # Jitsu's servers add their secret: KEY:SECRET.
        found.keys.extend({value: None, value.partition(":")[0]: None} if value else ())
    for value in headers.getall(_AUTHORIZATION, ())[:MAX_KEYS] if places.schemes else ():
        scheme, _, given = value.partition(" ")
        if scheme.lower() in places.schemes and (key := _user(given) if scheme.lower() == _BASIC else given.strip()):
            found.keys.append(key)
    found.keys.extend(in_query(query, *places.keys) if places.keys else ())
    found.ids.extend(in_query(query, *places.ids) if places.ids else ())
    if found_in is not None:
        for name, value in found_in.fields.items():
            _keep(places, name, value, found)
        if found_in.envelope:
            _read(places, found_in.envelope, found)
    return found


def _user(given: str) -> str:
    """The user of Basic credentials; what cannot be decoded is a key that nobody has."""
    if len(given) > 2 * MAX_KEY:
        return given
    try:
        return binascii.a2b_base64(given.encode("ascii")).decode().partition(":")[0]
    except ValueError:
        return given


def of_item(protocol: str, item: Item, parameter: str) -> Keys:
    """What an item has, and what it says in a parameter of this name."""
    places, found = PLACES[protocol], Keys([], [])
    if isinstance(item, bytes):
        return found._replace(said=_read(places, item, found, parameter))
    found.keys.extend(in_query(item, *places.keys) if places.keys else ())
    found.ids.extend(in_query(item, *places.ids) if places.ids else ())
    return found._replace(said=next(iter(in_query(item, parameter)), "") if parameter else "")


def _read(places: Places, data: bytes, found: Keys, parameter: str = "") -> str:
    """Add the keys in a JSON object to those found; the value of the parameter."""
    outer, inner = places.nested
    names = tuple(dict.fromkeys((*places.keys, *places.ids, outer, parameter)))
    said = ""
    for name, raw in _members(data, names):
        if name == outer:
            for _, value in _members(bytes(raw), inner):
                (found.ids if places.nested_ids else found.keys).extend(_text(value))
        else:
            for text in _text(raw):
                _keep(places, name, text, found)
                said = text if name == parameter else said
    return said


def _keep(places: Places, name: str, value: str, found: Keys) -> None:
    if name in places.keys:
        found.keys.append(value)
    elif name in places.ids:
        found.ids.append(value)


@lru_cache(256)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """An object of which these members are kept, and the others are checked and passed over."""
    fields = [(f"_{at}", msgspec.Raw, msgspec.field(name=name, default=_NOTHING)) for at, name in enumerate(names)]
    return msgspec.json.Decoder(msgspec.defstruct("Members", fields))


def _members(data: bytes, names: tuple[str, ...]) -> list[tuple[str, msgspec.Raw]]:
    """Those of an object's members that it has; none of what is no object."""
    names = tuple(name for name in names if name)
    if not names or data[:1] != b"{":
        return []
    try:
        values = msgspec.structs.astuple(_decoder(names).decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    return [(name, value) for name, value in zip(names, values, strict=True) if value is not _NOTHING]


def _text(raw: msgspec.Raw) -> list[str]:
    """A string, or a whole number as its text; nothing for other values and for an empty string."""
    data = bytes(memoryview(raw)[: _LONGEST + 1])
    if data[:1] != b'"':
        return [data.decode()] if len(data) <= _NUMBER and data.isdigit() else []
    try:
        text = msgspec.json.decode(data, type=str) if len(data) <= _LONGEST else _NOBODYS
    except (msgspec.MsgspecError, UnicodeDecodeError):  # half a character
        text = _NOBODYS
    return [text] if text else []
