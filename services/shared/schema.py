"""The schema file: every table, every column, its type and where its value comes from. Nothing else knows the columns.

`schema_file.load()` reads and checks a file; what it returns is frozen and safe to share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.shared.config import ConfigError
from services.shared.privacy import BY_PRESET, Privacy
from services.shared.tenants import Tenants

TYPES = (
    "STRING", "INT64", "FLOAT64", "BOOL", "TIMESTAMP", "DATE", "DATETIME", "TIME", "NUMERIC", "BIGNUMERIC", "BYTES",
    "JSON", "STRUCT",
)  # fmt: skip
STRUCT = "STRUCT"
MODES = ("NULLABLE", "REQUIRED", "REPEATED")
SET_NULL, REJECT = "null", "reject"
ON_ERROR = (SET_NULL, REJECT)  # what becomes of a value that does not fit: NULL and noted, or the event is a reject
PARTITIONABLE = ("DATE", "TIMESTAMP")
CLUSTERABLE = ("STRING", "INT64", "BOOL", "TIMESTAMP", "DATE", "DATETIME", "NUMERIC", "BIGNUMERIC")
# BigQuery neither groups JSON nor partitions a window by FLOAT64.
GROUPABLE = (*CLUSTERABLE, "TIME", "BYTES")
MAX_NESTED = 15  # levels of STRUCT that BigQuery takes
REJECTS = "rejects"  # the table for events that were refused
CONFLICTS = "conflicts"  # the table of rows that share a key with another event; provisioned, never in a schema file
ERASURES = "erasures"  # the table of receipts of `pixelpipe forget`; provisioned, never in a schema file
PERSON_COLUMNS = ("user_id", "anonymous_id", "visitor_id")  # who is sampled: the first that has a value
LABELS = {"managed-by": "pixelpipe"}  # of all that the provisioner makes
SWEPT_AT = "swept_at"  # of views, in milliseconds since 1970: days not modified since then are compacted
OWN_LABELS = (*LABELS, SWEPT_AT)  # a schema file may say none of them
KEY_COLUMNS = ("tenant", "type")  # what, beside day and event id, identifies an event in a table without `unique`
LOG_SUFFIX = "_log"  # rows are appended to NAME_log; the view NAME shows each event once
TALLIES = "tallies"  # the table of what was counted on the way; provisioned, never in a schema file
RECONCILIATION = "reconciliation"  # the view that compares the tallies
PROVISIONED = (CONFLICTS, ERASURES, TALLIES)
RESERVED = (*PROVISIONED, RECONCILIATION)  # names that no table of a schema file may have
MARK = "_compacted"  # the column of log tables by which views tell compacted rows; never in a schema file
EVENTS = "events"  # the table that the views for analysts are about
VIEWS = (
    "page_views", "sessions", "visitors", "daily_active", "orders", "campaigns", "retention", "funnel", "live",
    "rejects_by_reason", "reject_status", "problems_by_column",
)  # fmt: skip
TENANT = "{tenant}"
DEFAULT_FILE = Path(__file__).resolve().parents[2] / "schema.yaml"  # /app/schema.yaml in an image

# Sources whose names are fixed; `param.*`, `param.NAME` and `header.NAME` are open.
FIXED_SOURCES = {
    "hit": {
        "received_at": "TIMESTAMP",
        "method": "STRING",
        "path": "STRING",
        "query": "STRING",
        "ip": "STRING",
        "status": "INT64",
        "protocol": "STRING",
        "opt_out": "STRING",
        "visitor_id": "STRING",
        "tenant": "STRING",
    },
    "event": {"id": "STRING", "day": "DATE", "date": "DATE", "hour": "INT64", "problems": "JSON"},
    "agent": {
        "browser": "STRING",
        "browser_version": "STRING",
        "os": "STRING",
        "os_version": "STRING",
        "device": "STRING",
        "brand": "STRING",
        "model": "STRING",
        "is_bot": "BOOL",
        "class": "STRING",
        "name": "STRING",
        "reason": "STRING",
    },
    "referrer": {"host": "STRING", "medium": "STRING", "source": "STRING", "term": "STRING"},
    "utm": {
        "source": "STRING",
        "medium": "STRING",
        "campaign": "STRING",
        "term": "STRING",
        "content": "STRING",
        "id": "STRING",
        "click_id": "STRING",
        "click_id_name": "STRING",
    },
    "url": {"host": "STRING", "path": "STRING", "clean": "STRING"},
    "language": {"code": "STRING"},
    "geo": {"country": "STRING", "region": "STRING", "city": "STRING", "time_zone": "STRING"},
    "reject": {
        "stage": "STRING",
        "table": "STRING",
        "reason": "STRING",
        "column": "STRING",
        "value": "STRING",
        "detail": "STRING",
        "hit": "JSON",
    },
}
OPEN_SOURCES = ("param", "header")
LOOKUP = "lookup"  # `lookup.NAME.COLUMN`, of the file's own `lookups`
IN_A_ZONE = ("event.date", "event.hour")  # what a column's `time_zone` is for
ENRICHMENTS = ("agent", "referrer", "utm", "url", "language", "geo")  # derived by the processor, one file each


class SchemaError(ConfigError):
    """The schema file cannot be used: one line per problem, as FILE:LINE:COLUMN: what is wrong and what to do."""


@dataclass(frozen=True)
class Source:
    """Where a value comes from, such as `param.user_id`: a namespace and a name in it; `*` means all others.

    The name of a parameter may be a path into its objects, such as `properties.total`; that of a lookup is its own and
    a column's, and `lookup` says what it is.
    """

    namespace: str
    name: str
    lookup: Lookup | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}"


@dataclass(frozen=True)
class Lookup:
    """A file of rows that events are joined with: the row whose column `key` has the first value among `by`."""

    name: str
    file: Path
    key: str
    by: tuple[Source, ...]


TENANT_SOURCE = Source("hit", "tenant")  # whose event the collector found it to be


@dataclass(frozen=True)
class Transform:
    """One step on the way from what was sent to the column's value; `argument` as the step takes it."""

    name: str
    argument: Any = None


