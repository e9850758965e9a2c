"""Which method of the REST API a request is, by the name that BigQuery's reference gives it."""

from __future__ import annotations

from aiohttp import web

from emulators.faults.active_faults import Call

_PROJECT = "/bigquery/v2/projects/{project}"
_DATASETS = _PROJECT + "/datasets"
_TABLES = _DATASETS + "/{dataset}/tables"
_JOBS = _PROJECT + "/jobs"

NAMES = {
    ("POST", _DATASETS): "datasets.insert",
    ("GET", _DATASETS): "datasets.list",
    ("GET", _DATASETS + "/{dataset}"): "datasets.get",
    ("PATCH", _DATASETS + "/{dataset}"): "datasets.patch",
    ("PUT", _DATASETS + "/{dataset}"): "datasets.update",
    ("DELETE", _DATASETS + "/{dataset}"): "datasets.delete",
    ("POST", _TABLES): "tables.insert",
    ("GET", _TABLES): "tables.list",
    ("GET", _TABLES + "/{table}"): "tables.get",
    ("PATCH", _TABLES + "/{table}"): "tables.patch",
    ("PUT", _TABLES + "/{table}"): "tables.update",
    ("DELETE", _TABLES + "/{table}"): "tables.delete",
    ("GET", _TABLES + "/{table}/data"): "tabledata.list",
    ("GET", _TABLES + "/{table}/rowAccessPolicies"): "rowAccessPolicies.list",
    ("POST", _TABLES + "/{table}/rowAccessPolicies/{policy}:getIamPolicy"): "rowAccessPolicies.getIamPolicy",
    ("GET", _DATASETS + "/{dataset}/routines"): "routines.list",
    ("POST", _DATASETS + "/{dataset}/routines"): "routines.insert",
    ("GET", _DATASETS + "/{dataset}/routines/{routine}"): "routines.get",
    ("PUT", _DATASETS + "/{dataset}/routines/{routine}"): "routines.update",
    ("DELETE", _DATASETS + "/{dataset}/routines/{routine}"): "routines.delete",
    ("POST", _JOBS): "jobs.insert",
    ("GET", _JOBS): "jobs.list",
    ("GET", _JOBS + "/{job}"): "jobs.get",
    ("POST", _JOBS + "/{job}/cancel"): "jobs.cancel",
    ("POST", _PROJECT + "/queries"): "jobs.query",
    ("GET", _PROJECT + "/queries/{job}"): "jobs.getQueryResults",
    ("POST", "/upload" + _JOBS): "jobs.insert",
    ("PUT", "/upload" + _JOBS): "jobs.insert",
    ("POST", "/resumable/upload" + _JOBS): "jobs.insert",
    ("PUT", "/resumable/upload" + _JOBS): "jobs.insert",
}


def call_of(request: web.Request) -> Call | None:
    """The method and, where the path names one, the dataset or table; None if it is not a method."""
    resource = request.match_info.route.resource
    # aiohttp serves HEAD wherever there is a GET.
    verb = "GET" if request.method == "HEAD" else request.method
    name = NAMES.get((verb, resource.canonical)) if resource is not None else None
    if name is None:
        return None
    parts = [part for key in ("project", "dataset", "table") if (part := request.match_info.get(key))]
    if "dataset" not in request.match_info:
        return Call(name)
    return Call(name, tuple(".".join(parts[start:]) for start in range(len(parts))))
