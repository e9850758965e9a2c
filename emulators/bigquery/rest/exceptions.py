"""Methods of BigQuery's API that Google's clients call and the emulator does not have: each is refused by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from emulators.bigquery.errors import ApiError

_PROJECT = "/bigquery/v2/projects/{project}"
_DATASET = _PROJECT + "/datasets/{dataset}"
_TABLE = _DATASET + "/tables/{table}"

NAMES = {
    ("GET", "/bigquery/v2/projects"): "projects.list",
    ("GET", _PROJECT + "/serviceAccount"): "projects.getServiceAccount",
    ("POST", _DATASET + ":undelete"): "datasets.undelete",
    ("DELETE", _PROJECT + "/jobs/{job}/delete"): "jobs.delete",
    ("POST", _TABLE + "/insertAll"): "tabledata.insertAll",
    ("GET", _DATASET + "/models"): "models.list",
    ("GET", _DATASET + "/models/{model}"): "models.get",
    ("PATCH", _DATASET + "/models/{model}"): "models.patch",
    ("DELETE", _DATASET + "/models/{model}"): "models.delete",
    ("POST", _TABLE + ":getIamPolicy"): "tables.getIamPolicy",
    ("POST", _TABLE + ":setIamPolicy"): "tables.setIamPolicy",
    ("POST", _TABLE + ":testIamPermissions"): "tables.testIamPermissions",
}


def _refusal(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def refuse(request: web.Request) -> web.StreamResponse:
        raise ApiError(501, "notImplemented", f"The local BigQuery emulator does not support {name}")

    return refuse


ROUTES = [(verb, path, _refusal(name)) for (verb, path), name in NAMES.items()]