@dataclass(frozen=True)
class Condition:
    """Holds if the value of `source` is one of `values`."""

    source: Source
    values: frozenset[str]

    def __str__(self) -> str:
        return f"{self.source} is {' or '.join(sorted(self.values))}"


@dataclass(frozen=True)
class Column:
    """One column; the first of `sources` that has a value fills it.

    A STRUCT has `fields`, whose sources are relative to its object. `lenient`: a value that does not fit is NULL, and a
    problem of the row, instead of a reject. `required_if`: where all of these hold, it is as if it were `required`.
    `time_zone` is that of the clocks for IN_A_ZONE. `expression` is SQL over the other columns: see Table.
    """

    name: str
    type: str
    sources: tuple[Source, ...]
    required: bool = False
    description: str = ""
    repeated: bool = False
    fields: tuple[Column, ...] = ()
    lenient: bool = False
    transforms: tuple[Transform, ...] = ()
    required_if: tuple[Condition, ...] = ()
    time_zone: str = "UTC"
    policy_tags: tuple[str, ...] = ()
    expression: str = ""

    @property
    def scalar(self) -> bool:
        return not self.repeated and self.type != STRUCT


@dataclass(frozen=True)
class Table:
    """One table of the dataset: rows are appended to `log_name`, read through the view `name`.

    A hit goes to it only if all `conditions` hold. With `copy` it takes what other tables take, as well as they.
    `sample` is the share of the people whose events it keeps. `expressions` are columns of the view alone, which
    computes them.
    """

    name: str
    columns: tuple[Column, ...]
    partition: str
    cluster: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    description: str = ""
    require_partition_filter: bool = False
    expire_days: int | None = None
    unique: tuple[str, ...] | None = None  # as the file says; use `key`
    require_any: tuple[str, ...] = ()  # columns of which one must have a value
    copy: bool = False
    sample: float | None = None
    labels: tuple[tuple[str, str], ...] = ()
    expressions: tuple[Column, ...] = ()

    @property
    def log_name(self) -> str:
        return self.name + LOG_SUFFIX

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that together identify an event: the day first, the event id last, and between them `unique`.

        Without `unique`, its columns `tenant` and `type` stand there, if it has them.
        """
        day, event_id = self.filled_by("event.day").name, self.filled_by("event.id").name
        between = self.unique
        if between is None:
            between = tuple(
                name
                for name in KEY_COLUMNS
                for column in self.columns
                if column.name == name and column.type in GROUPABLE
            )
        return (day, *(name for name in between if name not in (day, event_id)), event_id)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def filled_by(self, source: str) -> Column:
        """The column whose only source is `source`. Raises ValueError if there is none."""
        for column in self.columns:
            if [str(item) for item in column.sources] == [source]:
                return column
        raise ValueError(f"table {self.name}: no column comes from {source} alone")

    def column_from(self, source: str) -> Column | None:
        """The column filled from one source, such as `event.id`; None if no column is."""
        return next((column for column in self.columns if any(str(item) == source for item in column.sources)), None)


@dataclass(frozen=True)
class Schema:
    """All tables by name, in the order of the file; the first whose conditions hold takes the hit, but for copies.

    `digest` is the beginning of the SHA-256 of the file's text, as in `sha256sum`: 12 hexadecimal digits.
    """

    tables: dict[str, Table]
    digest: str = field(default="", compare=False)
    privacy: dict[str, Privacy] = field(default_factory=lambda: BY_PRESET)  # by preset, the file's own keys applied
    tenants: Tenants = field(default_factory=Tenants)
    expire_days: int | None = None  # of tables that say nothing else; already in each Table
    views: tuple[str, ...] | None = None  # those for analysts that the file asks for; None: all that its columns allow

    @property
    def rejects(self) -> Table:
        return self.tables[REJECTS]

    def sources(self) -> Iterator[Source]:
        """All that columns and conditions read, and by what the lookups among them are looked up."""
        for table in self.tables.values():
            columns = (source for column in table.columns for source in column.sources)
            conditions = (*table.conditions, *(one for column in table.columns for one in column.required_if))
            for source in (*columns, *(condition.source for condition in conditions)):
                yield source
                if source.lookup is not None:
                    yield from source.lookup.by

    def asks_for(self, namespace: str) -> bool:
        """Whether a column or a condition of any table has a source of that namespace."""
        return any(source.namespace == namespace for source in self.sources())


def valid_name(name: str) -> str | None:
    """None for a column name BigQuery takes, else what is wrong with it."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,299}", name):
        return "a name is letters, digits and underscores, not starting with a digit, at most 300 of them"
    reserved = ("_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER", "_CHANGE_")
    if name.upper().startswith(reserved):
        return f"BigQuery keeps names that start with {', '.join(reserved)} to itself; choose another"
    if name.lower() == MARK:
        return "compaction keeps it to itself; choose another"
    return None
