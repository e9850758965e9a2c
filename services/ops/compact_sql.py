"""The statements of compaction. Pure.

All see the rows of one day of one log table in the same way. A *fingerprint* is a digest of a row's key and content:
of all its columns but those that say how it travelled. Rows of one fingerprint are copies of one event. In each key
the rows have *places*, by the window of the view: the view shows place 1. Rows of a key with another fingerprint than
the row in place 1 are another event under the same key, a conflict.

Where days are settled (`services.provision.view`), the row in place 1 is marked, and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from services.provision import view
from services.provision.view import quoted
from services.shared.schema import CONFLICTS, IN_A_ZONE, LOG_SUFFIX, MARK, OPEN_SOURCES, Column, Source, Table

# How the hit of an event travelled, and what follows from that: a client that sends an event again changes them.
# Date and hour are those of the receipt where no event_time is sent; where one is, that is compared itself.
_TRANSPORT = ("hit.received_at", "hit.ip", "header.user-agent", *IN_A_ZONE)
_TRANSPORT_NAMESPACES = ("agent", "geo")
SENT_AT = "sent_at"  # the parameter that says when the client sent it
# When it happened by our clock, if there is the other one beside it: when it happened by the client's, as it was sent.
_CORRECTED, _AS_SENT = "param.event_time", "client_event_time"


@dataclass(frozen=True)
class Statements:
    """Those for one day of one table; `columns` are all of its log table, also those the schema file has lost."""

    table: Table
    project: str
    dataset: str
    columns: Sequence[str]
    day: date

    def count(self) -> str:
        """`found` rows, the `events` that they are, and those `unmarked`."""
        key = ", ".join(map(quoted, self.table.key))
        unmarked = f"COUNTIF({quoted(MARK)} IS NOT TRUE)" if self._marks else "0"
        return (
            "SELECT COUNT(*) AS events, IFNULL(SUM(copies), 0) AS found, IFNULL(SUM(unmarked), 0) AS unmarked\n"  # noqa: S608 - names of the schema file and our own
            f"FROM (SELECT COUNT(*) AS copies, {unmarked} AS unmarked FROM {self._log_table}\n"
            f"  WHERE {self._is_day()} GROUP BY {key})"
        )

    def count_conflicts(self) -> str:
        """`conflicts`: the rows that `move` would append."""
        return f"SELECT COUNT(*) AS conflicts\n{self._conflicts()}"

    def move(self) -> str:
        """Append the first row of each conflict to the table of conflicts, unless its fingerprint is there.

        What is there stays until the rows of the table would expire: `remove` relies on it.
        """
        day, event_id, received_at = (
            quoted(view.source_column(self.table, source)) for source in ("event.day", "event.id", "hit.received_at")
        )
        values = {
            "day": day,
            "table": self._name_of_table,
            "event_id": event_id,
            "received_at": received_at,
            "moved_at": "CURRENT_TIMESTAMP()",
            "fingerprint": f"fingerprint{self._suffix}",
            "key": f"TO_JSON({_struct(map(quoted, self.table.key))}, stringify_wide_numbers => TRUE)",
            "whole_row": f"TO_JSON({_struct(map(quoted, self._content))}, stringify_wide_numbers => TRUE)",
        }
        return (
            f"INSERT INTO {self._conflicts_table} ({', '.join(map(quoted, values))})\n"
            f"SELECT {', '.join(values.values())}\n{self._conflicts()}"
        )

    def remove(self) -> str:
        """Replace all copies of each row that the view shows by one, and take out what is among the conflicts. Where
        rows are marked, all that stay in place 1 are marked then, and no others.

        BigQuery has no row ids, so of two rows that are the same in everything one alone cannot be deleted: all go, and
        one is written again. The source gives up to two rows a fingerprint: the one in place 1, which joins nothing and
        is inserted, and the last, which joins and deletes every copy there was. One statement is one transaction on one
        snapshot: rows appended meanwhile are neither read nor touched, and a statement that is cut off changes nothing.
        A row is deleted only if one of its fingerprint is kept by this statement or was among the conflicts before it.
        A conflict that came too late to be moved stays, without a mark.
        Replacing the partition with a query's result (WRITE_TRUNCATE) would be atomic too, but drops what is appended
        while it runs.

        The constant day on both sides keeps BigQuery to that partition, for what is read and for what is billed.
        """
        first, last, place, step = (self._own(name) for name in ("first_place", "last_place", "place", "step"))
        fingerprint = self._own("fingerprint")
        listed = ", ".join(map(quoted, self._content))
        copies = ", ".join(f"copies.{quoted(name)}" for name in self._content)
        steps, mark, true, marking = "", "", "", ""
        if self._marks:
            steps = f"    WHEN {first} = 1 AND {last} = 1 AND {quoted(MARK)} IS NOT TRUE THEN 'mark'\n"
            steps += f"    WHEN {first} > 1 AND {place} = {last} THEN 'unmark'\n"
            mark, true = f", {quoted(MARK)}", ", TRUE"
            marking = f"WHEN MATCHED AND copies.{step} = 'mark' THEN UPDATE SET {quoted(MARK)} = TRUE\n"
            marking += f"WHEN MATCHED AND copies.{step} = 'unmark' THEN UPDATE SET {quoted(MARK)} = NULL\n"
        return (
            f"MERGE {self._log_table} AS logged\n"  # noqa: S608
            f"USING (\nSELECT {listed}, {fingerprint}, {step}\n"
            f"FROM (\nSELECT *,\n  CASE\n"
            f"    WHEN {first} = 1 AND {last} > 1 AND {place} = 1 THEN 'insert'\n"
            f"    WHEN {first} = 1 AND {last} > 1 AND {place} = {last} THEN 'delete'\n"
            f"    WHEN {first} > 1 AND {place} = {last} AND {fingerprint} IN ({self._known()}) THEN 'delete'\n"
            f"{steps}  END AS {step}\n"
            f"FROM (\n{self._placed()}\n)\n)\n"
            f"WHERE {step} IS NOT NULL\n) AS copies\n"
            f"ON logged.{self._is_day()} AND copies.{step} != 'insert'\n"
            f"  AND {self._fingerprint('logged.')} = copies.{fingerprint}\n"
            f"{marking}"
            "WHEN MATCHED THEN DELETE\n"
            f"WHEN NOT MATCHED AND copies.{step} = 'insert' THEN INSERT ({listed}{mark}) VALUES ({copies}{true})"
        )

    @property
    def _marks(self) -> bool:
        return MARK in self.columns

    @property
    def _content(self) -> list[str]:
        """The columns that are filled from events."""
        return [name for name in self.columns if name != MARK]

    def _own(self, name: str) -> str:
        return name + self._suffix

    @property
    def _suffix(self) -> str:
        """Makes names of our own that no column has."""
        taken, suffix = {name.lower() for name in self._content}, ""
        while any(name + suffix in taken for name in ("fingerprint", "place", "first_place", "last_place", "step")):
            suffix += "_"
        return suffix

    @property
    def _log_table(self) -> str:
        return f"`{self.project}.{self.dataset}.{self.table.log_name}`"

    @property
    def _conflicts_table(self) -> str:
        return f"`{self.project}.{self.dataset}.{CONFLICTS}{LOG_SUFFIX}`"

    @property
    def _name_of_table(self) -> str:
        return f"'{self.table.name}'"

    def _is_day(self) -> str:
        return f"{quoted(view.source_column(self.table, 'event.day'))} = DATE '{self.day}'"

    def _placed(self) -> str:
        """The rows of the day with their place, and the first and last place of their fingerprint."""
        fingerprint, place = f"fingerprint{self._suffix}", f"place{self._suffix}"
        partition, order = view.window(self.table)
        return (
            "  SELECT *,\n"  # noqa: S608
            f"    MIN({place}) OVER (PARTITION BY {fingerprint}) AS first_place{self._suffix},\n"
            f"    MAX({place}) OVER (PARTITION BY {fingerprint}) AS last_place{self._suffix}\n"
            "  FROM (\n"
            # Where the view cannot choose between two events, all statements must choose the same.
            f"    SELECT *, ROW_NUMBER() OVER ({partition} {order}, {fingerprint}) AS {place}\n"
            "    FROM (\n"
            f"      SELECT {', '.join(map(quoted, self.columns))},\n"
            f"        {self._fingerprint()} AS {fingerprint}\n"
            f"      FROM {self._log_table}\n"
            f"      WHERE {self._is_day()}\n"
            "    )\n"
            "  )"
        )

    def _conflicts(self) -> str:
        """FROM and WHERE: the first row of each conflict that has not been moved yet."""
        first, place = f"first_place{self._suffix}", f"place{self._suffix}"
        return (
            f"FROM (\n{self._placed()}\n)\n"
            f"WHERE {first} > 1 AND {place} = {first}\n"
            f"  AND fingerprint{self._suffix} NOT IN ({self._known()})"
        )

    def _known(self) -> str:
        """The fingerprints among the conflicts."""
        return (
            f"SELECT `fingerprint` FROM {self._conflicts_table} "  # noqa: S608
            f"WHERE `day` = DATE '{self.day}' AND `table` = {self._name_of_table}"
        )

    def _fingerprint(self, prefix: str = "") -> str:
        by_name = {column.name: column for column in self.table.columns}
        key = self.table.key
        as_sent = self._as_sent(prefix)
        compared = []
        for name in self._content:
            column = by_name.get(name)
            value = f"{prefix}{quoted(name)}"
            if name in key or column is None or not is_transport(column, self.table):
                if column is not None and any(source.name == "*" for source in column.sources):
                    value = f"JSON_REMOVE({value}, '$.{SENT_AT}') AS {quoted(name)}"
                elif column is not None and name not in key and as_sent and _is_from(column, _CORRECTED):
                    value = f"IF({as_sent} IS NULL, {value}, NULL) AS {quoted(name)}"
                compared.append(value)
        return f"TO_HEX(SHA256(TO_JSON_STRING({_struct(compared)})))"

    def _as_sent(self, prefix: str) -> str:
        """The time by the client's clock, which is NULL where ours did not correct it; "" if no column has it."""
        there = [column for column in self.table.columns if column.name in self._content]
        for column in there:
            if _is_from(column, f"param.{_AS_SENT}"):
                return f"{prefix}{quoted(column.name)}"
        for column in there:
            if _is_from(column, "param.*"):
                return f"JSON_VALUE({prefix}{quoted(column.name)}, '$.{_AS_SENT}')"
        return ""


