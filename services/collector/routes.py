"""Which path speaks which protocol: methods, how a body is unwrapped, where its items are, and what is replied.

One row is one path. What an item's fields mean is the processor's business.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from services.collector.capture import plain_path

PROTOCOLS = (
    "amplitude", "cloudevents", "ga4", "gtag", "jitsu", "matomo", "mixpanel", "plausible", "posthog", "rudderstack",
    "segment", "snowplow", "umami",
)  # fmt: skip
PIXELS = ("/pixel.gif", "/pixel.png", "/i")
MAX_PATH = 1_024  # characters of a path whose spelling is looked at

# How a body is cut; cut.py has a function for each.
NATIVE, JSON, QUERY, LINES, FORM, BINARY, HOOK = "native", "json", "query", "lines", "form", "binary", "hook"
# What becomes of a request: hits; nothing, since it asks for a document; nothing, and that is counted.
KEPT, ANSWERED, DROPPED = "kept", "answered", "dropped"
# How a body shows which of two protocols it is.
BY_LIST, BY_TOKEN = "its list", "a token in its properties"

# Not switched off, and answered with an error where a body is wrong.
_OWN = ("pixel", "events", "form", "robots", "script", "redirect", "hook", "gpc")
_NEEDS = {  # what a name of ours that is not there needs
    "script": "its file in the folder PIPE_SCRIPTS",
    "redirect": "PIPE_REDIRECT_HOSTS or PIPE_REDIRECT_KEY_FILE",
    "hook": "its source in PIPE_HOOKS",
}
_GET = ("GET", "HEAD")
_POST = ("POST",)
_PLACE = re.compile(r"\{(\w+)(\*?)\}")
_KEY = re.compile(r"[\w.~-]{1,128}", re.ASCII)
_RENAMED = re.compile(r"(/[!-~]*?)=([A-Za-z0-9_.~-]+)")
_HAS_EVENT = re.compile("(?:^|&)e=[^&]")

Test = Callable[[str, Mapping[str, str]], bool]


@dataclass(frozen=True)
class Route:
    """What is at a path.

    `name` is the protocol, with the kind of call where the path says it, and what a renamed path is given. `items` is
    the member of an object whose array holds the items. `empty` says that a request without a body is one item, its
    query string; `splits` that its clients answer 413 with smaller batches, so that a reject would count them twice.
    `headers` are those that its hits keep beside the usual ones, in lower case; `ce-` is all that begin so. `anonymous`
    is that of them by which a client asks that its address is not kept; `envelope` is what hits carry where that is
    known before a request.
    `unless` are the protocols that a request may turn out to be, `rivals` those that its body may.
    """

    path: str
    name: str
    reply: str
    methods: tuple[str, ...] = _POST
    shape: str = JSON
    items: str = ""
    outcome: str = KEPT
    empty: bool = False
    splits: bool = False
    headers: tuple[str, ...] = ()
    envelope: bytes = b""
    anonymous: str = ""
    unless: tuple[tuple[Test, Route], ...] = ()
    rivals: tuple[tuple[str, Route], ...] = ()

    @property
    def protocol(self) -> str:
        return self.name.partition(".")[0]

    @property
    def own(self) -> bool:
        return self.protocol in _OWN

    @property
    def via(self) -> str:
        """What hits of it carry: "" for our own, forms included; of a hook its name, for who reads them."""
        return self.name if self.protocol == "hook" or not self.own else ""

    @property
    def cloud_events(self) -> bool:
        """Whether a request may turn out to be a CloudEvent."""
        return any(route.protocol == "cloudevents" for route in (self, *(other for _, other in self.unless)))

    def kept(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Those of a request's headers that hits keep because they are of this protocol, by name in lower case."""
        if not self.headers:
            return {}
        return {
            name: value
            for name, value in ((name.lower(), value) for name, value in headers.items())
            if name in self.headers or name[: name.find("-") + 1] in self.headers
        }

    def choose(self, query: str, headers: Mapping[str, str]) -> Route:
        """This route, or the one that the request shows it is. Names of headers are in lower case."""
        for test, other in self.unless:
            if test(query, headers):
                return other
        return self


def _has_event(query: str, _headers: Mapping[str, str]) -> bool:
    return _HAS_EVENT.search(query) is not None


def is_plain(query: bytes) -> bool:
    """Whether a pixel's query string certainly shows no other protocol; a tenth of the time that `choose` takes."""
    return b"&e=" not in query and query[:2] != b"e="


