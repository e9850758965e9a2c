"""The anonymous table of a query's result, under the name that its job says: `_results.anonJOB`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from emulators.bigquery.errors import not_found
from emulators.bigquery.jobs import Job
from emulators.bigquery.query import Result
from emulators.bigquery.query_job import RESULTS_DATASET, RESULTS_PREFIX, results_table
from emulators.bigquery.rest.state import STATE


async def find(request: web.Request) -> tuple[Job, Result] | None:
    """The job whose result the request is about, None for any other table; ApiError 404 when it is gone."""
    name = request.match_info["table"]
    if request.match_info["dataset"] != RESULTS_DATASET or not name.startswith(RESULTS_PREFIX):
        return None
    project = request.match_info["project"]
    job = await request.app[STATE].jobs.get(project, name.removeprefix(RESULTS_PREFIX))
    if job.result is None:
        raise not_found(f"Table {project}:{RESULTS_DATASET}.{name}")
    return job, job.result


def resource(job: Job, result: Result) -> dict[str, Any]:
    reference = results_table(job)
    return {
        "kind": "bigquery#table",
        "etag": job.id,
        "id": f"{job.project}:{RESULTS_DATASET}.{reference['tableId']}",
        "tableReference": reference,
        "type": "TABLE",
        "location": "US",
        "creationTime": str(job.created),
        "lastModifiedTime": str(job.created),
        "schema": {"fields": result.schema},
        "numRows": str(result.rows.num_rows),
        "numBytes": str(result.size),
    }
