"""Which days a sweep compacts, and what it leaves in the views: the watermark, and since when nothing has changed.

Both are in the view of the table: the watermark as a constant of its SQL, the other as a label. Should they go, as
where a view is made anew, the next sweep counts every day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.ops import deployment
from services.ops.deployment import CommandRefused
from services.provision import tenant_views, view
from services.shared.schema import SWEPT_AT, Schema, Table

QUERY_SECONDS = 300.0
# A change may show up in BigQuery's metadata some time after it was made, and clocks differ.
MARGIN = timedelta(hours=1)
_ATTEMPTS = 5  # at changing a view that somebody else changes at the same time
_FIRST = "run the provisioner of this release first"


@dataclass(frozen=True)
class State:
    """What the latest sweep left: the last settled day, and since when changes count; None: count every day."""

    watermark: date
    since: datetime | None


def due(modified: Mapping[date, datetime], state: State, closed: date, settled: date) -> list[date]:
    """The days up to `closed` that are to be compacted, the earliest first: what changed, and what is to be settled."""
    return sorted(
        day
        for day, at in modified.items()
        if day <= closed and (state.since is None or at > state.since or state.watermark < day <= settled)
    )


def since(closed: date) -> datetime:
    """Since when changes count after a sweep of the days up to `closed`: it has seen no other day whole."""
    return datetime.combine(closed + timedelta(days=1), time(), UTC) - MARGIN


class Sweep:
    """The views of one table: that of the dataset, which keeps the state, and those of tenants."""

    def __init__(self, client: Any, project: str, dataset: str, schema: Schema, table: Table) -> None:
        self._client, self._project, self._dataset, self._table = client, project, dataset, table
        self._view = f"{project}.{dataset}.{table.name}"
        self._others = [
            f"{project}.{tenant_views.dataset_name(dataset, one.tenant)}.{table.name}"
            for one in tenant_views.views(schema)
            if one.table == table and schema.tenants.admins
        ]

    def state(self) -> State:
        """Raises CommandRefused if the view is not as provisioned for this schema file."""
        found = self._get(self._view)
        label = found.labels.get(SWEPT_AT, "")
        since = datetime.fromtimestamp(int(label) / 1000, UTC) if label.isdecimal() else None
        if not view.has_history(self._table):
            return State(view.NO_DAY, since)
        watermark = self._watermark(found)
        return State(watermark, None if watermark == view.NO_DAY else since)

    def modified(self) -> dict[date, datetime]:
        """When each day of the log table was last modified."""
        sql = (
            "SELECT partition_id, last_modified_time\n"
            f"FROM `{self._project}.{self._dataset}.INFORMATION_SCHEMA.PARTITIONS`\n"
            f"WHERE table_name = '{self._table.log_name}'"
        )
        config = bigquery.QueryJobConfig(use_query_cache=False)
        rows = self._client.query_and_wait(sql, job_config=config, wait_timeout=QUERY_SECONDS)
        # Others are __NULL__ and __UNPARTITIONED__: rows of the latter count once they are in their day's partition.
        return {
            date.fromisoformat(row["partition_id"]): row["last_modified_time"]
            for row in rows
            if (row["partition_id"] or "").isdecimal()
        }

    def leave(self, state: State) -> None:
        """Move the watermark of all views to that of `state`, never back; the dataset's own comes last."""
        for name in self._others:
            self._change(name, state.watermark, {})
        labels = {} if state.since is None else {SWEPT_AT: str(int(state.since.timestamp() * 1000))}
        self._change(self._view, state.watermark, labels)

    def _change(self, name: str, watermark: date, labels: Mapping[str, str]) -> None:
        for _ in range(_ATTEMPTS):
            found = self._get(name)
            properties = []
            if view.has_history(self._table) and self._watermark(found) < watermark:
                found.view_query = view.settled(found.view_query, watermark)
                properties.append("view_query")
            if labels.items() - found.labels.items():
                found.labels = {**found.labels, **labels}
                properties.append("labels")
            if not properties:
                return
            try:
                self._client.update_table(found, properties, timeout=deployment.TIMEOUT)
            except exceptions.PreconditionFailed:
                continue  # another sweep, or the provisioner; it may have done it already
            return
        raise CommandRefused(f"{name} was changed by others {_ATTEMPTS} times in a row; the next sweep tries again")

    def _watermark(self, found: Any) -> date:
        watermark = view.watermark(found.view_query or "")
        if watermark is None:
            raise CommandRefused(f"{found.reference} cannot tell settled days; {_FIRST}")
        if not view.counts_by(found.view_query, self._table):
            raise CommandRefused(f"{found.reference} counts by another key than the schema file says; {_FIRST}")
        return watermark

    def _get(self, name: str) -> Any:
        try:
            return self._client.get_table(name, timeout=deployment.TIMEOUT)
        except exceptions.NotFound:
            raise CommandRefused(f"there is no view {name}; {_FIRST}") from None
