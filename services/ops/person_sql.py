"""Where in a table people can be, as SQL. Pure.

Names come from the schema file or were checked, days are dates; ids go as query parameters and never into a text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from google.cloud import bigquery

from services.ops.people import People
from services.processor import convert
from services.provision import row_access
from services.provision.view import quoted
from services.shared.schema import CONFLICTS, LOG_SUFFIX, REJECTS, Column, Schema, Source

# BigQuery takes requests of 10 MB with all their parameters; each value costs its text and this much JSON around it.
MAX_BYTES = 6_000_000
_AROUND = 16
_FEW = 100  # ids that are looked for in the text of hits by a pattern; beyond that all hits are read
_ALNUM = re.compile(r"[A-Za-z0-9]+")
# A letter or digit that is written as a code: percent-encoded, or escaped in JSON that stands in a text.
_CODE = r"(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])"
_CODED = rf"%{_CODE}|\\u00{_CODE}"
INTEGERS = "integers"
TEXTS = "texts"


@dataclass(frozen=True)
class Field:
    """One place of a table where an id of `source` can be: a condition with `{}` where its parameter's name goes."""

    source: Source
    kind: str  # TEXTS or INTEGERS: how the ids are given
    condition: str


@dataclass(frozen=True)
class Condition:
    """What rows to find, and the query parameters it needs."""

    sql: str
    parameters: tuple[Any, ...]


@dataclass(frozen=True)
class Target:
    """A log table: the fields to compare in SQL, and a text with hits that the processor's readers have to look at."""

    name: str
    partition: Column
    fields: tuple[Field, ...]
    hits: str = ""  # SQL of the JSON text of a hit; "" if the table holds none
    hits_where: str = "TRUE"
    of_tenant: str = ""  # SQL that goes behind each condition: only its rows are looked at

    @property
    def log_name(self) -> str:
        return self.name + LOG_SUFFIX

    @property
    def day(self) -> str:
        """SQL of the day of a row's partition."""
        name = quoted(self.partition.name)
        return name if self.partition.type == "DATE" else f"DATE({name})"

    def any_day(self) -> str:
        """The rows of all partitions, also of a table that wants a condition on its partition."""
        return f"{quoted(self.partition.name)} >= {self.partition.type} '0001-01-01'{self.of_tenant}"

    def on(self, days: Collection[date]) -> str:
        """The rows of these partitions. The days are constants, by which BigQuery leaves out all other partitions."""
        name = quoted(self.partition.name)
        if self.partition.type == "DATE":
            dates = ", ".join(f"DATE '{day}'" for day in sorted(days))
            return f"{name} IN ({dates}){self.of_tenant}"
        parts = (f"({name} >= TIMESTAMP '{day}' AND {name} < TIMESTAMP '{day + timedelta(1)}')" for day in sorted(days))
        return f"({' OR '.join(parts)}){self.of_tenant}"


def targets(schema: Schema, people: People, columns: Mapping[str, Collection[str]]) -> Iterator[Target]:
    """The log tables that are there; `columns` has the names of theirs by table. The conflicts come last.

    Compaction moves rows there, so what it takes out of a table meanwhile is found.
    """
    there = {name: table for name, table in schema.tables.items() if name in columns}
    for table in there.values():
        fields = tuple(
            Field(source, kind, condition)
            for column in table.columns
            if column.name in columns[table.name]
            for source in people.stored
            for kind, condition in _of_column(column, source)
        )
        hits = table.column_from("reject.hit") if table.name == REJECTS else None
        found = hits is not None and hits.name in columns[table.name]
        yield Target(
            table.name,
            table.column(table.partition),
            fields,
            f"TO_JSON_STRING({quoted(hits.name)})" if hits is not None and found else "",
            f"{quoted(hits.name)} IS NOT NULL" if hits is not None and found else "TRUE",
            _of_tenant([quoted(str(row_access.column(table)))], people),
        )
    if CONFLICTS in columns:
        yield _conflicts(schema, people)