def media(headers: Mapping[str, str]) -> str:
    """The media type of a body, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_form(_query: str, headers: Mapping[str, str]) -> bool:
    return media(headers) in ("application/x-www-form-urlencoded", "multipart/form-data")


def _is_cloud_event(_query: str, headers: Mapping[str, str]) -> bool:
    return media(headers).startswith("application/cloudevents")


def _is_binary_cloud_event(query: str, headers: Mapping[str, str]) -> bool:
    return "ce-id" in headers and not _is_cloud_event(query, headers)


def pixel(path: str) -> Route:
    return Route(path, "pixel", "pixel", _GET, NATIVE)


_SNOWPLOW = Route(
    "/com.snowplowanalytics.snowplow/tp2",
    "snowplow",
    "snowplow",
    (*_GET, *_POST),
    items="data",
    empty=True,
    headers=("sp-anonymous",),
    anonymous="sp-anonymous",
)
_POSTHOG = Route("/e", "posthog", "posthog", (*_GET, *_POST), items="batch")
_MIXPANEL = Route("/track", "mixpanel", "mixpanel", (*_GET, *_POST), splits=True)
_AMPLITUDE = Route("/2/httpapi", "amplitude", "amplitude", items="events", splits=True)
_MATOMO = Route("/matomo.php", "matomo", "matomo", (*_GET, *_POST), QUERY, items="requests", empty=True)
_CE = ("ce-", "content-type")
_BINARY = (_is_binary_cloud_event, Route("/events", "cloudevents.binary", "empty", shape=BINARY, headers=_CE))
_CLOUD_EVENT = Route("/events", "cloudevents", "empty", unless=(_BINARY,))
_EVENTS = Route(
    "/events",
    "events",
    "empty",
    shape=NATIVE,
    unless=(
        _BINARY,
        (_is_cloud_event, replace(_CLOUD_EVENT, unless=())),
        (_is_form, Route("/events", "form", "empty", shape=FORM)),
    ),
)
_KINDS = ("track", "page", "identify", "screen", "group", "alias")
_SHORT_KINDS = (*zip("tpisga", _KINDS, strict=True), ("b", "batch"))


def _document(path: str, name: str, methods: tuple[str, ...] = _GET) -> Route:
    """Something that a tracker asks for before or beside its events."""
    return Route(path, name, name, methods, outcome=ANSWERED)


ROUTES: tuple[Route, ...] = (
    _document("/robots.txt", "robots"),
    Route("/p.js", "script", "", _GET, outcome=ANSWERED),
    *map(pixel, PIXELS[:2]),
    replace(pixel(PIXELS[2]), unless=((_has_event, replace(_SNOWPLOW, path="/i")),)),
    _EVENTS,
    _SNOWPLOW,
    replace(_SNOWPLOW, path="/{vendor}/tp2"),
    *(Route(f"/v1/{kind}", f"segment.{kind}", "segment", items="batch") for kind in (*_KINDS, "batch")),
    *(Route(f"/v1/{short}", f"segment.{kind}", "segment", items="batch") for short, kind in _SHORT_KINDS),
    Route("/v1/import", "segment.batch", "segment", items="batch"),
    _document("/v1/projects/{key}/settings", "segment.settings"),
    Route("/beacon/v1/batch", "rudderstack.batch", "rudderstack", items="batch"),
    _document("/sourceConfig", "rudderstack.settings"),
    *(Route(f"/api/s/{kind}", f"jitsu.{kind}", "jitsu", items="batch") for kind in (*_KINDS, "batch")),
    *(Route(f"/api/s/s2s/{kind}", f"jitsu.{kind}", "jitsu", items="batch") for kind in (*_KINDS, "batch")),
    _POSTHOG,
    *(replace(_POSTHOG, path=path) for path in ("/i/v0/e", "/capture")),
    replace(_POSTHOG, path="/batch", rivals=((BY_LIST, replace(_AMPLITUDE, path="/batch")),)),
    replace(_POSTHOG, path="/track", rivals=((BY_TOKEN, _MIXPANEL),)),
    replace(_POSTHOG, path="/s", name="posthog.replay", outcome=DROPPED),
    *(_document(path, "posthog.flags", (*_GET, *_POST)) for path in ("/flags", "/decide")),
    _document("/array/{key}/config", "posthog.config"),
    _document("/array/{key}/config.js", "posthog.script"),
    _document("/static/{file*}", "posthog.static"),
    replace(_MIXPANEL, path="/engage", name="mixpanel.engage"),
    replace(_MIXPANEL, path="/groups", name="mixpanel.groups"),
    replace(_MIXPANEL, path="/import", name="mixpanel.import", reply="mixpanel.import"),
    _AMPLITUDE,
    *(replace(_MATOMO, path=path) for path in ("/matomo.php", "/piwik.php", "/ppms.php")),
    Route("/api/event", "plausible", "plausible"),
    Route("/api/send", "umami", "umami"),
    Route("/mp/collect", "ga4", "empty", (*_GET, *_POST), items="events"),
    Route("/debug/mp/collect", "ga4.debug", "ga4.debug", (*_GET, *_POST), outcome=DROPPED),
    Route("/g/collect", "gtag", "empty", (*_GET, *_POST), LINES, empty=True),
)


def _names() -> dict[str, Route]:
    """The route that a renamed path becomes, by name."""
    found: dict[str, Route] = {}
    for route in (*ROUTES, _MIXPANEL, _CLOUD_EVENT):
        if route.name != "robots":
            found.setdefault(route.name, route)
    found["pixel"] = pixel("")
    for protocol in PROTOCOLS:  # the kinds of one protocol are read alike: an item says itself which it is
        batch = found.get(f"{protocol}.batch")
        if protocol not in found and batch is not None:
            found[protocol] = replace(batch, name=protocol)
    return found


NAMES: Mapping[str, Route] = _names()


def parse_paths(entries: Sequence[str], names: Mapping[str, Route] = NAMES) -> list[Route]:
    """The routes of more paths: `/x/a=snowplow`, `/x/t=segment.track`, `/open.gif=pixel`, or only `/open.gif`.

    Raises ValueError naming the entry that is wrong.
    """
    found: dict[str, Route] = {}
    for entry in entries:
        path, name = entry, "pixel"
        if "=" in entry:
            parts = _RENAMED.fullmatch(entry)
            if parts is None:
                raise ValueError(f"{_shown(entry)} is not PATH=PROTOCOL, such as /x/a=snowplow or /open.gif=pixel")
            path, name = parts[1], parts[2]
        elif not re.fullmatch("/[!-~]*", entry):
            raise ValueError(f"{_shown(entry)} is not a path that starts with /, without spaces")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(names))}"
            if needed := _NEEDS.get(name.partition(".")[0]):
                raise ValueError(f"{_shown(entry)} needs {needed}")
            raise ValueError(f"{_shown(entry)} names no protocol; {hint}")
        if len(path) > MAX_PATH or len(_PLACE.findall(path)) > 1:
            raise ValueError(f"{_shown(entry)} is too long a path, or has more than one {{…}}")
        if found.setdefault(path, route := replace(names[name], path=path)) != route:
            raise ValueError(f"{_shown(entry)} is a path that another entry has already named")
    return list(found.values())


def _shown(entry: str) -> str:
    return repr(entry if len(entry) <= 80 else entry[:80] + "…")


class Table:
    """Finds the route of a path: `paths` are more of them, as parse_paths reads them, and win over the usual ones.

    Only protocols that are in `protocols` are spoken, and our own. `more` are routes that are there by configuration;
    what is already at the path of one is an error. Raises ValueError for what it cannot read.
    """

    def __init__(
        self, paths: Sequence[str] = (), protocols: Collection[str] = PROTOCOLS, more: Sequence[Route] = ()
    ) -> None:
        for protocol in protocols:
            if protocol not in PROTOCOLS:
                raise ValueError(f"{_shown(protocol)} is not a protocol; use some of {', '.join(PROTOCOLS)}")
        self._exact: dict[str, Route] = {}
        self._patterns: list[tuple[str, str, bool, Route]] = []
        for route in (*parse_paths(paths, {**NAMES, **{route.name: route for route in more}}), *ROUTES):
            if (spoken := _spoken(route, protocols)) is not None:
                self._add(spoken)
        for route in more:
            taken = self.at(route.path)
            if taken is None:
                self._add(route)
            elif taken[0].name != route.name:
                raise ValueError(f"{route.path} is already {taken[0].name}, so it cannot be {route.name}; rename it")

    def _add(self, route: Route) -> None:
        place = _PLACE.search(route.path)
        if place is not None:
            before, after = route.path[: place.start()], route.path[place.end() :]
            self._patterns.append((before, after.rstrip("/"), bool(place[2]), route))
            return
        for path in (route.path, plain_path(route.path), plain_path(route.path).rstrip("/") + "/"):
            self._exact.setdefault(path, route)

    def __iter__(self) -> Iterator[Route]:
        """Every route, once."""
        yield from dict.fromkeys(self._exact.values())
        for *_, route in self._patterns:
            yield route

    def at(self, path: str) -> tuple[Route, str] | None:
        """The route of a path, which is as it was sent, and the key that the path holds, if any; None for no route."""
        route = self._exact.get(path)
        if route is not None:
            return route, ""
        if len(path) > MAX_PATH:
            return None
        plain = plain_path(path)
        route = self._exact.get(plain)
        if route is not None:
            return route, ""
        for before, after, deep, route in self._patterns:
            if plain.startswith(before) and plain.endswith(after):
                key = plain[len(before) : len(plain) - len(after)]
                if deep or _KEY.fullmatch(key):
                    return route, key
        return None


def _spoken(route: Route, protocols: Collection[str]) -> Route | None:
    """The route without the protocols that are not spoken; None if nothing is left of it."""
    rivals = tuple((how, other) for how, other in route.rivals if other.protocol in protocols)
    unless = tuple((test, other) for test, other in route.unless if other.own or other.protocol in protocols)
    if not route.own and route.protocol not in protocols:
        return replace(rivals[0][1], path=route.path) if rivals else None
    return route if (rivals, unless) == (route.rivals, route.unless) else replace(route, rivals=rivals, unless=unless)
