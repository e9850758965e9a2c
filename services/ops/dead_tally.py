"""Counts what dead letters hold, by the hour of receipt and protocol, and writes that to the table `tallies`."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.ops.dead_letter import DeadLetter
from services.ops.deployment import TIMEOUT, CommandRefused
from services.shared import hit, identity, rows, tally_rows
from services.shared.errors import Poison
from services.shared.format_version import NewerFormat
from services.shared.schema import LOG_SUFFIX, TALLIES
from services.shared.tally import DEAD_LETTERED, DEAD_LETTERS, HOUR_US

MAX_IDS = 100  # event ids that are named
_SECONDS = 600.0  # a load job may take
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Group = tuple[int, str]  # hour, and protocol or "" where nobody can tell


class DeadTally:
    """Hits that collectors have acknowledged and that are dead letters now."""

    def __init__(self) -> None:
        self.counts: Counter[Group] = Counter()
        self.ids: list[str] = []  # of the first of them, by the collector's own id

    @property
    def hits(self) -> int:
        return self.counts.total()

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
                self.counts[one.at // HOUR_US, one.protocol] += 1
                if len(self.ids) < MAX_IDS:
                    self.ids.append(one.id)
        self.counts[_hour(letter), ""] += len(lines.unreadable)

    def _add_rows(self, letter: DeadLetter) -> None:
        origin = tally_rows.origin(rows.unpack(letter.data, letter.attributes))
        if origin is not None and origin.collected:
            for hour, protocol, hits in origin.counts:
                self.counts[hour, protocol] += hits


def write(client: Any, project: str, dataset: str, found: DeadTally, now: datetime) -> None:
    """Append the counts: they hold until those of a later run. Raises CommandRefused without the table."""
    name = f"{project}.{dataset}.{TALLIES}{LOG_SUFFIX}"
    try:
        schema = client.get_table(name, timeout=TIMEOUT).schema
    except exceptions.NotFound:
        raise CommandRefused(f"there is no table {name} yet; run the provisioner of this release") from None
    run = identity.uuid7(int(now.timestamp() * 1e6))
    own = {"tally_id": run, "received_at": now.isoformat(), "source": DEAD_LETTERS, "sequence": 0, "final": False}
    values = [
        own
        | {
            "day": moment.date().isoformat(),
            "hour": moment.isoformat(),
            "protocol": protocol or None,
            "outcome": DEAD_LETTERED,
            "hits": hits,
        }
        for (hour, protocol), hits in found.counts.items()
        for moment in (_EPOCH + timedelta(hours=hour),)
        if hits
    ]
    config = bigquery.LoadJobConfig(
        source_format="NEWLINE_DELIMITED_JSON",
        schema=schema,
        autodetect=False,
        create_disposition="CREATE_NEVER",
        write_disposition="WRITE_APPEND",
    )
    nothing = own | {"day": now.date().isoformat(), "hits": 0}
    job = client.load_table_from_json(values or [nothing], name, job_config=config, timeout=TIMEOUT)
    job.result(timeout=_SECONDS)


def _hour(letter: DeadLetter) -> int:
    """When it was received, about: a pack's id says when it was made."""
    made = identity.time_of(letter.attributes.get("pack", ""))
    return made * 1000 // HOUR_US if made is not None else int(letter.published.timestamp() * 1e6) // HOUR_US
