"""Query jobs: the steps from a configuration to a result that clients can page through."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from emulators.bigquery import asked, execute, load, query, routines, row_policies
from emulators.bigquery.errors import ApiError
from emulators.bigquery.jobs import Job, Jobs
from emulators.bigquery.store import FAILURES, Store, query_error
from emulators.bigquery.writer import Connection

RESULTS_DATASET, RESULTS_PREFIX = "_results", "anon"


def results_table(job: Job) -> dict[str, str]:
    """The anonymous table that holds a job's result, by which clients read it again."""
    return {"projectId": job.project, "datasetId": RESULTS_DATASET, "tableId": RESULTS_PREFIX + job.id}


class QueryJobs:
    """Runs query jobs; `dry_run` validates and estimates without a job."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    async def dry_run(self, project: str, configuration: dict[str, Any]) -> tuple[query.Prepared, int]:
        """Translate, let DuckDB plan it, and estimate the bytes; ApiError for what would fail before running."""
        prepared = query.prepare(self._store, project, configuration, dt.datetime.now(dt.UTC))
        if prepared.statement.kind == "SELECT":
            await self._store.read(lambda connection: _explain(connection, prepared.query.sql))
        return prepared, await query.estimate(self._store, prepared.query)

    async def run(self, job: Job, configuration: dict[str, Any], *, durable: bool) -> None:
        """Run the job's query; raises ApiError, which `Jobs` makes the job's error."""
        try:
            await self._execute(job, configuration)
        except ApiError as error:
            job.error = error
        if durable:
            await self._jobs.remember(job)

    async def _execute(self, job: Job, configuration: dict[str, Any]) -> None:
        prepared = query.prepare(self._store, job.project, configuration, dt.datetime.now(dt.UTC))
        read = await query.estimate(self._store, prepared.query)
        limit = configuration.get("maximumBytesBilled")
        if limit is not None and read > int(limit):
            message = f"Query exceeded limit for bytes billed: {limit}. {read} or higher required."
            raise ApiError(400, "bytesBilledLimitExceeded", message)
        job.statistics = statistics(prepared, read)
        said = prepared.statement
        change, definition, policy, function = said.change, said.definition, said.policy, said.function
        if change is not None:
            changed = await self._store.write(lambda connection: execute.change_rows(connection, self._store, change))
            job.statistics["query"] |= {"numDmlAffectedRows": str(changed.rows), "dmlStats": changed.resource()}
            job.result = query.nothing(changed.rows)
        elif definition is not None:
            await self._define(job, lambda connection: execute.define(connection, self._store, definition))
        elif policy is not None:
            await self._define(job, lambda connection: row_policies.change(connection, self._store, policy))
        elif function is not None:
            await self._define(job, lambda connection: routines.apply_change(connection, self._store, function))
        else:
            await self._select(job, prepared)
        asked.keep(prepared.asked)

    async def _define(self, job: Job, change: Callable[[Connection], tuple[str, execute.Publish]]) -> None:
        """Change the catalog; `change` returns BigQuery's ddlOperationPerformed, and what makes it visible."""
        performed, _ = await self._store.write(change, lambda done: done[1]())
        job.statistics["query"]["ddlOperationPerformed"] = performed
        job.result = query.nothing(None)

    async def _select(self, job: Job, prepared: query.Prepared) -> None:
        def started(cursor: Connection) -> None:
            job.cursor = cursor

        result = await self._store.read(lambda connection: query.fetch(connection, prepared.query), started)
        if prepared.configuration.get("destinationTable"):
            await load.store_result(self._store, job.project, prepared.configuration, result)
        elif prepared.configuration.get("allowLargeResults"):
            # ibis wants to know the table. Others do not get it: Python's client would read it with a Storage Read
            # client of its own, which knows Google's address and not this one.
            asked = {**job.configuration["query"], "destinationTable": results_table(job)}
            job.configuration = {**job.configuration, "query": asked}
        job.result = result


def _explain(connection: Connection, sql: str) -> None:
    try:
        connection.execute(f"EXPLAIN {sql}")
    except FAILURES as error:
        raise query_error(error) from error


def statistics(prepared: query.Prepared, read: int) -> dict[str, Any]:
    tables = [
        {"projectId": table.project, "datasetId": table.dataset, "tableId": table.name}
        for table in prepared.query.tables
    ]
    return {
        "totalBytesProcessed": str(read),
        "query": {
            "statementType": prepared.statement.kind,
            "totalBytesProcessed": str(read),
            "totalBytesBilled": str(read),
            "cacheHit": False,
            "schema": {"fields": prepared.query.schema()},
            "referencedTables": tables,
        },
    }
