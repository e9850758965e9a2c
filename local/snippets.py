"""What to put into a page, an app or a server for each protocol, with the collector's address in it. Pure.

The trackers' snippets are those of docs/protocols.md, which have one source; what "fire" sends is what such a tracker
would send, and `tests/local/test_page_api.py` fires each.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "protocols.md"
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROTOCOLS = {
    "Snowplow": "snowplow",
    "Segment": "segment",
    "RudderStack": "rudderstack",
    "Jitsu": "jitsu",
    "PostHog": "posthog",
    "Mixpanel": "mixpanel",
    "Amplitude": "amplitude",
    "Matomo": "matomo",
    "Plausible": "plausible",
    "Umami": "umami",
    "Google Analytics 4: Measurement Protocol": "ga4",
    "Google Analytics 4: gtag.js": "gtag",
    "CloudEvents": "cloudevents",
}
_PACKAGE = re.compile(r"""(?:\bfrom |\brequire\()['"]([^'"]+)['"]""")  # of JavaScript: a browser's or a server's
_LANGUAGES = {"js": "JavaScript", "html": "HTML", "python": "Python"}
_TEXT, _JSON, _FORM = "text/plain", "application/json", "application/x-www-form-urlencoded"
# The collector in the document, as a whole word: static.example.com is another host.
_COLLECTOR = re.compile(r"(https://)?(?<![\w.-])c\.example\.com")
# Trackers that take a host alone talk https to it. How each is told otherwise, for a collector without TLS.
_WITHOUT_TLS = {
    "{ apiHost: 'c.example.com/v1' }": "{ apiHost: 'c.example.com/v1', protocol: 'http' }",
    "{ host: 'c.example.com' }": "{ host: 'c.example.com', protocol: 'http' }",
    'api_host="c.example.com"': ", ".join(
        f'{name}_url="https://c.example.com/{path}"'
        for name, path in (("events", "track"), ("people", "engage"), ("groups", "groups"), ("import", "import"))
    ),
}
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS = re.compile(  # of characters that mean nothing in HTML, JavaScript, Python and a shell
    rf"https?://({_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\])(:[0-9]+)?(/[\w.~-]+)*", re.ASCII | re.IGNORECASE
)
_THIS_MACHINE = re.compile(r"localhost\b|127\.|\[::1\]")
_LONGEST = 253  # characters of an address
_ID = "EVENT-ID"  # what makes the event one of its own: its id, where the protocol has one
_SEGMENT = {
    "type": "track",
    "event": "Order Completed",
    "messageId": _ID,
    "userId": "ada",
    "anonymousId": "browser-1",
    "properties": {"total": 42.5},
}
# Path, media type and body of a POST; without a body a GET. Browsers may send text/plain to another host unasked.
_FIRED: dict[str, tuple[str, str, Any]] = {
    "snowplow": (
        "/com.snowplowanalytics.snowplow/tp2",
        _JSON,
        {
            "schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4",
            "data": [
                {"e": "pv", "url": "https://shop.example.com/", "page": "Home", "uid": "ada", "p": "web", "eid": _ID}
            ],
        },
    ),
    "segment": ("/v1/track", _TEXT, _SEGMENT),
    "rudderstack": ("/beacon/v1/batch", _TEXT, {"batch": [_SEGMENT]}),
    "jitsu": ("/api/s/track", _TEXT, _SEGMENT),
    "posthog": (
        "/e",
        _TEXT,
        {
            "event": "Order Completed",
            "uuid": _ID,
            "distinct_id": "ada",
            "properties": {"distinct_id": "ada", "total": 42.5},
        },
    ),
    "mixpanel": (
        "/track",
        _TEXT,
        [
            {
                "event": "Order Completed",
                "properties": {"token": "KEY", "distinct_id": "ada", "$insert_id": _ID, "total": 42.5},
            }
        ],
    ),
    "amplitude": (
        "/2/httpapi",
        _TEXT,
        {
            "api_key": "KEY",
            "events": [
                {
                    "event_type": "Order Completed",
                    "insert_id": _ID,
                    "user_id": "ada",
                    "event_properties": {"total": 42.5},
                }
            ],
        },
    ),
    "matomo": (
        f"/matomo.php?idsite=1&rec=1&uid=ada&action_name=Home&url=https%3A%2F%2Fshop.example.com%2F&rand={_ID}",
        "",
        None,
    ),
    "plausible": (
        "/api/event",
        _TEXT,
        {
            "n": "Order Completed",
            "u": "https://shop.example.com/",
            "d": "shop.example.com",
            "p": {"plan": "pro", "order": _ID},
        },
    ),
    "umami": (
        "/api/send",
        _JSON,
        {
            "type": "event",
            "payload": {
                "website": "KEY",
                "hostname": "shop.example.com",
                "url": "/",
                "name": "Order Completed",
                "id": "ada",
                "data": {"total": 42.5, "order": _ID},
            },
        },
    ),
    "ga4": (
        "/mp/collect?measurement_id=G-1",
        _TEXT,
        {
            "client_id": "1.2",
            "user_id": "ada",
            "events": [{"name": "purchase", "params": {"value": 42.5, "transaction_id": _ID}}],
        },
    ),
    "gtag": (
        f"/g/collect?v=2&tid=G-1&cid=1.2&uid=ada&en=purchase&dl=https%3A%2F%2Fshop.example.com%2F&ep.transaction_id={_ID}",
        "",
        None,
    ),
    "cloudevents": (
        "/events",
        "application/cloudevents+json",
        {
            "specversion": "1.0",
            "id": _ID,
            "source": "/orders",
            "type": "order.placed",
            "subject": "ada",
            "data": {"total": 42.5},
        },
    ),
}
# What identifies the event where that is not the marker itself.
_EVENT_IDS = {"cloudevents": f"/orders#{_ID}", **dict.fromkeys(("matomo", "plausible", "umami", "ga4", "gtag"))}
_EVENT = {"user_id": "ada", "type": "order", "properties": {"total": 42.5}}
_OWN: dict[str, tuple[str, str, Any]] = {
    "pixel": (f"/pixel.gif?user_id=ada&type=view&event_id={_ID}", "", None),
    "post": ("/events", _TEXT, {**_EVENT, "event_id": _ID}),
    "form": ("/events", _FORM, f"user_id=ada&type=subscribe&plan=pro&event_id={_ID}"),
}


def snippets(collector: str, marker: str, shown: str | None = None) -> list[dict[str, Any]]:
    """{protocol, name, language, text, fires} of each. `text` has the address `shown`, else that of `collector`.

    `fires` is {method, url, headers, body, marker, event_id}, a request to `collector`, which holds `marker` once.
    `event_id` is that of the event it becomes, or null where the protocol knows none and the collector gives it one.
    """
    host = shown or collector
    own = {protocol: _request(collector, *request, marker) for protocol, request in _OWN.items()}
    return [
        *(_snippet(protocol, name, language, text, own[protocol]) for protocol, name, language, text in _own(host)),
        *_of_trackers(host, collector, marker),
    ]


def address(text: str) -> str:
    """A collector's address as someone typed it: [http(s)://]HOST[:PORT][/PATH].

    Without a scheme it is https, or http on this machine. Raises ValueError for what could break a snippet.
    """
    found = text.strip().rstrip("/")
    if "://" not in found:
        found = f"{'http' if _THIS_MACHINE.match(found) else 'https'}://{found}"
    try:
        if len(found) > _LONGEST or not _ADDRESS.fullmatch(found):
            raise ValueError
        place = urlsplit(found)
        if place.port == 0:
            raise ValueError
    except ValueError:  # of urlsplit too: a port that is none, brackets around no address
        raise ValueError(f"{text[:40]!r} is no address of a collector: use one such as https://t.example.com") from None
    return f"{place.scheme}://{place.netloc.lower()}{place.path}"


def _request(
    collector: str, path: str, media: str, body: Any, marker: str, event_id: str | None = _ID
) -> dict[str, Any]:
    text = body if body is None or isinstance(body, str) else json.dumps(body)
    return {
        "method": "GET" if text is None else "POST",
        "url": collector + path.replace(_ID, marker),
        "headers": {} if text is None else {"content-type": media},
        "body": text and text.replace(_ID, marker),
        "marker": marker,
        "event_id": event_id and event_id.replace(_ID, marker),
    }


def _own(host: str) -> list[tuple[str, str, str, str]]:
    """(protocol, name, language, text)"""
    pixel = f"{host}/pixel.gif?user_id=ada&type=view"
    event = json.dumps(_EVENT)
    beacon = f"navigator.sendBeacon('{host}/events', JSON.stringify({event}));"
    server = f"import requests\nrequests.post('{host}/events', json={_EVENT!r})"
    form = (
        f'<form method="post" action="{host}/events">\n  <input name="user_id" value="ada">\n'
        '  <input type="hidden" name="type" value="subscribe">\n  <button>Subscribe</button>\n</form>'
    )
    return [
        ("pixel", "Pixel", "HTML", f'<img src="{html.escape(pixel)}" width="1" height="1" alt="">'),
        ("pixel", "Pixel", "Shell", f"curl -o /dev/null '{pixel}'"),
        ("post", "Event as JSON", "JavaScript", beacon),
        ("post", "Event as JSON", "Python", server),
        ("post", "Event as JSON", "Shell", f"curl -H 'content-type: application/json' -d '{event}' '{host}/events'"),
        ("form", "Form", "HTML", form),
    ]


def _snippet(protocol: str, name: str, language: str, text: str, fires: dict[str, Any]) -> dict[str, Any]:
    return {"protocol": protocol, "name": name, "language": language, "text": text, "fires": fires}


def _of_trackers(host: str, collector: str, marker: str) -> list[dict[str, Any]]:
    document = DOCUMENT.read_text(encoding="utf-8")
    found = []
    parts = _HEADING.split(document)
    for name, section in zip(parts[1::2], parts[2::2], strict=True):
        protocol = _PROTOCOLS.get(name)
        if protocol is None:
            continue
        fires = _request(collector, *_FIRED[protocol], marker, _EVENT_IDS.get(protocol, _ID))
        for language, text in _BLOCK.findall(section):
            text = _of_collector(text, host)
            shown = _LANGUAGES.get(language, language)
            if language == "js" and (package := _PACKAGE.search(text)):
                shown += f", {package[1]}"
            found.append(_snippet(protocol, name, shown, text.rstrip("\n"), fires))
    return found


def _of_collector(text: str, host: str) -> str:
    """A snippet of the document with this address."""
    scheme, _, bare = host.partition("://")
    if scheme == "http":
        for with_tls, without in _WITHOUT_TLS.items():
            text = text.replace(with_tls, without)
    return _COLLECTOR.sub(lambda found: host if found[1] else bare, text)
