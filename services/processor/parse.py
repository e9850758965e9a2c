"""The pure middle: one hit becomes the typed values of one row or a reject with its reason. Never both, never neither.

It uses no clock, network or logger, and nothing a stranger can send makes it raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import msgspec

from services.processor import convert, event_day, query
from services.processor.enrich import geo, referrer, user_agent, utm
from services.processor.event import BAD_BODY as BAD_BODY  # for readers of rejects
from services.processor.event import Event, gather
from services.processor.partition import Partition, plausible
from services.shared import hit
from services.shared.hit import Hit
from services.shared.schema import ENRICHMENTS, FIXED_SOURCES, OPEN_SOURCES, REJECTS, Column, Schema, Source, Table
from services.shared.tenants import Resolver

STAGE = "processor"
NO_TABLE = "no_table"
MISSING = "missing"
UNENCODABLE = "unencodable"
UNEXPECTED = "unexpected"
UNKNOWN_TENANT = "unknown_tenant"
LIMITED = "limited"
# Every value of `rejects.reason` at this stage, and so of the metric's label.
REASONS = (
    MISSING, convert.WRONG_TYPE, convert.OUT_OF_RANGE, BAD_BODY, NO_TABLE, UNKNOWN_TENANT, LIMITED, UNENCODABLE,
    UNEXPECTED,
)  # fmt: skip

MAX_VALUE = 256  # characters of a refused value kept beside its reason; the whole hit is kept too


# What each enrichment derives from the headers and parameters of a hit: a tuple of its sources. None of them raises,
# and none takes a parameter away from the column of `param.*`.
ENRICH: dict[str, Callable[[dict[str, str], dict[str, Any]], tuple[Any, ...]]] = {
    "agent": user_agent.read,
    "referrer": referrer.read,
    "utm": utm.read,
    "geo": geo.read,
}


class Row(msgspec.Struct, frozen=True):
    """Typed values in the order of the table's columns, as Arrow takes them: µs for TIMESTAMP, days for DATE."""

    table: str
    values: list[Any]


class Reject(msgspec.Struct, frozen=True):
    """Why an event is not a row: a reason of REASONS, the column and value to blame, if any, and an explanation."""

    reason: str
    detail: str
    table: str | None = None
    column: str | None = None
    value: str | None = None


class _Rejection(Exception):
    def __init__(self, reject: Reject) -> None:
        self.reject = reject


class _Missing(Exception):
    """A required column has no value."""