def expire(table: Table, project: str, dataset: str, last: date) -> str:
    """Delete the table's conflicts up to that day."""
    return (
        f"DELETE FROM `{project}.{dataset}.{CONFLICTS}{LOG_SUFFIX}`\n"  # noqa: S608 - names of the schema file and our own
        f"WHERE `day` <= DATE '{last}' AND `table` = '{table.name}'"
    )


def is_transport(column: Column, table: Table) -> bool:
    """Whether a column of the table says how an event travelled, whatever its name: all of its sources must."""
    return all(_is_transport(source, table) for source in column.sources)


def _is_from(column: Column, source: str) -> bool:
    return source in map(str, column.sources)


def _is_transport(source: Source, table: Table) -> bool:
    """What a lookup says changes with its file; what it was looked up by is compared instead, if the table has that."""
    if source.lookup is not None:
        return all(_is_transport(one, table) or _is_kept(one, table) for one in source.lookup.by)
    return (
        str(source) in _TRANSPORT
        or source.namespace in _TRANSPORT_NAMESPACES
        or (source.namespace in OPEN_SOURCES and source.name == SENT_AT)
    )


def _is_kept(source: Source, table: Table) -> bool:
    """Whether what was sent there is in the table, in a column of its own or among all other parameters."""
    alone = any(column.sources == (source,) and not column.transforms for column in table.columns)
    if source.namespace != "param":
        return alone
    taken = any(source in column.sources for column in table.columns)
    return alone or (not taken and any(_is_from(column, "param.*") for column in table.columns))


def _struct(values: Iterable[str]) -> str:
    return f"STRUCT({', '.join(values)})"
