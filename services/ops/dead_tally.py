"""Counts what dead letters hold, by the hour of receipt and protocol, and writes that to the table `tallies`."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.api_core import exceptions

from services.ops import deployment
from services.ops.dead_letter import DeadLetter
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.deployment import TIMEOUT, CommandRefused
from services.shared import hit, identity, rows, schema_file, tally_rows
from services.shared.errors import Poison
from services.shared.format_version import NewerFormat
from services.shared.schema import LOG_SUFFIX, TALLIES
from services.shared.tally import DEAD_LETTERED, DEAD_LETTERS, HOUR_US

MAX_IDS = 100  # event ids that are named
# Only ids that say nothing of anybody are: one that a sender made up may be a person's.
_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SECONDS = 600.0  # a statement may take
_AT_ONCE = 1_000  # rows of a statement
_PROTOCOL = re.compile(r"[a-z0-9_]{1,40}")
Group = tuple[int, str]  # hour, and protocol or "" where nobody can tell


class DeadTally:
    """Hits that collectors have acknowledged and that are dead letters now.

    `id_columns` says which column of a table holds the event's id. `ids` are the first hundred, as `pixelpipe trace`
    takes them: the collector's own of hits, the event's of rows.
    """

    def __init__(self, id_columns: Mapping[str, str]) -> None:
        self.counts: Counter[Group] = Counter()
        self.ids: list[str] = []
        self._id_columns = id_columns

    @property
    def hits(self) -> int:
        return self.counts.total()

    def shown(self) -> list[dict[str, Any]]:
        """By hour and protocol, None where nobody can tell."""
        return [
            {"hour": datetime.fromtimestamp(3600 * hour, UTC), "protocol": protocol or None, "hits": hits}
            for (hour, protocol), hits in sorted(self.counts.items())
            if hits
        ]

    def add(self, letter: DeadLetter) -> None:
        attributes = letter.attributes
        schema = attributes.get("schema")
        if schema is None or hit.TALLY in attributes or hit.INGESTED in attributes:
            return  # a log entry, a tally, an access log: no collector acknowledged it
        if attributes.get(hit.REPLAYED) == hit.FROM_REJECTS or attributes.get("table") == TALLIES:
            return
        try:
            if schema == rows.SCHEMA:
                self._add_rows(letter)
            else:
                self._add_hits(letter)
        except (Poison, NewerFormat):
            count = attributes.get("count", "")
            self.counts[_hour(letter), ""] += int(count) if count.isdecimal() and len(count) < 6 else 1

    def _add_hits(self, letter: DeadLetter) -> None:
        lines = hit.read(letter.data, letter.attributes)
        for one in lines.hits:
            if one.tally is None:
                self.counts[one.at // HOUR_US, _known(one.protocol)] += 1
                self._name(one.id)
        self.counts[_hour(letter), ""] += len(lines.unreadable)

    def _add_rows(self, letter: DeadLetter) -> None:
        batch = rows.unpack(letter.data, letter.attributes)
        origin = tally_rows.origin(batch)
        if origin is not None and origin.collected:
            for hour, protocol, hits in origin.counts:
                self.counts[hour, _known(protocol)] += hits
            column = self._id_columns.get(letter.attributes.get("table", ""), "")
            if column in batch.schema.names:
                for one in batch.column(column).slice(0, MAX_IDS - len(self.ids)).to_pylist():
                    self._name(one)

    def _name(self, id: object) -> None:
        if len(self.ids) < MAX_IDS and isinstance(id, str) and _ID.fullmatch(id):
            self.ids.append(id)


async def counted(queue: DeadLetterQueue, schema: Path) -> DeadTally:
    """What is in the queue now; `schema` is the schema file. Raises ConfigError if that is wrong."""
    ids = {table.name: table.column_from("event.id") for table in schema_file.load(schema).tables.values()}
    found = DeadTally({name: column.name for name, column in ids.items() if column is not None})
    async for one in queue.messages():
        await asyncio.to_thread(found.add, one)
    return found


def last(client: Any, project: str, dataset: str) -> int:
    """How many hits the last count had. Raises CommandRefused without the table."""
    table = _table(client, project, dataset)
    of_all = f"FROM `{table}` WHERE `source` = '{DEAD_LETTERS}'"
    sql = (
        f"SELECT IFNULL(SUM(`hits`), 0) FROM (SELECT DISTINCT `hour`, `protocol`, `hits` {of_all}\n"  # noqa: S608
        f"AND `received_at` = (SELECT MAX(`received_at`) {of_all}))"
    )
    (row,) = client.query(sql, timeout=TIMEOUT).result(timeout=_SECONDS)
    return int(row[0])


def write(client: Any, project: str, dataset: str, found: DeadTally) -> None:
    """Append the counts: they hold until those of a later run. Raises CommandRefused without the table."""
    name = _table(client, project, dataset)
    at = int(deployment.now(client).timestamp() * 1e6)
    own = f"'{identity.uuid7(at)}', TIMESTAMP_MICROS({at}), '{DEAD_LETTERS}', 0, FALSE"
    values = [
        f"(DATE({hour}), {own}, {hour}, {protocol}, '{DEAD_LETTERED}', {hits})"
        for hour, protocol, hits in (
            (f"TIMESTAMP_SECONDS({3600 * number})", f"'{protocol}'" if protocol else "NULL", hits)
            for (number, protocol), hits in found.counts.items()
            if hits
        )
    ] or [f"(DATE(TIMESTAMP_MICROS({at})), {own}, NULL, NULL, NULL, 0)"]
    for start in range(0, len(values), _AT_ONCE):
        rows = ",\n".join(values[start : start + _AT_ONCE])
        sql = (
            f"INSERT INTO `{name}` (`day`, `tally_id`, `received_at`, `source`, `sequence`, `final`, `hour`, "
            f"`protocol`, `outcome`, `hits`)\nVALUES {rows}"
        )
        client.query(sql, timeout=TIMEOUT).result(timeout=_SECONDS)


def _table(client: Any, project: str, dataset: str) -> str:
    name = f"{project}.{dataset}.{TALLIES}{LOG_SUFFIX}"
    try:
        client.get_table(name, timeout=TIMEOUT)
    except exceptions.NotFound:
        raise CommandRefused(f"there is no table {name} yet; run the provisioner of this release") from None
    return name


def _known(protocol: str) -> str:
    """The protocol, unless it is none that a collector could have: anyone who may publish could have written it."""
    return protocol if _PROTOCOL.fullmatch(protocol) else ""


def _hour(letter: DeadLetter) -> int:
    """When it was received, about: a pack's id says when it was made, which was not after it died."""
    made = identity.time_of(letter.attributes.get("pack", ""))
    published = int(letter.published.timestamp() * 1e6)
    return (published if made is None else min(made * 1000, published)) // HOUR_US