class _Plan:
    """How rows of one table are built: a reader for each column, in order."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.readers = [_required(column) if column.required else _read(column) for column in table.columns]
        self.any_of = [[column.name for column in table.columns].index(name) for name in table.require_any]
        self.rest = [index for index, column in enumerate(table.columns) if column.sources[0].name == "*"]
        partition = Partition(table)
        self.partition = None if partition.always_fits else partition


class Parser:
    """Parses hits by a schema; build it once."""

    def __init__(self, schema: Schema) -> None:
        if schema.asks_for("agent"):
            user_agent.load()
        self._tenants = Resolver(schema.tenants) if schema.tenants else None
        self._plans = [_Plan(table) for table in schema.tables.values() if table.name != REJECTS]
        self._rejects = [(column, _read(column)) for column in schema.rejects.columns]
        self._rejects_partition = Partition(schema.rejects)

    def parse(self, hit: Hit, now: int) -> Row | Reject:
        """The row of a hit, or why there is none; `now`, microseconds since 1970, decides which days are plausible."""
        try:
            if self._tenants is not None:
                hit = _of_a_tenant(hit, self._tenants)
            event = Event(hit)
            gather(event)
            if not plausible(hit.at, now):
                raise _Rejection(Reject(convert.OUT_OF_RANGE, "received in no plausible year", value=str(hit.at)))
            plan = self._plan(event)
            event.id = _event_id(event)
            event.day = event_day.of(event.id, event.client_time, hit.at)
            return Row(plan.table.name, _values(plan, event, now))
        except _Rejection as found:
            return found.reject
        except convert.Invalid as error:  # the body
            return Reject(error.reason, error.detail)

    def reject_row(self, hit: Hit, reject: Reject, now: int) -> Row:
        """The row of `rejects` for a refused hit."""
        event = Event(hit, reject)
        try:
            gather(event)
            event.id = _event_id(event)
        except (_Rejection, convert.Invalid):
            pass  # the hit's own id will do, and the reason is known already
        received = hit.at if plausible(hit.at, now) else now
        event.day = event_day.of(event.id, event.client_time, received)
        values: list[Any] = []
        for column, read in self._rejects:
            try:
                value = read(event)
            except convert.Invalid:
                # One of the user's own columns, whose value is what was refused; the hit holds it.
                value = None
            values.append(_PLACEHOLDER[column.type] if value is None and column.required else value)
        partition = self._rejects_partition
        if not partition.takes(values[partition.index], now):
            values[partition.index] = partition.of(received)
        return Row(REJECTS, values)

    def _plan(self, event: Event) -> _Plan:
        for plan in self._plans:
            for condition in plan.table.conditions:
                if _plain(event, condition.source) not in condition.values:
                    break
            else:
                return plan
        raise _Rejection(Reject(NO_TABLE, "no table of the schema file takes this event"))


def _of_a_tenant(hit: Hit, tenants: Resolver) -> Hit:
    """The hit with its tenant, which the collector found unless there were none then. Raises _Rejection."""
    if hit.limited:
        raise _Rejection(Reject(LIMITED, "its tenant sent more than its rate allows"))
    if hit.tenant:
        return hit
    if tenant := tenants.again(hit.headers.get("host", ""), hit.path):
        return msgspec.structs.replace(hit, tenant=tenant)
    raise _Rejection(Reject(UNKNOWN_TENANT, "no tenant of the schema file has its key, host or path"))


def _values(plan: _Plan, event: Event, now: int) -> list[Any]:
    values: list[Any] = []
    try:
        for read in plan.readers:
            values.append(read(event))
    except convert.Invalid as error:
        column = plan.table.columns[len(values)]
        sent = _sent(event, column)
        raise _Rejection(Reject(error.reason, error.detail, plan.table.name, column.name, sent)) from error
    except _Missing:
        column = plan.table.columns[len(values)]
        sources = " or ".join(map(str, column.sources))
        raise _Rejection(Reject(MISSING, f"no value in {sources}", plan.table.name, column.name)) from None
    # Who opted out is meant to be nobody.
    if plan.any_of and not event.hit.anonymized and all(values[index] is None for index in plan.any_of):
        raise _Rejection(Reject(MISSING, f"no value in any of {', '.join(plan.table.require_any)}", plan.table.name))
    partition = plan.partition
    if partition is not None and not partition.takes(values[partition.index], now):
        column = partition.column
        detail = "the table is partitioned by it, and BigQuery accepts rows from 5 years ago to a year ahead"
        raise _Rejection(Reject(convert.OUT_OF_RANGE, detail, plan.table.name, column.name, _sent(event, column)))
    # By now every other column has taken its parameters; the rest comes last, wherever its column is.
    for index in plan.rest:
        values[index] = _rest(event)
    return values


_PLACEHOLDER: dict[str, Any] = {
    "STRING": "", "INT64": 0, "FLOAT64": 0.0, "BOOL": False, "TIMESTAMP": 0, "DATE": 0, "NUMERIC": 0, "JSON": "null",
}  # fmt: skip


def _event_id(event: Event) -> str:
    given = event.first.get("event_id")
    if given is None or given == "":
        return event.hit.id
    try:
        text = convert.string(given)
    except convert.Invalid as error:
        raise _Rejection(Reject(error.reason, error.detail, column="event_id")) from error
    event.left.pop("event_id", None)
    if event.hit.index and "event_id" not in event.posted:
        # An id in the query string is shared by all events of the request: each but the first needs its own.
        return f"{text}#{event.hit.index}"
    return text


def _read(column: Column) -> Callable[[Event], Any]:
    """A function that returns a column's typed value, or None; it raises convert.Invalid."""
    if all(source.namespace == "param" and source.name != "*" for source in column.sources):
        return _parameter([source.name for source in column.sources], column.type)
    readers = [_reader(source, column.type) for source in column.sources]
    if len(readers) == 1:
        return readers[0]

    def first_of(event: Event) -> Any:
        for read in readers:
            value = read(event)
            if value is not None:
                return value
        return None

    return first_of


