"""The pure middle: one hit becomes the typed values of one row or a reject with its reason. Never both, never neither.

It uses no clock, network or logger, and nothing a stranger can send makes it raise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from services.processor import column_readers, compiled_columns, convert, event_day, sample, sources
from services.processor.enrich import referrer, user_agent
from services.processor.event import BAD_BODY as BAD_BODY
from services.processor.event import Event, Problem, gather, rest, with_lookups
from services.processor.lookups import NO_LOOKUPS, Lookups
from services.processor.nested_columns import MISSING, NULL_ELEMENT
from services.processor.partition import Partition, plausible
from services.processor.sources import STAGE as STAGE
from services.shared.hit import Hit
from services.shared.schema import LOOKUP, OPEN_SOURCES, REJECTS, Condition, Schema, Table
from services.shared.tenants import Resolver

NO_TABLE = "no_table"
UNENCODABLE = "unencodable"
UNEXPECTED = "unexpected"
UNKNOWN_TENANT = "unknown_tenant"
LIMITED = "limited"
# Every value of `rejects.reason` at this stage, and so of the metric's label.
REASONS = (
    MISSING, convert.WRONG_TYPE, convert.OUT_OF_RANGE, BAD_BODY, NO_TABLE, UNKNOWN_TENANT, LIMITED, UNENCODABLE,
    UNEXPECTED,
)  # fmt: skip
# Every reason of a problem, and so of that metric's label.
PROBLEMS = (MISSING, convert.WRONG_TYPE, convert.OUT_OF_RANGE, NULL_ELEMENT)

_SENT = (*OPEN_SOURCES, LOOKUP)  # sources of values that may not fit their column


class Row(msgspec.Struct, frozen=True):
    """Typed values in the order of the table's columns, as Arrow takes them: µs for TIMESTAMP, days for DATE.

    `problems` are those of values that did not fit, in columns where that is not the end of the event. `sampled_out`:
    the table's sample leaves it out. `copies` are its rows in tables that take copies, or why there are none.
    """

    table: str
    values: list[Any]
    problems: Sequence[Problem] = ()
    sampled_out: bool = False
    copies: Sequence[Row | Reject] = ()


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


class _Plan:
    """How rows of one table are built: a reader for each column, in order."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.fill = compiled_columns.compiled(table.columns)
        self.readers = [column_readers.reader(column) for column in table.columns]  # after a value that does not fit
        self.any_of = [[column.name for column in table.columns].index(name) for name in table.require_any]
        self.rest = [index for index, column in enumerate(table.columns) if column.sources[0].name == "*"]
        self.problems = [
            index for index, column in enumerate(table.columns) if str(column.sources[0]) == "event.problems"
        ]
        self.conditions = _conditions(table.conditions)
        self.required_if = {
            index: _conditions(column.required_if) for index, column in enumerate(table.columns) if column.required_if
        }
        self.sample = None if table.sample is None else sample.Sample(table)
        # What was given for each column, asked only where that does not fit.
        self.sent = [
            [sources.raw(one) for one in column.sources if one.namespace in _SENT and one.name != "*"]
            for column in table.columns
        ]
        partition = Partition(table)
        self.partition = None if partition.always_fits else partition

    def takes(self, event: Event) -> bool:
        return _hold(self.conditions, event)

    def row(self, event: Event, now: int) -> Row:
        """Raises _Rejection."""
        values = _values(self, event, now)
        out = self.sample is not None and not self.sample.keeps(values, event.id)
        return Row(self.table.name, values, event.problems, out)


