"""Webhooks of configured sources: `POST /hook/NAME`, and the signatures of those that sign. Pure."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from services.collector.routes import HOOK, Route

TOLERANCE_SECONDS = 300  # how far a signed time may be from ours, as Stripe's own libraries have it
MAX_SIGNATURES = 16  # in one header

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_FIELD = re.compile(r"(?:header\.[a-z0-9-]{1,64}|body\.[\w.-]{1,128})", re.ASCII)
_STAMP = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Hook:
    """One source: how it signs, if it does, and which of its fields say the event's type and id.

    A field is `header.NAME`, or `body.NAME` with dots for what is nested; "" is none: many services send the id of what
    has changed, not of the change. `keys` are tried in turn, so that one can replace another.
    """

    name: str
    scheme: str = ""
    key_file: str = ""
    type: str = "body.type"
    id: str = ""
    keys: tuple[bytes, ...] = ()

    @property
    def headers(self) -> tuple[str, ...]:
        """The request headers that the fields are in."""
        return tuple(field.removeprefix("header.") for field in (self.type, self.id) if field.startswith("header."))

    @property
    def envelope(self) -> bytes:
        """What its hits carry, for who reads them."""
        return msgspec.json.encode({"type_from": self.type, "id_from": self.id})

    @property
    def route(self) -> Route:
        path, name = f"/hook/{self.name}", f"hook.{self.name}"
        return Route(path, name, "empty", shape=HOOK, headers=self.headers, envelope=self.envelope)

    def verify(self, body: bytes, headers: Mapping[str, str], now: float) -> str | None:
        """Why a request is not this source's, in words without anything of it; None where it is.

        `headers` are looked up in lower case; `now` is the time in seconds since 1970.
        """
        if not self.scheme:
            return None
        return _VERIFY[self.scheme](self.keys, body, headers, now)


def _github(keys: Sequence[bytes], body: bytes, headers: Mapping[str, str], _now: float) -> str | None:
    kind, _, given = headers.get("x-hub-signature-256", "").partition("=")
    return _compared(keys, body, [given] if kind == "sha256" else [])


def _stripe(keys: Sequence[bytes], body: bytes, headers: Mapping[str, str], now: float) -> str | None:
    stamp, given = "", list[str]()
    for part in headers.get("stripe-signature", "").split(",")[: MAX_SIGNATURES + 1]:
        name, _, value = part.strip().partition("=")
        if name == "t":
            stamp = value
        elif name == "v1":
            given.append(value)
    if not _STAMP.fullmatch(stamp):
        return "the signature is missing"
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        return f"the signature is more than {TOLERANCE_SECONDS} seconds old"
    return _compared(keys, stamp.encode() + b"." + body, given)


def _shopify(keys: Sequence[bytes], body: bytes, headers: Mapping[str, str], _now: float) -> str | None:
    try:
        given = base64.b64decode(headers.get("x-shopify-hmac-sha256", ""), validate=True).hex()
    except ValueError:
        given = ""
    return _compared(keys, body, [given])


def _compared(keys: Sequence[bytes], signed: bytes, given: Sequence[str]) -> str | None:
    given = [one.lower() for one in given if one]
    if not given:
        return "the signature is missing"
    wanted = [hmac.new(key, signed, sha256).hexdigest().encode() for key in keys]
    right = [1 for one in given for key in wanted if hmac.compare_digest(one.encode("utf-8", "replace"), key)]
    return None if right else "the signature is wrong"


_VERIFY: dict[str, Callable[[Sequence[bytes], bytes, Mapping[str, str], float], str | None]] = {
    "github": _github,
    "stripe": _stripe,
    "shopify": _shopify,
}
# Where the sources that sign say what happened.
_FIELDS = {
    "github": ("header.x-github-event", "header.x-github-delivery"),
    "stripe": ("body.type", "body.id"),
    "shopify": ("header.x-shopify-topic", "header.x-shopify-webhook-id"),
}


def parse(text: str) -> Hook:
    """A hook as it is configured: NAME, or NAME=SCHEME:KEY_FILE, then ;type=FIELD and ;id=FIELD. Raises ValueError."""
    source, *more = text.split(";")
    name, _, signed = source.partition("=")
    if not _NAME.fullmatch(name):
        raise ValueError("a hook's name has small letters, digits, - and _, such as stripe")
    scheme, _, key_file = signed.partition(":")
    if signed and (scheme not in _VERIFY or not key_file):
        raise ValueError(f"{name}: use SCHEME:KEY_FILE after =, where SCHEME is one of {', '.join(_VERIFY)}")
    fields = dict(zip(("type", "id"), _FIELDS.get(scheme, (Hook.type, Hook.id)), strict=True))
    for item in more:
        key, _, field = item.partition("=")
        if key not in fields or not _FIELD.fullmatch(field):
            raise ValueError(f"{name}: use type=FIELD or id=FIELD, where FIELD is header.NAME or body.NAME")
        fields[key] = field
    return Hook(name, scheme, key_file, fields["type"], fields["id"])
