"""The generated parts of docs/protocols.md: what becomes of each protocol's fields, and the paths."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable

from services.collector import replies
from services.collector.replies import Asked
from services.collector.routes import ANSWERED, DROPPED, NAMES, PROTOCOLS, ROUTES, Route
from services.processor.protocols.readers import READERS
from tests.docs.markers import table

DOCUMENT = "docs/protocols.md"
# Headings of the document, by protocol.
HEADINGS = {
    "snowplow": "Snowplow",
    "segment": "Segment",
    "rudderstack": "RudderStack",
    "jitsu": "Jitsu",
    "posthog": "PostHog",
    "mixpanel": "Mixpanel",
    "amplitude": "Amplitude",
    "matomo": "Matomo",
    "plausible": "Plausible",
    "umami": "Umami",
    "ga4": "Google Analytics 4: Measurement Protocol",
    "gtag": "Google Analytics 4: gtag.js",
    "cloudevents": "CloudEvents",
}
CONFIGURED = {"hook"}  # sources that have no path until a setting names them
_LONGEST = 60  # characters of a reply that are shown


def parts() -> dict[str, str]:
    """The parts of the document by name."""
    found = {f"fields of {name}": fields(name) for name in sorted(set(map(module, PROTOCOLS)))}
    return found | {"paths": paths(), "names of paths": names()}


def module(protocol: str) -> str:
    """The file of a protocol's reader: `segment` of jitsu too."""
    return READERS[protocol].__module__.rpartition(".")[2]


def fields(name: str) -> str:
    """What becomes of the fields that a reader knows."""
    rows = importlib.import_module(f"services.processor.protocols.{name}").FIELDS
    return table(("what the tracker sends", "becomes"), ([_cell(cell) for cell in row] for row in rows))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def paths() -> str:
    """Every path, those that are alike in one row."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for route in sorted(ROUTES, key=_order):
        methods = ", ".join(route.methods)
        key = (route.protocol, methods, _kept(route), _reply(route), _too_large(route))
        groups.setdefault(key, []).append(f"`{route.path}`" + _others(route))
    rows = ((", ".join(paths), *key) for key, paths in groups.items())
    return table(("path", "protocol", "methods", "kept", "reply", "a body that is too large"), rows)


def _order(route: Route) -> int:
    return list(HEADINGS).index(route.protocol) if route.protocol in HEADINGS else -1


def _others(route: Route) -> str:
    others = dict.fromkeys(
        other.protocol
        for other in (*(other for _, other in route.unless), *(other for _, other in route.rivals))
        if not other.own
    )
    return f" (or {', '.join(others)})" if others else ""


def _kept(route: Route) -> str:
    return {ANSWERED: "nothing to keep", DROPPED: "no, and counted"}.get(route.outcome, "yes")


def _reply(route: Route) -> str:
    """What a client gets that asks for nothing special, by method where they differ."""
    methods = [method for method in ("GET", "POST") if method in route.methods]
    shown = [_answer(route, method) for method in methods]
    if len(set(shown)) == 1:
        return shown[0]
    return "; ".join(f"{method} {text}" for method, text in zip(methods, shown, strict=True))


def _answer(route: Route, method: str) -> str:
    if route.name == "script":
        return "200, our tracker"
    answer = replies.answer(route.reply, Asked(method, route.path))
    if answer.media.startswith("image/"):
        return f"{answer.status}, the image"
    if not answer.media or not answer.body:
        return f"{answer.status}, empty"
    text = answer.body.decode().strip().replace("\n", " ")
    if answer.media.startswith("application/javascript"):
        return f"{answer.status}, a script"
    try:
        json.loads(text)
    except ValueError:
        return f"{answer.status} `{text}`"
    return f"{answer.status} `{text}`" if len(text) <= _LONGEST else f"{answer.status}, JSON"


def _too_large(route: Route) -> str:
    if route.outcome in (ANSWERED, DROPPED) or route.methods == ("GET", "HEAD"):
        return ""
    return "413" if route.own or route.splits else "2xx, a reject"


def names() -> str:
    """What a path of your own can speak."""
    return _sentence(sorted(NAMES)) + "\n"


def _sentence(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def sections() -> set[str]:
    """The headings that the document must have: one for each protocol."""
    return {HEADINGS[protocol] for protocol in PROTOCOLS}
