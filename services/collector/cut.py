"""Cuts the body of a tracker's request into items, each of which becomes a hit; it knows where they are, no more.

Nothing that a stranger sends raises here. For protocols of others a body that cannot be cut is one item, its text, and
the reason: their clients throw a whole batch away on a 4xx, or resend it forever. On our own path a developer is better
served by an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import msgspec

from services.collector import body as native
from services.collector import content_encoding, json_items, unwrap
from services.collector.body import BadBody
from services.collector.json_items import TOO_MANY, Found, Item
from services.collector.routes import BINARY, BY_LIST, BY_TOKEN, FORM, HOOK, JSON, LINES, NATIVE, QUERY, Route, media
from services.collector.unwrap import TOO_LARGE, Uncut, Unwrapped
from services.shared import hit, json_depth

LIMIT = 1_048_576  # bytes of a body, before and after decompression
MAX_TEXT = 262_144  # bytes of an item that is text: escaped in JSON it may be six times as long
MAX_ENVELOPE = 65_536  # bytes
MAX_ENVELOPES = 4_194_304  # bytes of it in all items together, since each carries it

_NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_NOTHING = msgspec.Raw()
_LEFT_OUT = msgspec.Raw(b'"the envelope is too large or too deep"')


class Cut(NamedTuple):
    """`items` in order, each without a line end; `envelope` is a JSON object, the rest of the body, or empty.

    `route` says by its `via` which protocol the body turned out to be. `uncut` is why it could not be cut: then there
    is one item, text, and the envelope holds the reason and the size. `refused`: nothing is kept, and this is the
    reply. `fields` are the other fields of a form, `form` says that it was one, `listed` that its items were a list.
    `query` is what hits keep of the query string where the items were in it, else None: they keep all of it.
    """

    route: Route
    items: list[Item]
    envelope: bytes = b""
    uncut: str = ""
    refused: BadBody | None = None
    fields: Mapping[str, str] = {}
    form: bool = False
    listed: bool = False
    query: str | None = None

    @property
    def damaged(self) -> bool:
        """Whether its items of text are what could not be read, and may be cut off anywhere."""
        return bool(self.uncut) or self.route.shape == JSON


class _Request(NamedTuple):
    route: Route
    body: bytes
    query: str
    headers: Mapping[str, str]
    limit: int

    def text(self) -> bytes:
        """The body as UTF-8. Raises Uncut."""
        data = unwrap.decompress(self.body, self.headers.get("content-encoding", ""), self.limit)
        return unwrap.to_utf8(unwrap.trim(data), self.limit)


class _Properties(msgspec.Struct):
    token: msgspec.Raw = _NOTHING


class _Event(msgspec.Struct):
    """What tells an event of Mixpanel from one of PostHog, which may have a token among its properties, too."""

    properties: _Properties
    api_key: msgspec.Raw = _NOTHING
    uuid: msgspec.Raw = _NOTHING


_event = msgspec.json.Decoder(_Event)
_string = msgspec.json.Decoder(str)


def cut(route: Route, body: bytes, *, query: str, headers: Mapping[str, str], limit: int = LIMIT) -> Cut:
    """The items of a body, which is as it was sent. Never raises.

    Names of `headers` are in lower case; Content-Type and Content-Encoding are read.
    `limit` is in bytes, before and after decompression.
    """
    try:
        return _SHAPES[route.shape](_Request(route, body, query, headers, limit))
    except BadBody as error:
        return Cut(route, [], refused=error)
    except Uncut as error:
        return uncut(route, error.reason, error.seen, len(body))


def uncut(route: Route, reason: str, seen: bytes, size: int) -> Cut:
    """A body of `size` bytes that cannot be cut, of which `seen` is known, at least its beginning."""
    for how, other in route.rivals:
        by_list = how == BY_LIST and _names(other.items, seen) and not _names(route.items, seen)
        if by_list or (how == BY_TOKEN and seen.startswith(b"data=")):
            route = other
    status = 413 if reason in (TOO_LARGE, TOO_MANY) else 400
    if route.own or (route.splits and status == 413):
        return Cut(route, [], refused=BadBody(status, f"the body cannot be used: {reason}"))
    envelope = msgspec.json.encode({"uncut": reason, "bytes": size})
    return Cut(route, [json_items.shortened(seen)], envelope, uncut=reason)


def _names(member: str, seen: bytes) -> bool:
    """Whether the beginning of a body looks as if it had a list of this name."""
    return re.search(rb'"%b"\s*:\s*\[' % member.encode(), seen[: json_items.MAX_UNCUT]) is not None


def _native(request: _Request) -> Cut:
    kind = native.check_type(request.headers.get("content-type", ""))
    return Cut(request.route, [*native.events(_decompressed(request), kind)])


def _form(request: _Request) -> Cut:
    """A form of our own is one item, a query string; JSON that is labelled as a form is what it is."""
    data = _decompressed(request)
    text = unwrap.trim(data)
    if unwrap.is_json(text) or not text:
        return Cut(replace(request.route, name="events", shape=NATIVE), [*native.events(data, "")])
    if media(request.headers) == "multipart/form-data":
        return Cut(request.route, [unwrap.form_data(data, request.headers["content-type"])])
    return Cut(request.route, [_whole(unwrap.to_utf8(text, request.limit))])


def _decompressed(request: _Request) -> bytes:
    return content_encoding.decompress(request.body, request.headers.get("content-encoding", ""), request.limit)


def _whole(text: bytes) -> str:
    """A text that is one item. Raises Uncut."""
    if len(text) > MAX_TEXT:
        raise Uncut(TOO_LARGE, text)
    return text.decode()


def _binary(request: _Request) -> Cut:
    """The data of one CloudEvent, whose attributes are headers."""
    text, kind = request.text(), media(request.headers)
    item = json_items.whole(text) if not kind or kind.endswith("json") else None
    return Cut(request.route, [_whole(text) if item is None else item])


def _hook(request: _Request) -> Cut:
    """Whatever another service posts is one item: JSON, or its text. The query string is not kept: it holds secrets."""
    data = _decompressed(request)
    if not unwrap.trim(data):
        raise BadBody(400, "the body is empty")
    if media(request.headers) == "multipart/form-data":
        item: Item = unwrap.form_data(data, request.headers["content-type"])
    else:
        text = unwrap.to_utf8(unwrap.trim(data), request.limit)
        whole = json_items.whole(text)
        item = _whole(text) if whole is None else whole
    return Cut(request.route, [item], request.route.envelope, query="")


def _lines(request: _Request) -> Cut:
    """One item a line; what they share is in the query string."""
    return Cut(request.route, [_line(line) for line in json_items.split(request.text())] or [""])


def _line(text: bytes) -> Item:
    """A line; where it is too large, JSON that says so, which no reader of query strings takes for an event.

    It shows whole pairs: a part of one may hold a part of a password that is not to be told from a host.
    """
    if len(text) <= MAX_TEXT:
        return text.decode()
    shown = json_items.shortened(text).rpartition("&")[0]
    return msgspec.json.encode({"uncut": TOO_LARGE, "bytes": len(text), "text": shown})


def _query(request: _Request) -> Cut:
    """A query string, in the body or beside it, or an object that holds a list of them."""
    text = request.text()
    if not unwrap.is_json(text):
        return Cut(request.route, [_whole(text)])
    found = json_items.read(text, (request.route.items,))
    items = [_unquoted(item) if isinstance(item, bytes) else item for item in found.items]
    return Cut(request.route, items, _envelope(found.rest, {}, len(items)), listed=bool(found.name))


def _unquoted(item: bytes) -> Item:
    """A query string in JSON as the text that it is; anything else stays JSON."""
    return _string.decode(item).removeprefix("?") if item[:1] == b'"' and len(item) <= MAX_TEXT else item


def _json(request: _Request) -> Cut:
    route, size = request.route, len(request.body)
    if route.empty and not request.body:
        return Cut(route, [""])
    encoding = request.headers.get("content-encoding", "")
    unwrapped = unwrap.unwrap(request.body, query=request.query, encoding=encoding, limit=request.limit)
    rivals = {other.items: other for how, other in route.rivals if how == BY_LIST}
    try:
        if not unwrapped.text:
            raise Uncut("the body is empty", request.body)
        names = [name for name in (route.items, *rivals) if name]
        found = json_items.read(unwrapped.text, names, lines=media(request.headers) in _NDJSON)
    except Uncut as error:
        cannot = uncut(_turned_out(route, Found([]), unwrapped), error.reason, error.seen, size)
        return cannot._replace(fields=unwrapped.fields, form=unwrapped.form, query=unwrapped.query)
    return Cut(
        route=rivals.get(found.name, route) if found.name else _turned_out(route, found, unwrapped),
        items=found.items,
        envelope=_envelope(found.rest, unwrapped.fields, len(found.items)),
        fields=unwrapped.fields,
        form=unwrapped.form,
        listed=bool(found.name),
        query=unwrapped.query,
    )


def _turned_out(route: Route, found: Found, unwrapped: Unwrapped) -> Route:
    """The route, or its rival, which a form gives away, or a token among an event's properties."""
    for how, other in route.rivals:
        if how == BY_TOKEN and (unwrapped.form or _has_token(found.items[:1])):
            return other
    return route


