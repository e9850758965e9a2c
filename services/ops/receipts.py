"""The receipts of erasures: rows of the table `erasures`, which prove what was done and name nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.ops.deployment import TIMEOUT, CommandRefused
from services.ops.people import People
from services.shared.schema import ERASURES, LOG_SUFFIX

_SECONDS = 600.0  # a load job or a query of receipts may take
_JSON = ("who", "deleted", "remains", "follows")


@dataclass(frozen=True)
class Remainder:
    """Something that may still hold the people: `open` if it must be dealt with, else it goes by itself at `until`."""

    place: str
    why: str
    until: str | None = None
    open: bool = False


@dataclass(frozen=True)
class Receipt:
    """One row, see services/provision/erasures.py."""

    erasure_id: str
    erased_at: datetime
    erased_by: str
    people: int
    salt: str
    who: list[str]
    deleted: dict[str, int]
    dead_letters: int
    time_travel_until: datetime | None
    again_after: datetime | None
    remains: list[Remainder] = field(default_factory=list)
    follows: list[str] = field(default_factory=list)
    complete: bool = False
    tenant: str | None = None

    def shown(self) -> dict[str, Any]:
        """For JSON: everything but the hashes, which are as many as the ids."""
        found = asdict(self)
        del found["who"], found["salt"]
        for name in ("erased_at", "time_travel_until", "again_after"):
            moment = found[name]
            found[name] = None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")
        return found


class Receipts:
    """Those of one dataset."""

    def __init__(self, client: Any, project: str, dataset: str) -> None:
        self._client, self._name = client, f"{project}.{dataset}.{ERASURES}{LOG_SUFFIX}"

    def check(self) -> None:
        """Raise CommandRefused if there is no such table: nothing may be erased without a receipt."""
        try:
            self._schema = self._client.get_table(self._name, timeout=TIMEOUT).schema
        except exceptions.NotFound:
            raise CommandRefused(f"there is no table {self._name} yet; run the provisioner of this release") from None

    def write(self, receipt: Receipt) -> None:
        """Append it, once however often it is tried."""
        row = {
            **asdict(receipt),
            "day": receipt.erased_at.date().isoformat(),
            **{
                name: None if moment is None else moment.isoformat()
                for name in ("erased_at", "time_travel_until", "again_after")
                for moment in (getattr(receipt, name),)
            },
        }
        config = bigquery.LoadJobConfig(
            source_format="NEWLINE_DELIMITED_JSON",
            schema=self._schema,
            autodetect=False,
            create_disposition="CREATE_NEVER",
            write_disposition="WRITE_APPEND",
        )
        name = f"pixelpipe-erasure-{receipt.erasure_id}"
        try:
            job = self._client.load_table_from_json([row], self._name, job_id=name, job_config=config, timeout=TIMEOUT)
        except exceptions.Conflict:  # the answer to an earlier attempt was lost
            job = self._client.get_job(name, timeout=TIMEOUT)
        job.result(timeout=_SECONDS)

    def of(self, people: People) -> list[Receipt]:
        """The receipts in which all of these people are, the oldest first."""
        return [one for one in self.all() if people.among(bytes.fromhex(one.salt), frozenset(one.who))]

    def all(self) -> Iterator[Receipt]:
        """Every receipt, the oldest first."""
        columns = ", ".join(
            f"TO_JSON_STRING(`{one.name}`) AS `{one.name}`" if one.name in _JSON else f"`{one.name}`"
            for one in fields(Receipt)
        )
        sql = f"SELECT {columns} FROM `{self._name}` ORDER BY `erased_at`, `erasure_id`"  # noqa: S608 - our own names
        config = bigquery.QueryJobConfig(use_query_cache=False)
        for row in self._client.query(sql, job_config=config, timeout=TIMEOUT).result(timeout=_SECONDS):
            values = {one.name: row[one.name] for one in fields(Receipt)}
            values |= {name: json.loads(values[name]) for name in _JSON}
            values["remains"] = [Remainder(**one) for one in values["remains"]]
            yield Receipt(**values)


def unfinished(receipts: Sequence[Receipt]) -> list[Receipt]:
    """Those that are not complete, nor followed by one that is; in their order."""
    done = {id for one in receipts if one.complete for id in (one.erasure_id, *one.follows)}
    return [one for one in receipts if one.erasure_id not in done]


def is_due(receipt: Receipt, now: datetime | None = None) -> bool:
    """Whether running it again would complete it: what was on its way has arrived."""
    return receipt.again_after is None or receipt.again_after <= (now or datetime.now(UTC))
