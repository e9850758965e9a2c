"""jobs.* of the REST API: jobs of all kinds, and queries answered at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from emulators.bigquery.errors import invalid, not_found
from emulators.bigquery.jobs import FIRST_ANSWER, Job
from emulators.bigquery.query import Result
from emulators.bigquery.query_job import statistics
from emulators.bigquery.rest import rows
from emulators.bigquery.rest.shapes import JOB, QUERY_REQUEST
from emulators.bigquery.rest.state import STATE, State, body, checked_number, page

DEFAULT_ROWS = 10_000
MAX_ROWS = 100_000
MAX_WAIT = 200_000  # milliseconds that a client may wait for a query in one request
QUERY_FIELDS = (
    "query", "useLegacySql", "defaultDataset", "queryParameters", "parameterMode", "useQueryCache",
    "maximumBytesBilled", "destinationEncryptionConfiguration",
)  # fmt: skip


async def insert(request: web.Request) -> web.Response:
    """jobs.insert of query jobs; load jobs come with their data, through upload."""
    given = await body(request, JOB)
    state, project = request.app[STATE], request.match_info["project"]
    configuration = given.get("configuration") or {}
    reference = given.get("jobReference") or {}
    if "query" not in configuration:
        if "load" in configuration:
            raise invalid("The local BigQuery emulator loads uploaded data only, not source URIs")
        kinds = ", ".join(sorted(key for key in configuration if key != "labels")) or "nothing"
        raise invalid(f"The local BigQuery emulator runs query and load jobs, not {kinds}")
    if configuration.get("dryRun"):
        return web.json_response(await _dry_run(state, project, configuration))
    job = await state.jobs.create(project, reference.get("jobId"), "query", configuration, durable=False)
    state.jobs.start(job, state.queries.run(job, configuration["query"], durable=True))
    # Most jobs end at once, and a client that reads so in the first answer need not poll for it.
    await job.settled(FIRST_ANSWER)
    return web.json_response(job.resource())


async def _dry_run(state: State, project: str, configuration: dict[str, Any]) -> dict[str, Any]:
    prepared, read = await state.queries.dry_run(project, configuration["query"])
    return {
        "kind": "bigquery#job",
        "id": f"{project}:US.",
        "jobReference": {"projectId": project, "location": "US"},
        "configuration": {**configuration, "jobType": "QUERY"},
        "status": {"state": "DONE"},
        "statistics": {"creationTime": "0", **statistics(prepared, read)},
    }


async def query(request: web.Request) -> web.Response:
    """jobs.query: run, wait up to timeoutMs, and answer with the first page."""
    given = await body(request, QUERY_REQUEST)
    state, project = request.app[STATE], request.match_info["project"]
    configuration = {key: given[key] for key in QUERY_FIELDS if key in given}
    if given.get("dryRun"):
        prepared, read = await state.queries.dry_run(project, configuration)
        answer = {"kind": "bigquery#queryResponse", "jobComplete": True, "schema": {"fields": prepared.query.schema()}}
        return web.json_response(
            answer | {"totalBytesProcessed": str(read), "cacheHit": False, "jobReference": {"projectId": project}}
        )
    labels = {"labels": given["labels"]} if given.get("labels") else {}
    job = await state.jobs.create(project, None, "query", {"query": configuration, **labels}, durable=False)
    state.jobs.start(job, state.queries.run(job, configuration, durable=False))
    await job.settled(checked_number(given.get("timeoutMs"), "timeoutMs", 10_000, MAX_WAIT) / 1000)
    options = given.get("formatOptions") or {}
    answer = _results(job, 0, given.get("maxResults"), _int64(options.get), "bigquery#queryResponse")
    return web.json_response(answer)


def _int64(option: Callable[[str], Any]) -> bool:
    form = option("timestampOutputFormat")
    if form not in (None, "", "TIMESTAMP_OUTPUT_FORMAT_UNSPECIFIED", "INT64", "FLOAT64"):
        raise invalid(f"The local BigQuery emulator does not support timestampOutputFormat {form}")
    return str(option("useInt64Timestamp")).lower() == "true" or form == "INT64"


async def results(request: web.Request) -> web.Response:
    """jobs.getQueryResults"""
    job = await _job(request)
    if job.kind != "query":
        raise invalid(f"Job {job.project}:US.{job.id} is not a query job")
    asked = request.query
    await job.settled(checked_number(asked.get("timeoutMs"), "timeoutMs", 10_000, MAX_WAIT) / 1000)
    start = checked_number(asked.get("pageToken") or asked.get("startIndex"), "pageToken", 0, 2**62)

    def option(name: str) -> str | None:
        return asked.get(f"formatOptions.{name}")

    answer = _results(job, start, asked.get("maxResults"), _int64(option), "bigquery#getQueryResultsResponse")
    return web.json_response(answer)


def _results(job: Job, start: int, asked: Any, int64: bool, kind: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "kind": kind,
        "jobReference": {"projectId": job.project, "jobId": job.id, "location": "US"},
        "jobComplete": job.ended is not None,
    }
    if job.ended is None:
        return answer
    if job.error is not None:
        raise job.error
    result = job.result
    if result is None:
        raise not_found(f"The results of job {job.project}:US.{job.id} are no longer kept")
    size = checked_number(asked, "maxResults", DEFAULT_ROWS, MAX_ROWS)
    answer["queryId"] = job.id
    answer["cacheHit"] = False
    answer["totalBytesProcessed"] = job.statistics.get("totalBytesProcessed", "0")
    answer["schema"] = {"fields": result.schema}
    answer["location"] = "US"
    if result.affected is not None:
        answer["numDmlAffectedRows"] = str(result.affected)
    return answer | _page(result, start, size, int64)


def _page(result: Result, start: int, size: int, int64: bool) -> dict[str, Any]:
    part = result.rows.slice(start, size)
    answer: dict[str, Any] = {
        "totalRows": str(result.rows.num_rows),
        "rows": rows.encode(part, result.types, int64_timestamps=int64),
    }
    if start + part.num_rows < result.rows.num_rows:
        answer["pageToken"] = str(start + part.num_rows)
    return answer


async def _job(request: web.Request) -> Job:
    return await request.app[STATE].jobs.get(request.match_info["project"], request.match_info["job"])


async def get(request: web.Request) -> web.Response:
    return web.json_response((await _job(request)).resource())


async def cancel(request: web.Request) -> web.Response:
    job = await _job(request)
    request.app[STATE].jobs.cancel(job)
    return web.json_response({"kind": "bigquery#jobCancelResponse", "job": job.resource()})


async def list_(request: web.Request) -> web.Response:
    wanted = {state.upper() for state in request.query.getall("stateFilter", [])}
    oldest, newest = (_moment(request.query, name) for name in ("minCreationTime", "maxCreationTime"))

    def keep(job: Job) -> bool:
        within = (oldest is None or job.created >= oldest) and (newest is None or job.created <= newest)
        return within and (not wanted or job.state in wanted)

    found = await request.app[STATE].jobs.listed(request.match_info["project"], keep)
    items, following = page(request, found, 1_000, usual=50)
    listed = [{**job.resource(), "state": job.state} for job in items]
    return web.json_response({"kind": "bigquery#jobList", "jobs": listed} | following)


def _moment(asked: Mapping[str, str], name: str) -> int | None:
    return checked_number(asked[name], name, 0, 2**62) if name in asked else None


METHODS = {
    "jobs.insert": insert,
    "jobs.list": list_,
    "jobs.get": get,
    "jobs.cancel": cancel,
    "jobs.query": query,
    "jobs.getQueryResults": results,
}
