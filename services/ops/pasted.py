"""What a developer pastes, as a request: a URL, a curl command, an HTTP request, or a tracker's payload. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from services.ops import sample
from services.ops.deployment import CommandRefused
from services.ops.sample import Request

_HTTP = re.compile(r"(GET|HEAD|POST) (\S+)(?: HTTP/[0-9.]+)?", re.IGNORECASE)
_DOLLAR_QUOTED = re.compile(r"\$'((?:\\.|[^'\\])*)'", re.DOTALL)  # as browsers copy a request
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}
_DATA = ("-d", "--data", "--data-raw", "--data-ascii", "--data-binary", "--json", "--data-urlencode")
_NAMED = {"-A": "user-agent", "--user-agent": "user-agent", "-e": "referer", "--referer": "referer"} | {
    "-b": "cookie",
    "--cookie": "cookie",
}
# Options of curl that take a value which changes nothing here.
_VALUED = {
    "-o", "--output", "-m", "--max-time", "--connect-timeout", "-w", "--write-out", "-x", "--proxy", "--resolve", "-c",
    "--cookie-jar", "-u", "--user", "--retry", "--cacert", "-E", "--cert",
}  # fmt: skip
_FORM = "application/x-www-form-urlencoded"
_KINDS = ("track", "page", "identify", "screen", "group", "alias")


class Pasted(NamedTuple):
    """`guessed` is the protocol that the payload was taken for, where nobody said."""

    request: Request
    guessed: str | None = None


def read(text: str, protocol: str | None = None) -> Pasted:
    """Raises CommandRefused with one line that says what is wrong."""
    text = text.strip()
    if not text:
        raise CommandRefused("there is nothing to read; paste a URL, a curl command, or what a tracker sends")
    if text.startswith("curl ") or text == "curl":
        return Pasted(_curl(text))
    line, _, rest = text.partition("\n")
    if (found := _HTTP.fullmatch(line.strip())) and protocol is None:
        return Pasted(_http(found, rest))
    if "\n" not in text and re.match(r"https?://|[/?]", text):
        return Pasted(_request(text, None, {}))
    if protocol is None:
        return _payload(text)
    known = sorted({"native", *sample.protocols()} - {"events"})
    if protocol not in known:
        raise CommandRefused(f"protocol {protocol[:40]!r}: use one of {', '.join(known)}")
    return Pasted(sample.request(None, protocol, text.encode(errors="replace"), {}))


def _request(url: str, body: bytes | None, headers: Mapping[str, str]) -> Request:
    url = url.encode(errors="replace").decode()  # JSON can name half a character, which no URL has
    try:
        return sample.request(url, None, body, headers)
    except CommandRefused as error:
        raise CommandRefused(str(error).removeprefix("--url ")) from error


def _headers(lines: Iterator[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not name.isascii() or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not value.isprintable():
            if not colon and not line.strip():
                continue
            raise CommandRefused(f"{line[:60]!r} is not a header; write NAME: VALUE")
        # What is sent is made of the text; what was compressed is not pasted.
        if name.lower() not in ("content-length", "transfer-encoding", "connection", "content-encoding", "host"):
            found[name] = value.encode().decode("latin-1")
    return found


def _http(first: re.Match[str], rest: str) -> Request:
    head, _, body = rest.replace("\r\n", "\n").partition("\n\n")
    posted = first[1].upper() == "POST"
    return _request(first[2], body.encode(errors="replace") if posted else None, _headers(iter(head.split("\n"))))


def _curl(text: str) -> Request:
    text = _DOLLAR_QUOTED.sub(lambda found: shlex.quote(_ESCAPE.sub(_unescaped, found[1])), text)
    try:
        words = iter(shlex.split(text.replace("\\\r\n", " ").replace("\\\n", " "))[1:])
    except ValueError as error:
        raise CommandRefused(f"the curl command cannot be read: {error}") from error
    url, method, get, data = "", "", False, []
    headers: list[str] = []

    def value(option: str) -> str:
        try:
            return next(words)
        except StopIteration:
            raise CommandRefused(f"curl's {option} has no value") from None

    for word in words:
        option, equals, given = word.partition("=") if word.startswith("--") else (word[:2], word[2:], word[2:])
        take: Callable[[], str] = lambda: given if equals else value(option)  # noqa: B023, E731 - called at once
        if not word.startswith("-"):
            url = url or word
        elif option in ("-X", "--request"):
            method = take().upper()
        elif option in ("-H", "--header"):
            headers.append(take())
        elif option in _NAMED:
            headers.append(f"{_NAMED[option]}: {take()}")
        elif option in _DATA:
            if option == "--json":
                headers.append("content-type: application/json")
            data.append(_data(option, take()))
        elif option in ("-F", "--form"):
            raise CommandRefused("curl's --form is not read; paste the request as a URL or with --data")
        elif option in ("-G", "--get"):
            get = True
        elif option == "--url":
            url = take()
        elif option in _VALUED:
            take()
    if not url:
        raise CommandRefused("the curl command has no URL")
    if method and method not in ("GET", "HEAD", "POST"):
        raise CommandRefused(f"the collector takes GET, HEAD and POST, not {method[:20]!r}")
    joined = "&".join(data)
    if get and joined:
        return _request(url + ("&" if "?" in url else "?") + joined, None, _headers(iter(headers)))
    body = joined.encode(errors="replace") if data or method == "POST" else None
    found = _headers(iter(headers))
    if body is not None and all(name.lower() != "content-type" for name in found):
        found["content-type"] = _FORM  # as curl does
    return _request(url, body, found)


def _data(option: str, text: str) -> str:
    if text.startswith("@") and option not in ("--data-raw",):
        raise CommandRefused(f"the file {text[1:61]!r} is not read here; paste what is in it")
    return text


def _unescaped(found: re.Match[str]) -> str:
    if code := found[1] or found[2]:
        return chr(int(code, 16))
    return _ESCAPED.get(found[3], found[3])


def _payload(text: str) -> Pasted:
    """A body without a path: the protocol is guessed by what only it has."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise CommandRefused("this JSON is nested too deeply to be read") from None
    except ValueError as error:
        if _FIRST_LINE_JSON.match(text):
            raise CommandRefused(f"this begins like JSON but is not: {error}") from None
        return _query(text)
    protocol = guess(found)
    body = text.encode(errors="replace")
    return Pasted(sample.request(None, protocol, body, {}), protocol)