def _required(column: Column) -> Callable[[Event], Any]:
    """The same for a column that must have a value; without one it raises _Missing."""
    read = _read(column)

    def required(event: Event) -> Any:
        value = read(event)
        if value is None:
            raise _Missing
        return value

    return required


def _reader(source: Source, kind: str) -> Callable[[Event], Any]:
    name = source.name
    match source.namespace:
        case "param" if name == "*":
            return lambda event: None  # filled once all other columns have taken theirs
        case "param":
            return _parameter([name], kind)
        case "header":
            converter = convert.json_from_text if kind == "JSON" else convert.CONVERTERS[kind]
            return lambda event: converter(value) if (value := event.hit.headers.get(name)) else None
        case "hit":
            read = attrgetter("at" if name == "received_at" else name)
            return lambda event: read(event.hit) or None
        case "event":
            return attrgetter(name)
        case "reject" if name == "hit":
            return lambda event: _original(event.hit)
        case "reject" if name == "stage":
            return lambda event: STAGE
        case "reject":
            return lambda event: getattr(event.reject, name)
        case namespace if namespace in ENRICHMENTS:
            return _enrichment(namespace, name)
    raise AssertionError(f"the schema file's check let {source} through")


def _parameter(names: list[str], kind: str) -> Callable[[Event], Any]:
    """A reader of the first of several parameters that has a value."""
    converter = convert.CONVERTERS[kind]
    from_text = convert.json_from_text if kind == "JSON" else converter
    is_text = kind == "STRING"

    def read(event: Event) -> Any:
        first = event.first
        for name in names:
            value = first.get(name)
            if value is not None and value != "":
                if not is_text or type(value) is not str:  # a text is a STRING as is
                    value = converter(value) if name in event.posted else from_text(value)
                event.left.pop(name, None)
                return value
        return None

    return read


def _enrichment(namespace: str, name: str) -> Callable[[Event], Any]:
    enrich, index = ENRICH[namespace], tuple(FIXED_SOURCES[namespace]).index(name)

    def read(event: Event) -> Any:
        found = event.enriched.get(namespace)
        if found is None:  # the first of its columns
            found = enrich(event.hit.headers, event.first)
            if namespace == "geo" and event.hit.anonymized:
                found = geo.without_city(found)
            event.enriched[namespace] = found
        return found[index]

    return read


def _rest(event: Event) -> str | None:
    """All values that no column took, as a JSON object; several values of one name are an array."""
    left = event.left
    for name, values in event.more.items():
        if name in left:
            left[name] = [left[name], *values]
        else:
            left[name] = values[0] if len(values) == 1 else values
    return convert.encode_json(left) if left else None


def _original(one: Hit) -> str:
    """The hit as JSON; a body that is not JSON is kept as a string."""
    body = bytes(one.body)
    if body:
        try:
            convert.decode_json(body)
        except convert.Invalid:
            one = msgspec.structs.replace(one, body=msgspec.Raw(msgspec.json.encode(query.text(body))))
    return hit.encode(one).decode()


def _plain(event: Event, source: Source) -> str | None:
    """A source's value as text, for the conditions of a table."""
    if source.namespace == "param":
        value = event.first.get(source.name)
        try:
            return None if value is None else convert.string(value)
        except convert.Invalid:
            return None
    if source.namespace == "header":
        return event.hit.headers.get(source.name)
    if source.namespace in ENRICHMENTS:
        value = _enrichment(source.namespace, source.name)(event)
        return None if value is None else convert.string(value)
    value = getattr(event.hit, source.name)
    return str(value) if value else None


def _sent(event: Event, column: Column) -> str | None:
    """What was sent for a refused column, as text, truncated."""
    for source in column.sources:
        given: Mapping[str, Any] = event.first if source.namespace == "param" else event.hit.headers
        value = given.get(source.name) if source.namespace in OPEN_SOURCES else None
        if value is not None and value != "":
            text = value if isinstance(value, str) else convert.encode_json(value)
            return text[:MAX_VALUE]
    return None
