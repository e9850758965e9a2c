"""The views and the table function for analysts: which a schema file allows, and their SQL. Pure.

All read the views of the tables, so events count once. Those with `days=True` keep the day apart, so a filter on `day`
reads no other partition; `sessions` reads the day before and the day after too. The others are about people, and read
all days: no view can know who was there before from the days that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from services.provision import analyst_sql, funnel_sql
from services.provision.analyst_columns import Columns
from services.provision.analyst_sql import IDS
from services.provision.view import quoted
from services.shared.schema import EVENTS, REJECTS, Schema, Table

# Columns that only a table with such a value has.
_OPTIONAL = ("tenant", "user_id", "title", "referrer", "total", "currency")

# Of the columns of all of them, by name; the others are STRING.
_TYPES = {
    "DATE": ("day", "cohort"),
    "TIMESTAMP": (
        "received_at",
        *("viewed_at", "began", "ended", "first_seen", "last_seen", "identified_at", "ordered_at", "minute"),
        *("first_received", "last_received"),
    ),
    "INT64": (
        *("seconds", "events", "pages", "orders", "days", "visitors", "users", "sessions", "new_visitors"),
        *("first_touch_orders", "last_touch_orders", "days_later", "cohort_visitors", "step", "rejects", "problems"),
    ),
    "NUMERIC": ("total", "first_touch_total", "last_touch_total"),
    "FLOAT64": ("from_previous", "from_first"),
    "BOOL": ("engaged", "identified_later"),
}
TYPES = {name: type_ for type_, names in _TYPES.items() for name in names}

Query = Callable[..., str]


@dataclass(frozen=True)
class Argument:
    type: str
    description: str


@dataclass(frozen=True)
class AnalystView:
    """`query` makes, of a table's columns and its view's name, SQL that ends in a WITH item `found`.

    `columns` are its columns and what they mean. `needs` are values of which the table must have one. With `arguments`
    it is a table function.
    """

    name: str
    description: str
    columns: Mapping[str, str]
    query: Query
    days: bool = True
    needs: tuple[str, ...] = ()
    table: str = EVENTS
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    stored: bool = False  # whether `query` takes its table, the other tables, and PROJECT.DATASET as well

    def missing(self, schema: Schema) -> str | None:
        """Why it cannot be made of this file; None if it can."""
        if self.name in {name.lower() for name in schema.tables}:
            return "the schema file has a table of this name"
        if lacking := self.lacking(schema):
            return lacking
        if not self.days and schema.tables[self.table].require_partition_filter:
            return f"it reads all days, and {self.table} has require_partition_filter"
        return None

    def lacking(self, schema: Schema) -> str | None:
        """What it needs and the file does not have; None if there is nothing."""
        table = schema.tables.get(self.table)
        if table is None:
            return f"the schema file has no table {self.table}"
        has = Columns(table).has
        if self.needs and not any(has(name) for name in self.needs):
            return f"{self.table} has no column for {' or '.join(self.needs)}"
        if taken := next((one.name for one in table.columns if one.name.lower() in self.arguments), None):
            return f"{self.table} has a column {taken}, which is the name of a parameter"
        return None

    def described(self, table: Table) -> dict[str, str]:
        """Its columns over this table, with their descriptions."""
        has = Columns(table).has
        return {name: text for name, text in self.columns.items() if name not in _OPTIONAL or has(name)}

    def sql(self, schema: Schema, project: str, dataset: str) -> str:
        table = schema.tables[self.table]
        listed = ",\n".join(f"  {quoted(name)}" for name in self.described(table))
        place = f"{project}.{dataset}"
        others = [one for one in schema.tables.values() if one is not table]
        more = (table, others, place) if self.stored else ()
        query = self.query(Columns(table), f"`{place}.{table.name}`", *more)
        return f"WITH {query}\nSELECT\n{listed}\nFROM found"


def wanted(schema: Schema) -> tuple[AnalystView, ...]:
    """Those that the file names; all that its columns allow, if it names none. `missing` says which cannot be made."""
    if schema.views is not None:
        return tuple(one for one in ALL if one.name in schema.views)
    return tuple(one for one in ALL if one.lacking(schema) is None)


_DAY = {"day": "UTC day of the events; filter on it", "tenant": "Whose events they are"}
_PERSON = {
    "visitor": "The user id; else the one that the same browser sent elsewhere that day; else the browser's id",
    "user_id": "The user, as the event says",
}
_FROM = {
    "source": "utm_source, else the host of another site that led here, else direct",
    "medium": "utm_medium, else referral, or none where the source is direct",
    "campaign": "utm_campaign",
}
_COUNTS = {"events": "Events", "pages": "Page views", "orders": "Orders"}

ALL = (
    AnalystView(
        "page_views",
        "One row for each page view",
        {
            **_DAY,
            "event_id": "The event",
            "viewed_at": "When: event_time, else received_at",
            **_PERSON,
            "url": "The page's address",
            "host": "The host in it",
            "path": "The path in it",
            "title": "The page's title",
            "referrer": "The page before",
            **_FROM,
        },
        analyst_sql.page_views,
        needs=("url", "type"),
    ),
    AnalystView(
        "sessions",
        "One row for each visit of a browser: it ends after 30 minutes without an event, and not at midnight",
        {
            **_DAY,
            "day": "UTC day of the first event; filter on it",
            "session": "Event id of the first event",
            "visitor": "The user id if an event of the visit has one, else the browser's id",
            "user_id": "The last user id in the visit",
            "began": "Time of the first event",
            "ended": "Time of the last event",
            "seconds": "Seconds between the two",
            **_COUNTS,
            "entry_page": "Address of the first page",
            "exit_page": "Address of the last page",
            **_FROM,
            "engaged": "Whether it has two pages, an order, or 10 seconds",
        },
        analyst_sql.sessions,
        needs=IDS,
    ),
    AnalystView(
        "visitors",
        "One row for each person, over all days",
        {
            "day": "UTC day of the first event. A filter on it chooses rows, and still reads all days",
            "tenant": "Whose visitor it is",
            "visitor": "The user id; else the one that the same browser sent at any time; else the browser's id",
            "user_id": "The user",
            "first_seen": "Time of the first event",
            "last_seen": "Time of the last event",
            "identified_at": "Time of the first event that has a user id itself",
            "identified_later": "Whether there were events before that",
            **_FROM,
            "entry_page": "Address of the first page",
            "days": "Days with events",
            **_COUNTS,
        },
        analyst_sql.visitors,
        days=False,
        needs=IDS,
    ),
    AnalystView(
        "daily_active",
        "One row for each day: how many people did something",
        {**_DAY, "visitors": "Different visitors", "users": "Different users among them", **_COUNTS},
        analyst_sql.daily_active,
        needs=IDS,
    ),
    AnalystView(
        "orders",
        "One row for each order number of a day, from its first event",
        {
            **_DAY,
            "order_id": "The order number; without one the event id",
            "ordered_at": "When: event_time, else received_at",
            "visitor": _PERSON["visitor"],
            "user_id": "The user, also if the same browser sent it elsewhere that day",
            "total": "The value of the order",
            "currency": "Its currency",
        },
        analyst_sql.orders,
        needs=("type",),
    ),
    AnalystView(
        "campaigns",
        "One row for each day and source: visits, and the orders owed to the first and the last touch, over all days",
        {
            "day": "UTC day of the visits, and of the orders. A filter on it chooses rows, and still reads all days",
            "tenant": _DAY["tenant"],
            **_FROM,
            "sessions": "Visits that came from there",
            "new_visitors": "Those that are a person's first",
            "first_touch_orders": "Orders of people whose first visit came from there",
            "first_touch_total": "Their value",
            "last_touch_orders": "Orders of people whose last visit that was not direct came from there",
            "last_touch_total": "Their value",
        },
        analyst_sql.campaigns,
        days=False,
        needs=IDS,
    ),
    AnalystView(
        "retention",
        "One row for each cohort and day: how many of the people first seen on one day came back, over all days",
        {
            "cohort": "UTC day on which these people were first seen",
            "day": "UTC day on which they were active. A filter on it chooses rows, and still reads all days",
            "tenant": _DAY["tenant"],
            "days_later": "Days from the one to the other",
            "visitors": "How many of them were active",
            "cohort_visitors": "How many of them there are",
        },
        analyst_sql.retention,
        days=False,
        needs=IDS,
    ),
    AnalystView(
        "funnel",
        "One row for each step: how many visitors took it after the steps before it, in that order and in time",
        {
            "tenant": _DAY["tenant"],
            "step": "Its number, from 1",
            "name": "The step",
            "visitors": "How many came this far",
            "from_previous": "Their share of those who took the step before",
            "from_first": "Their share of those who took the first step",
        },
        funnel_sql.query,
        needs=IDS,
        arguments={
            funnel_sql.STEPS: Argument(
                "ARRAY<STRING>",
                f"At most {funnel_sql.MAX_STEPS}, each `page_view`, `order`, another type in lower case, or a page's "
                "path such as `/cart`",
            ),
            funnel_sql.WITHIN: Argument("INT64", "Minutes from the first step to the last"),
            funnel_sql.FIRST: Argument("DATE", "The first UTC day that is read"),
            funnel_sql.LAST: Argument("DATE", "The last"),
        },
    ),
    AnalystView(
        "live",
        "One row for each of the last 30 minutes",
        {"minute": "The minute", "tenant": _DAY["tenant"], "visitors": "Different visitors", **_COUNTS},
        analyst_sql.live,
    ),
    AnalystView(
        "rejects_by_reason",
        "One row for each day and reason for which events were refused",
        {
            **_DAY,
            "stage": "processor or loader",
            "table": "The table they were meant for",
            "reason": "Why",
            "column": "The column without a usable value",
            "rejects": "How many",
            "first_received": "When the first was received",
            "last_received": "When the last was received",
            "example": "One of them, in words",
        },
        analyst_sql.rejects,
        table=REJECTS,
    ),
    AnalystView(
        "reject_status",
        "One row for each refused event, with the table that has it by now, since it was replayed or sent again",
        {
            **_DAY,
            "event_id": "The event",
            "received_at": "When it was received",
            "stage": "processor or loader",
            "table": "The table it was meant for",
            "reason": "Why it was refused",
            "column": "The column without a usable value",
            "detail": "What was wrong, in words",
            "stored_in": "The table that has the event by now; NULL if none has",
        },
        analyst_sql.reject_status,
        table=REJECTS,
        stored=True,
    ),
    AnalystView(
        "problems_by_column",
        "One row for each day and column whose optional values did not fit",
        {
            **_DAY,
            "column": "The column",
            "reason": "What was wrong",
            "problems": "How many values",
            "events": "In how many events",
            "example": "One of the values",
        },
        analyst_sql.problems,
        needs=("event.problems",),
    ),
)
