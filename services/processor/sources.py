"""Where values come from: the sources of the schema file, each as a function of an event."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import msgspec

from services.processor import convert, local_time, query
from services.processor.enrich import geo, language, page, referrer, user_agent, utm
from services.processor.event import Event
from services.shared import hit
from services.shared.hit import Hit
from services.shared.schema import ENRICHMENTS, FIXED_SOURCES, IN_A_ZONE, LOOKUP, Source

STAGE = "processor"

Read = Callable[[Event], Any]
Path = tuple[str, ...]  # the way to a value among the parameters: of one, or inside its objects

# What each enrichment derives from the headers and parameters of a hit: a tuple of its sources. None of them raises,
# and none takes a parameter away from the column of `param.*`.
ENRICH: dict[str, Callable[[dict[str, str], dict[str, Any]], tuple[Any, ...]]] = {
    "agent": user_agent.read,
    "referrer": referrer.read,
    "utm": utm.read,
    "url": page.read,
    "language": language.read,
    "geo": geo.read,
}


def own(source: Source, time_zone: str = "UTC") -> Read:
    """A reader of what is not the client's: it has the column's type already."""
    name = source.name
    match source.namespace:
        case "hit":
            read = attrgetter("at" if name == "received_at" else name)
            return lambda event: read(event.hit) or None
        case "event" if name == "problems":
            return lambda event: None  # filled last
        case "event" if str(source) in IN_A_ZONE:
            return local_time.reader(name, time_zone)
        case "event":
            return attrgetter(name)
        case "reject" if name == "hit":
            return lambda event: _original(event.hit)
        case "reject" if name == "stage":
            return lambda event: STAGE
        case "reject":
            return lambda event: getattr(event.reject, name)
        case namespace if namespace in ENRICHMENTS:
            return enrichment(namespace, name)
    raise AssertionError(f"the schema file's check let {source} through")


def finder(name: str) -> Callable[[dict[str, Any]], tuple[Path, Any] | None]:
    """A function that finds the value of a path such as `properties.total`: the way to it, and the value.

    A member's name may have dots itself: at each object the whole rest of the path is tried first.
    """
    parts = name.split(".")
    rests = [".".join(parts[index:]) for index in range(len(parts))]
    ways = [(*parts[:index], rests[index]) for index in range(len(parts))]
    if len(parts) == 2:
        return _finder_of_two(parts[0], ways[1])

    def find(members: dict[str, Any]) -> tuple[Path, Any] | None:
        for index, part in enumerate(parts):
            if index:  # what has the whole name is a parameter of its own
                value = members.get(rests[index])
                if value is not None and (type(value) is not str or value):
                    return ways[index], value
            inner = members.get(part)
            if type(inner) is not dict:
                return None
            members = inner
        return None

    return find


def _finder_of_two(outer: str, way: Path) -> Callable[[dict[str, Any]], tuple[Path, Any] | None]:
    """What most paths are: a member of an object."""
    name = way[1]

    def find(members: dict[str, Any]) -> tuple[Path, Any] | None:
        inner = members.get(outer)
        if type(inner) is not dict:
            return None
        value = inner.get(name)
        # Not `value != ""`: a Decimal takes a microsecond to find that it is not text.
        return (way, value) if value is not None and (type(value) is not str or value) else None

    return find


def raw(source: Source, time_zone: str = "UTC") -> Callable[[Event], tuple[Path, Any]]:
    """A function that returns a value as it was sent and the way to it among the parameters, () for no parameter."""
    name = source.name
    if source.namespace == LOOKUP:
        read = joined(source)
        return lambda event: ((), read(event))
    if source.namespace == "header":
        return lambda event: ((), event.hit.headers.get(name) or None)
    if source.namespace != "param":
        read = own(source, time_zone)
        return lambda event: ((), read(event))
    find, way, nothing = finder(name) if "." in name else None, (name,), ((), None)

    def of_parameter(event: Event) -> tuple[Path, Any]:
        value = event.first.get(name)
        if value is not None and (type(value) is not str or value):
            return way, value
        return (find(event.first) if find else None) or nothing

    return of_parameter


def enrichment(namespace: str, name: str) -> Read:
    find, index = enriched(namespace), place(Source(namespace, name))

    def read(event: Event) -> Any:
        found = event.enriched.get(namespace)
        return (find(event) if found is None else found)[index]

    return read


def place(source: Source) -> int:
    """Where the value of an enrichment's source is in what `enriched` finds."""
    return tuple(FIXED_SOURCES[source.namespace]).index(source.name)


def enriched(namespace: str) -> Callable[[Event], tuple[Any, ...]]:
    """A function that finds all of an enrichment, for the first of its columns, and keeps it for the others."""
    enrich = ENRICH[namespace]

    def find(event: Event) -> tuple[Any, ...]:
        found = enrich(event.hit.headers, event.first)
        if namespace == "geo":
            found = _placed(event, found)
        elif namespace == "agent" and event.lookups.sender is not None:
            found = user_agent.by_address(user_agent.Agent(*found), event.lookups.sender(event.hit.ip))
        event.enriched[namespace] = found
        return found

    return find


def joined(source: Source) -> Read:
    """A reader of a lookup's column, as text: in the row of the first of the lookup's keys that has a value."""
    name, _, column = source.name.partition(".")
    keys = [plain(one) for one in source.lookup.by] if source.lookup else []
    kept = f"{LOOKUP}.{name}"

    def read(event: Event) -> Any:
        table = event.lookups.tables.get(name)
        if table is None:  # without the files, as in `pixelpipe check` where they are not mounted
            return None
        row = event.enriched.get(kept)
        if row is None:  # the first of its columns
            key = next((key for get in keys if (key := get(event))), None)
            row = event.enriched[kept] = (table.find(key) if key is not None else None) or ()
        return row[table.columns[column]] if row else None

    return read


def _placed(event: Event, found: tuple[Any, ...]) -> tuple[Any, ...]:
    """Where the balancer says, else the database; of who opted out, without the city.

    The balancer knows no time zones: the database has that of the same country.
    """
    if event.lookups.place is not None:
        place = event.lookups.place(event.hit.ip)
        if found == geo.NOTHING:
            found = place
        elif found[0] == place.country:
            found = geo.Geo(*found)._replace(time_zone=place.time_zone)
    return geo.without_city(found) if event.hit.anonymized else found


def plain(source: Source) -> Callable[[Event], str | None]:
    """A function that returns a source's value as text, for the conditions of a table; None for what is not text."""
    get = raw(source)

    def as_text(event: Event) -> str | None:
        _, value = get(event)
        try:
            return None if value is None else convert.string(value)
        except convert.Invalid:
            return None

    return as_text


def _original(one: Hit) -> str:
    """The hit as JSON; a body that is not JSON is kept as a string."""
    body = bytes(one.body)
    if body:
        try:
            convert.decode_json(body)
        except convert.Invalid:
            one = msgspec.structs.replace(one, body=msgspec.Raw(msgspec.json.encode(query.text(body))))
    return hit.encode(one).decode()
