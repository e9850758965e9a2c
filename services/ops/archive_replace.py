"""Takes the rows of a span of time out of the log tables, so that a replay of the archive fills them anew.

After a change of the schema file a replayed event differs from the row it became at first, and the view may show
either. So the old rows have to go, and they go only if the archive holds, hour by hour, at least as many hits as there
are events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from services.ops import deployment
from services.ops.archive_replay import HOUR_US
from services.ops.deployment import CommandRefused
from services.provision import view
from services.provision.view import quoted
from services.shared.schema import REJECTS, Schema, Table

QUERY_SECONDS = 1_800.0  # one statement may take
# The days of what was received at one time, by event_day: a week before, and a minute ahead.
_BEFORE, _AHEAD = timedelta(days=7), timedelta(minutes=1)
_SHOWN_HOURS = 5
_ERASURES = "erasures"  # the receipts of `ops forget`


class Replaced:
    """The rows that were received from `since` until before `until`, in all tables but the rejects, which stay."""

    def __init__(
        self, client: Any, project: str, dataset: str, schema: Schema, since: datetime, until: datetime
    ) -> None:
        self._client, self._dataset = client, f"{project}.{dataset}"
        self._tables = [table for table in schema.tables.values() if table.name != REJECTS]
        self._parameters = [
            bigquery.ScalarQueryParameter("first_day", "DATE", (since - _BEFORE).astimezone(UTC).date()),
            bigquery.ScalarQueryParameter("last_day", "DATE", (until + _AHEAD).astimezone(UTC).date()),
            bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
            bigquery.ScalarQueryParameter("until", "TIMESTAMP", until),
        ]

    def erasures(self) -> int:
        """How many times people were forgotten since the first of these hits: the archive still holds theirs."""
        sql = f"SELECT COUNT(*) FROM `{self._dataset}.{_ERASURES}` WHERE erased_at >= @since"  # noqa: S608
        try:
            (row,) = self._ask(sql).result(timeout=QUERY_SECONDS)
        except exceptions.NotFound:  # of a release before it, or of another dataset
            return 0
        return int(row[0])

    def check(self, archived: Mapping[int, int]) -> int:
        """How many events there are. Raises CommandRefused if an hour has more of them than there are archived hits."""
        events: Counter[int] = Counter()
        for table in self._tables:
            hour = f"TIMESTAMP_TRUNC({quoted(view.source_column(table, 'hit.received_at'))}, HOUR)"
            sql = (
                f"SELECT UNIX_MICROS({hour}) AS hour, COUNT(*) AS events\n"
                f"FROM `{self._dataset}.{table.name}`\nWHERE {self._span(table)}\nGROUP BY 1"
            )
            for row in self._ask(sql).result(timeout=QUERY_SECONDS):
                events[row["hour"] // HOUR_US] += row["events"]
        short = sorted(hour for hour, count in events.items() if count > archived.get(hour, 0))
        if short:
            listed = ", ".join(
                f"{datetime.fromtimestamp(hour * 3600, UTC):%Y-%m-%dT%H:00Z} ({events[hour]} events, "
                f"{archived.get(hour, 0)} archived hits)"
                for hour in short[:_SHOWN_HOURS]
            )
            more = f" and {len(short) - _SHOWN_HOURS} more hours" if len(short) > _SHOWN_HOURS else ""
            raise CommandRefused(
                f"--replace would lose events, since the archive does not hold them all: {listed}{more}; choose "
                "--since and --until of which it holds everything (it is ten minutes behind), or leave --replace out"
            )
        return events.total()

    def remove(self) -> int:
        """Delete the rows; how many. A statement that fails changes nothing."""
        removed = 0
        for table in self._tables:
            sql = f"DELETE FROM `{self._dataset}.{table.log_name}`\nWHERE {self._span(table)}"  # noqa: S608
            try:
                job = self._ask(sql)
                job.result(timeout=QUERY_SECONDS)
            except exceptions.BadRequest as error:
                if "streaming buffer" in str(error):
                    raise CommandRefused(
                        f"rows of {table.log_name} are still in the streaming buffer; {removed} rows of other tables "
                        "are deleted: run the same again in 90 minutes"
                    ) from error
                raise
            removed += int(job.num_dml_affected_rows or 0)
        return removed

    def _span(self, table: Table) -> str:
        day, at = (quoted(view.source_column(table, source)) for source in ("event.day", "hit.received_at"))
        return f"{day} BETWEEN @first_day AND @last_day AND {at} >= @since AND {at} < @until"

    def _ask(self, sql: str) -> Any:
        config = bigquery.QueryJobConfig(query_parameters=self._parameters, use_query_cache=False)
        return self._client.query(sql, job_config=config, timeout=deployment.TIMEOUT)
