"""What the views for analysts can read of a table, as SQL: each value by its meaning, whatever the file calls it. Pure.

A value that has a column is read from there, and from `params` where the column is NULL: rows from before the column
existed have it there. One that has no column is read from `params` alone.
"""

from __future__ import annotations

import re

from services.provision.view import quoted, source_column
from services.shared.schema import Column, Table

NOTHING = "CAST(NULL AS STRING)"
# Parameters that hold a value; the first that has one wins. A column of that name or from one of them goes first.
PARAMETERS = {
    "user_id": ("user_id",),
    "anonymous_id": ("anonymous_id",),
    "type": ("type", "event"),
    "url": ("url",),
    "title": ("title",),
    "referrer": ("referrer",),
    "order_id": ("order_id",),
    "total": ("total", "revenue", "value"),
    "currency": ("currency",),
    "utm_source": ("utm_source",),
    "utm_medium": ("utm_medium",),
    "utm_campaign": ("utm_campaign",),
}
# What the collector or the processor fills in; no parameter does.
SOURCES = {
    "tenant": "hit.tenant",
    "visitor_id": "hit.visitor_id",
    "utm_source": "utm.source",
    "utm_medium": "utm.medium",
    "utm_campaign": "utm.campaign",
    "referrer_source": "referrer.source",
    "referrer_medium": "referrer.medium",
}
PAGES = ("page", "page_view", "pageview", "view", "screen", "screen_view")
ORDERS = ("order", "purchase", "transaction", "order completed", "order_completed", "checkout completed")
_TEXT = ("STRING", "INT64", "NUMERIC", "BIGNUMERIC", "FLOAT64", "BOOL")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class Columns:
    """The SQL of each value of one table, under a name that does not depend on the schema file."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._params = next(
            (
                quoted(column.name)
                for column in table.columns
                if column.type == "JSON" and any(str(source) == "param.*" for source in column.sources)
            ),
            None,
        )
        self.day = quoted(source_column(table, "event.day"))

    def has(self, name: str) -> bool:
        return self.value(name) != NOTHING

    def fields(self, *names: str) -> str:
        """`SQL AS name` of each; NULL where the table has no such value."""
        return ",\n".join(f"    {self.value(name)} AS {name.rpartition('.')[2]}" for name in names)

    def value(self, name: str) -> str:
        """SQL of a value; NOTHING where the table has none. A name with a dot is a source of the schema file."""
        if "." in name:
            column = self._table.column_from(name)
            return quoted(column.name) if column else NOTHING
        match name:
            case "event_id":
                return quoted(source_column(self._table, "event.id"))
            case "occurred_at":
                return self._at()
            case "total":
                return self._number(name)
            case "type":
                text = self._text(name)
                return text if text == NOTHING else f"LOWER({text})"
            case "page":
                # Without a type, an event on a page is the image in it being loaded: a view of that page.
                return f"IFNULL({self.value('type')} IN ({_listed(PAGES)}), {self.value('url')} IS NOT NULL)"
            case "ordered":
                return f"IFNULL({self.value('type')} IN ({_listed(ORDERS)}), FALSE)"
            case "browser":
                return _first(self.value("anonymous_id"), self.value("visitor_id"), self.value("user_id"))
            case "source":
                return _first(self._utm("source"), self._text("referrer_source"), self._referring(), "'direct'")
            case "medium":
                medium = f"IF({self._referring()} IS NULL, 'none', 'referral')"
                return _first(self._utm("medium"), self._text("referrer_medium"), medium)
            case "campaign":
                return self._utm("campaign")
        return self._text(name)

    def _at(self) -> str:
        received = quoted(source_column(self._table, "hit.received_at"))
        column = self._column("event_time", ("TIMESTAMP",))
        return received if column is None else f"COALESCE({quoted(column.name)}, {received})"

    def _text(self, name: str) -> str:
        column = self._column(name, _TEXT)
        found = [] if column is None else [_as_text(column)]
        return _first(*found, *self._parameters(name, column))

    def _number(self, name: str) -> str:
        column = self._column(name, ("NUMERIC", "BIGNUMERIC", "FLOAT64", "INT64", "STRING"))
        found = [] if column is None else [f"SAFE_CAST({quoted(column.name)} AS NUMERIC)"]
        found += [f"SAFE_CAST({text} AS NUMERIC)" for text in self._parameters(name, column)]
        return _first(*found) if found else "CAST(NULL AS NUMERIC)"

    def _column(self, name: str, types: tuple[str, ...]) -> Column | None:
        """The column of that meaning: by its source, by its name, or by the parameter it is filled from."""
        columns = (*self._table.columns, *self._table.expressions)
        fits = [column for column in columns if column.scalar and column.type in types]
        wanted = {SOURCES.get(name), *(f"param.{parameter}" for parameter in PARAMETERS.get(name, ()))}
        filled = [(column, str(column.sources[0])) for column in fits if column.sources]
        by_source = [column for column, source in filled if source == SOURCES.get(name)]
        by_name = [column for column in fits if column.name.lower() == name]
        by_parameter = [column for column, source in filled if source in wanted]
        return next(iter((*by_source, *by_name, *by_parameter)), None)

    def _parameters(self, name: str, column: Column | None) -> list[str]:
        """Where the value is in `params`: under the names the column is filled from, then under the usual ones."""
        if self._params is None:
            return []
        own = [source.name for source in (column.sources if column else ()) if source.namespace == "param"]
        names = dict.fromkeys((*own, *PARAMETERS.get(name, ())))
        return [f"JSON_VALUE({self._params}, '$.{one}')" for one in names if _PATH.fullmatch(one)]

    def _utm(self, name: str) -> str:
        """Of the parameter, else of the page's address, as it is written there."""
        url = self.value("url")
        found = [self._text(f"utm_{name}")]
        if url != NOTHING:
            found.append(f"REGEXP_EXTRACT({url}, r'[?&]utm_{name}=([^&#]+)')")
        return _first(*found)

    def _referring(self) -> str:
        """The host of the page before, unless that is the page's own."""
        referrer, url = self.value("referrer"), self.value("url")
        host = f"NET.HOST({referrer})"
        return NOTHING if referrer == NOTHING else f"NULLIF({host}, IFNULL(NET.HOST({url}), ''))"


def _as_text(column: Column) -> str:
    name = quoted(column.name)
    return name if column.type == "STRING" else f"CAST({name} AS STRING)"


def _first(*values: str) -> str:
    found = [value for value in values if value != NOTHING]
    if not found:
        return NOTHING
    return found[0] if len(found) == 1 else f"COALESCE({', '.join(found)})"


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