def _has_token(items: list[Item]) -> bool:
    try:
        event = _event.decode(items[0])
    except (IndexError, msgspec.DecodeError, RecursionError):
        return False
    return event.properties.token is not _NOTHING and event.api_key is _NOTHING and event.uuid is _NOTHING


def _envelope(rest: Mapping[str, msgspec.Raw] | None, fields: Mapping[str, str], count: int) -> bytes:
    """What surrounds `count` items: the other members of the body, and the other fields of the form it came in."""
    if not rest and not fields and rest is not None:
        return b""
    members = {name: _raw(value) for name, value in fields.items()} | dict(rest or {})
    room = min(MAX_ENVELOPE, MAX_ENVELOPES // max(count, 1))
    if rest is not None:
        envelope = msgspec.json.encode(members)
        if len(envelope) <= room and not json_depth.too_deep(envelope):
            return json_items.on_one_line(envelope)
    members = _fitting(members, room - len(_LEFT_OUT)) | {"left_out": _LEFT_OUT}
    return json_items.on_one_line(msgspec.json.encode(members))


def _fitting(members: Mapping[str, msgspec.Raw], room: int) -> dict[str, msgspec.Raw]:
    """Those that fit into so many bytes, small ones before large ones: who and when is short."""
    kept = set()
    for size, name in sorted((len(memoryview(value)) + 6 * len(name) + 4, name) for name, value in members.items()):
        room -= size
        if room < 0:
            break
        if json_depth.first_too_deep(bytes(members[name]), json_depth.DEEPEST - 1) is None:
            kept.add(name)
    return {name: value for name, value in members.items() if name in kept}


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(hit.text(text))


_SHAPES: Mapping[str, Callable[[_Request], Cut]] = {
    NATIVE: _native,
    FORM: _form,
    JSON: _json,
    QUERY: _query,
    LINES: _lines,
    BINARY: _binary,
    HOOK: _hook,
}