_FIRST_LINE_JSON = re.compile(r"[\[{\"]")


def _query(text: str) -> Pasted:
    """What is not JSON: the query string of a pixel, or of a tracker that sends those."""
    names = {pair.partition("=")[0] for pair in text.split("&")}
    if "?" in text.partition("=")[0]:
        raise CommandRefused(f"{text[:60]!r}: begin a URL with https://, http://, / or ?")
    if "=" not in text or any(char.isspace() for char in text):
        raise CommandRefused("this is not a URL, curl command, JSON or query string; paste one of these")
    path, protocol = "/i", "native"
    if "idsite" in names:
        path, protocol = "/matomo.php", "matomo"
    elif {"v", "tid"} <= names:
        path, protocol = "/g/collect", "gtag"
    elif {"e", "p"} <= names:
        protocol = "snowplow"
    return Pasted(_request(f"{path}?{text}", None, {}), protocol)


def guess(found: Any) -> str:
    """The protocol of a JSON body; `native` where nothing says another."""
    one: Any = found[0] if isinstance(found, list) and found else found
    if not isinstance(one, dict):
        return "native"
    items = _first_items(one)
    inner = items.get("batch") or items.get("events") or one
    return next((name for name, test in _TESTS if test(one, inner)), "native")


def _first_items(one: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: value[0]
        for name, value in one.items()
        if isinstance(value, list) and value and isinstance(value[0], dict)
    }


def _library(inner: Mapping[str, Any]) -> str:
    context = inner.get("context")
    library = context.get("library") if isinstance(context, dict) else None
    return str(library.get("name", "")).lower() if isinstance(library, dict) else ""


def _is_segment(one: Mapping[str, Any], inner: Mapping[str, Any]) -> bool:
    if not ({"userId", "anonymousId", "messageId", "writeKey"} & {*inner, *one}):
        return False
    return inner.get("type") in _KINDS or "event" in inner or "traits" in inner


def _properties(inner: Mapping[str, Any]) -> Mapping[str, Any]:
    found = inner.get("properties")
    return found if isinstance(found, dict) else {}


# In order: what is told by less comes later.
_TESTS: tuple[tuple[str, Callable[[Mapping[str, Any], Mapping[str, Any]], bool]], ...] = (
    ("cloudevents", lambda one, _: "specversion" in one and "source" in one),
    ("snowplow", lambda one, _: str(one.get("schema", "")).startswith("iglu:") and "data" in one),
    ("umami", lambda one, _: isinstance(one.get("payload"), dict) and "website" in one["payload"]),
    ("matomo", lambda one, _: isinstance(one.get("requests"), list)),
    ("amplitude", lambda _, inner: "event_type" in inner),
    ("ga4", lambda one, _: ("client_id" in one or "app_instance_id" in one) and "events" in one),
    ("mixpanel", lambda _, inner: "event" in inner and "token" in _properties(inner)),
    ("mixpanel", lambda _, inner: "$distinct_id" in inner and "$token" in inner),
    ("posthog", lambda _, inner: "event" in inner and ("distinct_id" in {*inner, *_properties(inner)})),
    ("rudderstack", lambda one, inner: _is_segment(one, inner) and "rudder" in _library(inner)),
    ("jitsu", lambda one, inner: _is_segment(one, inner) and "jitsu" in _library(inner)),
    ("segment", _is_segment),
    ("plausible", lambda one, _: bool({"n", "name"} & {*one}) and bool({"d", "domain"} & {*one})),
)