class Parser:
    """Parses hits by a schema; build it once. `lookups` say what is known beside the hits."""

    def __init__(self, schema: Schema, lookups: Lookups = NO_LOOKUPS) -> None:
        self.event = with_lookups(lookups)  # what makes an event of a hit
        if schema.asks_for("agent"):
            user_agent.load()
        if schema.asks_for("referrer"):
            referrer.load()
        self._tenants = Resolver(schema.tenants) if schema.tenants else None
        plans = [_Plan(table) for table in schema.tables.values() if table.name != REJECTS]
        self._plans = [plan for plan in plans if not plan.table.copy]
        self._copies = [plan for plan in plans if plan.table.copy]
        self._special = bool(self._copies) or any(plan.sample is not None for plan in plans)
        self._rejects = [
            (column, column_readers.reader(dataclasses.replace(column, required=False)))
            for column in schema.rejects.columns
        ]
        self._rejects_partition = Partition(schema.rejects)

    def parse(self, hit: Hit, now: int) -> Row | Reject:
        """The row of a hit, or why there is none; `now`, microseconds since 1970, decides which days are plausible."""
        try:
            if self._tenants is not None:
                hit = _of_a_tenant(hit, self._tenants)
            event = self.event(hit)
            gather(event)
            if not plausible(hit.at, now):
                raise _Rejection(Reject(convert.OUT_OF_RANGE, "received in no plausible year", value=str(hit.at)))
            plan = self._plan(event)
            event.id = _event_id(event)
            event.day = event_day.of(event.id, event.client_time, hit.at)
            if self._special:
                return self._copied(plan.row(event, now), event, now)
            return Row(plan.table.name, _values(plan, event, now), event.problems)
        except _Rejection as found:
            return found.reject
        except convert.Invalid as error:  # the body
            return Reject(error.reason, error.detail)

    def reject_row(self, hit: Hit, reject: Reject, now: int) -> Row:
        """The row of `rejects` for a refused hit."""
        event = self.event(hit, reject)
        _find_id(event)  # the reason is known already
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

    def _copied(self, row: Row, event: Event, now: int) -> Row:
        """The row with its copies; one that cannot be made costs only itself."""
        copies: list[Row | Reject] = []
        for plan in self._copies:
            if not plan.takes(event):
                continue
            again = event.again()
            gather(again)
            _event_id(again)  # takes it from what is left
            try:
                copies.append(plan.row(again, now))
            except _Rejection as found:
                copies.append(found.reject)
        return msgspec.structs.replace(row, copies=copies) if copies else row

    def _plan(self, event: Event) -> _Plan:
        for plan in self._plans:
            for read, values in plan.conditions:
                if read(event) not in values:
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
    whole = True
    while True:
        try:
            if whole:
                plan.fill(event, values)
            else:
                for read in plan.readers[len(values) :]:
                    values.append(read(event))
            break
        except convert.Invalid as error:
            column, sent = plan.table.columns[len(values)], _sent(event, plan.sent[len(values)])
            if not column.lenient or (column.required_if and _hold(plan.required_if[len(values)], event)):
                sent = convert.shown(sent)
                raise _Rejection(Reject(error.reason, error.detail, plan.table.name, column.name, sent)) from error
            # One optional value that does not fit costs itself, not the event; it stays among the parameters.
            event.note(column.name, error.reason, error.detail, sent)
            values.append([] if column.repeated else None)
            whole = False
        except column_readers.Missing:
            column = plan.table.columns[len(values)]
            places = " or ".join(map(str, column.sources))
            raise _Rejection(Reject(MISSING, f"no value in {places}", plan.table.name, column.name)) from None
    if plan.required_if:
        _check_required(plan, event, values)
    for index in plan.any_of:
        if values[index] is not None:
            break
    else:
        if plan.any_of and not event.hit.anonymized:  # who opted out is meant to be nobody
            detail = f"no value in any of {', '.join(plan.table.require_any)}"
            raise _Rejection(Reject(MISSING, detail, plan.table.name))
    partition = plan.partition
    if partition is not None and not partition.takes(values[partition.index], now):
        column = partition.column
        detail = "the table is partitioned by it, and BigQuery accepts rows from 5 years ago to a year ahead"
        sent = convert.shown(_sent(event, plan.sent[partition.index]))
        raise _Rejection(Reject(convert.OUT_OF_RANGE, detail, plan.table.name, column.name, sent))
    # By now every other column has taken its parameters; the rest comes last, wherever its column is.
    for index in plan.rest:
        values[index] = rest(event)
    if event.problems:
        for index in plan.problems:
            values[index] = msgspec.json.encode(event.problems).decode()
    return values


def _check_required(plan: _Plan, event: Event, values: list[Any]) -> None:
    """Raises _Rejection for a column without a value that its condition requires."""
    for index, conditions in plan.required_if.items():
        if (values[index] is None or values[index] == []) and _hold(conditions, event):
            column = plan.table.columns[index]
            places, why = " or ".join(map(str, column.sources)), " and ".join(map(str, column.required_if))
            detail = f"no value in {places}, which is required if {why}"
            raise _Rejection(Reject(MISSING, detail, plan.table.name, column.name))


_PLACEHOLDER: dict[str, Any] = {
    "STRING": "",
    "INT64": 0,
    "FLOAT64": 0.0,
    "BOOL": False,
    "TIMESTAMP": 0,
    "DATE": 0,
    "DATETIME": 0,
    "TIME": 0,
    "NUMERIC": 0,
    "BIGNUMERIC": 0,
    "BYTES": b"",
    "JSON": "null",
    "STRUCT": {},
}


def _conditions(conditions: Sequence[Condition]) -> list[tuple[Callable[[Event], str | None], frozenset[str]]]:
    return [(sources.plain(one.source), one.values) for one in conditions]


def _hold(conditions: list[tuple[Callable[[Event], str | None], frozenset[str]]], event: Event) -> bool:
    return all(read(event) in values for read, values in conditions)


def event_id(hit: Hit) -> str:
    """The id under which an event is stored, as a row or a reject: its own, else that of the hit."""
    event = Event(hit)
    _find_id(event)
    return event.id


def _find_id(event: Event) -> None:
    """Gather the event, and give it the id of its own; where there is none that can be read, the hit's will do."""
    try:
        gather(event)
        event.id = _event_id(event)
    except (_Rejection, convert.Invalid):
        pass


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


def _sent(event: Event, places: Sequence[Callable[[Event], tuple[sources.Path, Any]]]) -> Any:
    """What was sent for a column whose value does not fit; None if that is not the client's."""
    for get in places:
        _, value = get(event)
        if value is not None and value != "":
            return value
    return None