def _of_tenant(values: Sequence[str], people: People) -> str:
    """A tenant's name holds neither quote nor backslash, which the schema file's reader checks."""
    return f"\n  AND '{people.tenant}' IN ({', '.join(values)})" if people.tenant else ""


def _of_column(column: Column, source: Source) -> Iterator[tuple[str, str]]:
    name = quoted(column.name)
    if source in column.sources:
        if column.type == "INT64":
            yield INTEGERS, f"{name} IN UNNEST({{}})"
        elif column.type == "STRING":
            yield TEXTS, f"{name} IN UNNEST({{}})"
        elif column.type == "JSON":
            yield from _in_json(name, ())
        else:
            yield TEXTS, f"CAST({name} AS STRING) IN UNNEST({{}})"
    if _takes_the_rest(column) and source.namespace == "param":
        for steps in _paths(source.name):
            yield from _in_json(name, steps)


def _in_json(value: str, steps: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A scalar at this path, or one of the elements of an array there: a parameter that was sent repeatedly."""
    path = "'$" + "".join(f'."{step}"' for step in steps) + "'"
    yield TEXTS, f"JSON_VALUE({value}, {path}) IN UNNEST({{}})"
    yield (
        TEXTS,
        f"EXISTS (SELECT 1 FROM UNNEST(JSON_VALUE_ARRAY({value}, {path})) AS one WHERE one IN UNNEST({{}}))",  # noqa: S608
    )


def _paths(name: str) -> Iterator[tuple[str, ...]]:
    yield (name,)
    steps = tuple(name.split("."))
    if len(steps) > 1 and all(steps):
        yield steps


def _takes_the_rest(column: Column) -> bool:
    return any(str(source) == "param.*" for source in column.sources)


def _conflicts(schema: Schema, people: People) -> Target:
    """Each row holds the whole row of another table as JSON; whatever table it was, the columns' names decide."""
    whole = quoted("whole_row")
    seen: dict[Field, None] = {}
    hits = None
    for table in schema.tables.values():
        for column in table.columns:
            for source in people.stored:
                paths: list[tuple[str, ...]] = []
                if source in column.sources:
                    paths.append((column.name,))
                if _takes_the_rest(column) and source.namespace == "param":
                    paths += [(column.name, *steps) for steps in _paths(source.name)]
                for steps in paths:
                    for kind, condition in _in_json(whole, steps):
                        seen[Field(source, kind, condition)] = None
        if table.name == REJECTS:
            hits = table.column_from("reject.hit")
    partition = Column("day", "DATE", (Source("event", "day"),), required=True)
    names = dict.fromkeys(row_access.column(table) for table in schema.tables.values())
    only = _of_tenant([f"JSON_VALUE({whole}, '$.\"{name}\"')" for name in names], people)
    if hits is None:
        return Target(CONFLICTS, partition, tuple(seen), of_tenant=only)
    text = f"TO_JSON_STRING(JSON_QUERY({whole}, '$.\"{hits.name}\"'))"
    return Target(CONFLICTS, partition, tuple(seen), text, f"`table` = '{REJECTS}'", only)


def conditions(target: Target, people: People) -> Iterator[Condition]:
    """The rows that SQL can find: one condition, or several where the ids are too long for one request."""
    if people.everyone:  # the target holds rows of one tenant only
        yield Condition("TRUE", ())
    for chunk in _chunks(people.stored):
        parameters: dict[str, Any] = {}
        parts = []
        for field in target.fields:
            values: Sequence[Any] = chunk.get(field.source, ())
            name = f"{field.kind}_{list(people.stored).index(field.source)}"
            if field.kind == INTEGERS:
                values = list(_integers(values))
            if values:
                kind = "INT64" if field.kind == INTEGERS else "STRING"
                parameters[name] = bigquery.ArrayQueryParameter(name, kind, list(values))
                parts.append(field.condition.format(f"@{name}"))
        if parts:
            yield Condition("(" + "\n  OR ".join(dict.fromkeys(parts)) + ")", tuple(parameters.values()))


def _chunks(stored: Mapping[Source, Sequence[str]]) -> Iterator[dict[Source, list[str]]]:
    chunk: dict[Source, list[str]] = {}
    size = 0
    for source, values in stored.items():
        for value in values:
            cost = len(json.dumps(value)) + _AROUND
            if size + cost > MAX_BYTES:
                yield chunk
                chunk, size = {}, 0
            chunk.setdefault(source, []).append(value)
            size += cost
    if chunk:
        yield chunk


def _integers(values: Iterable[str]) -> Iterator[int]:
    for value in values:
        try:
            yield convert.CONVERTERS["INT64"](value)
        except convert.Invalid:
            continue


def worth_reading(target: Target, people: People) -> Condition:
    """The rows whose text of a hit may hold one of the ids: never too few, and far fewer than all for a few ids.

    A native hit has an id in it as the longest run of its letters and digits, unless those are encoded. What other
    protocols make of theirs, such as base64, only their readers know.
    """
    values = [value for several in people.stored.values() for value in several]
    runs = [max(_ALNUM.findall(value), key=len, default="") for value in values[:_FEW]]
    if len(values) > _FEW or not all(runs):
        return Condition(target.hits_where, ())
    pattern = bigquery.ScalarQueryParameter("pattern", "STRING", "|".join([*dict.fromkeys(runs), _CODED]))
    likely = f"(REGEXP_CONTAINS({target.hits}, @pattern) OR STRPOS({target.hits}, '\"via\":') > 0)"
    return Condition(f"{target.hits_where} AND {likely}", (pattern,))


def read_hits(target: Target, people: People, dataset: str) -> Condition:
    """A query of `text`, each once, and the `day` of its partition."""
    worth = worth_reading(target, people)
    return Condition(
        f"SELECT DISTINCT {target.day} AS day, {target.hits} AS text\n"
        f"FROM `{dataset}.{target.log_name}`\nWHERE {target.any_day()}\n  AND {worth.sql}",
        worth.parameters,
    )


def holding(target: Target, digests: Sequence[str]) -> Condition:
    """The rows whose text of a hit has one of these SHA-256, in hexadecimal."""
    return Condition(
        f"({target.hits_where} AND TO_HEX(SHA256({target.hits})) IN UNNEST(@digests))",
        (bigquery.ArrayQueryParameter("digests", "STRING", list(digests)),),
    )


def by_day(target: Target, dataset: str, wanted: Condition) -> Condition:
    """A query of the `day` of each partition that has such rows, and how many `found`."""
    return Condition(
        f"SELECT {target.day} AS day, COUNT(*) AS found\nFROM `{dataset}.{target.log_name}`\n"
        f"WHERE {target.any_day()}\n  AND {wanted.sql}\nGROUP BY 1",
        wanted.parameters,
    )


def delete(target: Target, dataset: str, days: Collection[date], wanted: Condition) -> Condition:
    return Condition(
        f"DELETE FROM `{dataset}.{target.log_name}`\nWHERE {target.on(days)}\n  AND {wanted.sql}",  # noqa: S608
        wanted.parameters,
    )


def export(
    target: Target, dataset: str, columns: Sequence[str], days: Collection[date], wanted: Condition
) -> Condition:
    """A query of the `found` rows as JSON text, with these columns."""
    struct = f"STRUCT({', '.join(map(quoted, columns))})"
    return Condition(
        f"SELECT TO_JSON_STRING(TO_JSON({struct}, stringify_wide_numbers => TRUE)) AS found\n"
        f"FROM `{dataset}.{target.log_name}`\nWHERE {target.on(days)}\n  AND {wanted.sql}",
        wanted.parameters,
    )
