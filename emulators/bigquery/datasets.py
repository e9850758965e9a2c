"""Creates, changes and drops datasets; each change is on disk before the reply."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

from emulators.bigquery import access, catalog
from emulators.bigquery.catalog import Catalog, Dataset, check_etag
from emulators.bigquery.errors import ApiError, duplicate, invalid
from emulators.bigquery.store import Store
from emulators.bigquery.writer import Connection

NAME = re.compile(r"[A-Za-z0-9_]{1,1024}")
SETTABLE = {"description", "friendlyName", "labels", "location", "access", "isCaseInsensitive", "maxTimeTravelHours"}
IGNORED = {"datasetReference", "kind", "id", "etag", "selfLink", "creationTime", "lastModifiedTime", "type"}


def resource(dataset: Dataset) -> dict[str, Any]:
    return {
        "kind": "bigquery#dataset",
        "etag": dataset.etag,
        "id": f"{dataset.project}:{dataset.name}",
        "datasetReference": {"projectId": dataset.project, "datasetId": dataset.name},
        "location": "US",
        "creationTime": str(dataset.created),
        "lastModifiedTime": str(dataset.modified),
        **{name: value for name, value in dataset.fields.items() if value is not None},
    }


def settings(known: Catalog, body: dict[str, Any]) -> dict[str, Any]:
    """The fields a client may set; ApiError 400 for fields that need behaviour the emulator lacks."""
    for name, value in body.items():
        if name not in SETTABLE | IGNORED and value not in (None, {}, [], "", False):
            raise invalid(f"The local BigQuery emulator does not support {name} of a dataset")
    if body.get("isCaseInsensitive"):
        raise invalid("The local BigQuery emulator does not support isCaseInsensitive of a dataset")
    if not isinstance(body.get("labels") or {}, dict):
        raise invalid("labels must be an object")
    found = {name: body[name] for name in sorted(SETTABLE) if name in body}
    if found.get("access") is not None:
        found["access"] = access.checked(known, found["access"])
    return found


async def create(store: Store, project: str, name: str, body: dict[str, Any]) -> Dataset:
    if not NAME.fullmatch(name):
        raise invalid(f'Invalid dataset ID "{name}". Dataset IDs must be alphanumeric (plus underscores).')
    now = time.time_ns() // 1_000_000
    fields = settings(store.catalog, body)
    if not fields.get("access"):
        fields["access"] = list(access.DEFAULT)
    dataset = Dataset(project, name, now, now, fields)

    def apply(connection: Connection) -> Dataset:
        if dataset.key in store.catalog.datasets:
            raise duplicate(f"Dataset {project}:{name}")
        catalog.put_dataset(connection, dataset)
        return dataset

    return await store.write(apply, store.catalog.set_dataset)


async def change(
    store: Store, project: str, name: str, body: dict[str, Any], match: str | None, *, patch: bool
) -> Dataset:
    """Update or patch; ApiError 412 when `match` names an older state."""

    def apply(connection: Connection) -> Dataset:
        old = store.catalog.dataset(project, name)
        check_etag(match, old.etag)
        given = settings(store.catalog, body)
        fields = _labelled({**old.fields, **given}, old.fields) if patch else given
        modified = max(old.modified + 1, time.time_ns() // 1_000_000)
        new = replace(old, fields=fields, modified=modified)
        catalog.put_dataset(connection, new)
        return new

    return await store.write(apply, store.catalog.set_dataset)


def _labelled(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """A patch of labels changes those it names; null removes one."""
    if isinstance(new.get("labels"), dict):
        merged = {**(old.get("labels") or {}), **new["labels"]}
        new["labels"] = {key: value for key, value in merged.items() if value is not None}
    return new


async def delete(store: Store, project: str, name: str, match: str | None, *, contents: bool) -> None:
    """Drop a dataset; its tables too where `contents`, else ApiError 400 when it has any."""

    def apply(connection: Connection) -> None:
        dataset = store.catalog.dataset(project, name)
        check_etag(match, dataset.etag)
        tables = list(store.catalog.tables_of(project, name))
        functions = list(store.catalog.functions_of(project, name))
        if (tables or functions) and not contents:
            raise ApiError(400, "resourceInUse", f"Dataset {project}:{name} is still in use")
        for table in tables:
            if table.view is None:
                connection.execute(f"DROP TABLE {table.rows}")
            catalog.drop_table(connection, table.key)
        for function in functions:
            catalog.drop_function(connection, function.key)
        catalog.drop_dataset(connection, dataset.key)

    await store.write(apply, lambda _: store.catalog.forget_dataset((project, name)))
