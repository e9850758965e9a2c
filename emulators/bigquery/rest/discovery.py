"""The discovery document, from which `bq` and Google's API clients make their methods.

It has the methods that are served, and those that are refused by their name: a client without a method fails in ways
that say nothing.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from emulators.bigquery.rest import exceptions, method

SERVICE = "bigquery/v2/"
PAGED = {"maxResults": "integer", "pageToken": "string"}
RESULTS = {**PAGED, "startIndex": "string", "formatOptions.useInt64Timestamp": "boolean"}
# What a method takes beside the path, with the type of each. What asks for less (a view, a location) changes nothing.
QUERY: dict[str, dict[str, str]] = {
    "datasets.list": {**PAGED, "all": "boolean"},
    "datasets.get": {"accessPolicyVersion": "integer", "datasetView": "string"},
    "datasets.insert": {"accessPolicyVersion": "integer"},
    "datasets.patch": {"accessPolicyVersion": "integer", "updateMode": "string"},
    "datasets.update": {"accessPolicyVersion": "integer", "updateMode": "string"},
    "datasets.delete": {"deleteContents": "boolean"},
    "tables.list": PAGED,
    "tables.get": {"view": "string"},
    "tables.patch": {"autodetect_schema": "boolean"},
    "tables.update": {"autodetect_schema": "boolean"},
    "projects.list": PAGED,
    "models.list": PAGED,
    "routines.list": PAGED,
    "rowAccessPolicies.list": {"pageSize": "integer", "pageToken": "string"},
    "tabledata.list": {**RESULTS, "selectedFields": "string"},
    "jobs.get": {"location": "string"},
    "jobs.cancel": {"location": "string"},
    "jobs.list": {
        **PAGED, "projection": "string", "allUsers": "boolean", "stateFilter": "string",
        "minCreationTime": "string", "maxCreationTime": "string",
    },
    "jobs.getQueryResults": {
        **RESULTS, "timeoutMs": "integer", "location": "string", "formatOptions.timestampOutputFormat": "string",
    },
}  # fmt: skip
BODIES = {"datasets": "Dataset", "tables": "Table", "jobs": "Job", "models": "Model", "routines": "Routine"}
REPEATED = {"stateFilter"}
# Parameters of every method, which Google's clients send and which change nothing here.
COMMON = {
    "alt": "string", "fields": "string", "key": "string", "oauth_token": "string", "prettyPrint": "boolean",
    "quotaUser": "string", "userIp": "string",
}  # fmt: skip


def document(root: str) -> dict[str, Any]:
    """The document of a server at this URL, which ends with a slash."""
    resources: dict[str, Any] = {}
    for (verb, path), name in (*method.NAMES.items(), *exceptions.NAMES.items()):
        if "upload" in path:
            continue
        resource, action = name.split(".")
        resources.setdefault(resource, {"methods": {}})["methods"][action] = _method(verb, path, name)
    return {
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "bigquery:v2",
        "name": "bigquery",
        "version": "v2",
        "title": "The local BigQuery emulator",
        "description": "What the local BigQuery emulator serves of BigQuery's API.",
        "protocol": "rest",
        "rootUrl": root,
        "servicePath": SERVICE,
        "baseUrl": root + SERVICE,
        "basePath": "/" + SERVICE,
        "batchPath": "batch/" + SERVICE.rstrip("/"),
        "parameters": {name: {"type": type_, "location": "query"} for name, type_ in COMMON.items()},
        "schemas": {name: {"id": name, "type": "object"} for name in _schemas()},
        "resources": resources,
    }


def _schemas() -> list[str]:
    return [*BODIES.values(), "QueryRequest", "Request", "Answer"]


def _method(verb: str, path: str, name: str) -> dict[str, Any]:
    places = {f"{part}Id": part for part in re.findall(r"\{(\w+)\}", path)}
    parameters: dict[str, Any] = {
        place: {"type": "string", "location": "path", "required": True, "pattern": r"^[^/]+$"} for place in places
    }
    for key, type_ in QUERY.get(name, {}).items():
        repeated = {"repeated": True} if key in REPEATED else {}
        parameters[key] = {"type": type_, "location": "query", **repeated}
    written = re.sub(r"\{(\w+)\}", r"{+\1Id}", path.removeprefix("/" + SERVICE))
    found: dict[str, Any] = {
        "id": f"bigquery.{name}",
        "httpMethod": verb,
        "path": written,
        "parameters": parameters,
        "parameterOrder": list(places),
    }
    if verb != "DELETE":
        found["response"] = {"$ref": "Answer"}
    if verb in ("PUT", "PATCH") or name.endswith(".insert"):
        found["request"] = {"$ref": BODIES[name.split(".")[0]]}
    elif verb == "POST" and name != "jobs.cancel":
        found["request"] = {"$ref": "QueryRequest" if name == "jobs.query" else "Request"}
    if name == "jobs.insert":
        found["supportsMediaUpload"] = True
        found["mediaUpload"] = {
            "accept": ["*/*"],
            "protocols": {
                "simple": {"multipart": True, "path": f"/upload/{SERVICE}{written}"},
                "resumable": {"multipart": True, "path": f"/resumable/upload/{SERVICE}{written}"},
            },
        }
    return found


async def get(request: web.Request) -> web.Response:
    return web.json_response(document(f"{request.url.origin()}/"))


# Where `bq` asks, and where the public directory of Google's APIs has it.
ROUTES = [
    ("GET", "/$discovery/rest", get),
    ("GET", "/discovery/v1/apis/bigquery/v2/rest", get),
]
