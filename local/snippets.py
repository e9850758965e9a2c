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
_TEXT, _JSON = "text/plain", "application/json"
_ID = "EVENT-ID"  # where a protocol has an id that becomes the event's own
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
    "matomo": ("/matomo.php?idsite=1&rec=1&uid=ada&action_name=Home&url=https%3A%2F%2Fshop.example.com%2F", "", None),
    "plausible": (
        "/api/event",
        _TEXT,
        {"n": "Order Completed", "u": "https://shop.example.com/", "d": "shop.example.com", "p": {"plan": "pro"}},
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
                "data": {"total": 42.5},
            },
        },
    ),
    "ga4": (
        "/mp/collect?measurement_id=G-1",
        _TEXT,
        {"client_id": "1.2", "user_id": "ada", "events": [{"name": "purchase", "params": {"value": 42.5}}]},
    ),
    "gtag": ("/g/collect?v=2&tid=G-1&cid=1.2&uid=ada&en=page_view&dl=https%3A%2F%2Fshop.example.com%2F", "", None),
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
_EVENT = {"user_id": "ada", "type": "order", "properties": {"total": 42.5}}


def snippets(host: str, event_id: str) -> list[dict[str, Any]]:
    """{protocol, name, language, text, fires} of each; `host` is the collector's base URL.

    `fires` is {method, url, headers, body, event_id}; its event has this `event_id`, or null where the protocol knows
    none that becomes the event's.
    """
    return [*_own(host, event_id), *_of_trackers(host, event_id)]


def fires(host: str, protocol: str, event_id: str) -> dict[str, Any]:
    """The request that a tracker of this protocol would send."""
    path, media, body = _FIRED[protocol]
    found = _request(host + path, media, body, event_id)
    # The processor puts the source before a CloudEvent's id, so it is not the event's own.
    return {**found, "event_id": None} if protocol == "cloudevents" else found


def _request(url: str, media: str, body: Any, event_id: str) -> dict[str, Any]:
    method, headers = ("GET", {}) if body is None else ("POST", {"content-type": media})
    text = body if body is None or isinstance(body, str) else json.dumps(body)
    found = {"method": method, "url": url.replace(_ID, event_id), "headers": headers}
    has_id = _ID in url or (text is not None and _ID in text)
    return {**found, "body": text and text.replace(_ID, event_id), "event_id": event_id if has_id else None}


def _own(host: str, event_id: str) -> list[dict[str, Any]]:
    pixel = f"{host}/pixel.gif?user_id=ada&type=view"
    shown = html.escape(pixel)
    event = json.dumps(_EVENT)
    beacon = f"navigator.sendBeacon('{host}/events', JSON.stringify({event}));"
    server = f"import requests\nrequests.post('{host}/events', json={_EVENT!r})"
    filled = (
        f'<form method="post" action="{host}/events">\n  <input name="user_id" value="ada">\n'
        '  <input type="hidden" name="type" value="subscribe">\n  <button>Subscribe</button>\n</form>'
    )
    fired = _request(f"{pixel}&event_id={_ID}", "", None, event_id)
    posted = _request(f"{host}/events", _TEXT, {**_EVENT, "event_id": _ID}, event_id)
    form = f"user_id=ada&type=subscribe&plan=pro&event_id={_ID}"
    sent = _request(f"{host}/events", "application/x-www-form-urlencoded", form, event_id)
    curl = f"curl -H 'content-type: application/json' -d '{event}' {host}/events"
    return [
        _snippet("pixel", "Pixel", "HTML", f'<img src="{shown}" width="1" height="1" alt="">', fired),
        _snippet("pixel", "Pixel", "Shell", f"curl -o /dev/null '{pixel}'", fired),
        _snippet("post", "Event as JSON", "JavaScript", beacon, posted),
        _snippet("post", "Event as JSON", "Python", server, posted),
        _snippet("post", "Event as JSON", "Shell", curl, posted),
        _snippet("form", "Form", "HTML", filled, sent),
    ]


def _snippet(protocol: str, name: str, language: str, text: str, fired: dict[str, Any] | None) -> dict[str, Any]:
    return {"protocol": protocol, "name": name, "language": language, "text": text, "fires": fired}


def _of_trackers(host: str, event_id: str) -> list[dict[str, Any]]:
    document = DOCUMENT.read_text(encoding="utf-8")
    found = []
    parts = _HEADING.split(document)
    for name, section in zip(parts[1::2], parts[2::2], strict=True):
        protocol = _PROTOCOLS.get(name)
        if protocol is None:
            continue
        for language, text in _BLOCK.findall(section):
            # Some trackers take a host alone, and talk https to it: those need a name with a certificate.
            text = text.replace("https://c.example.com", host).replace("c.example.com", host.partition("://")[2])
            shown = _LANGUAGES.get(language, language)
            if language == "js" and (package := _PACKAGE.search(text)):
                shown += f", {package[1]}"
            found.append(_snippet(protocol, name, shown, text.rstrip("\n"), fires(host, protocol, event_id)))
    return found
