"""Row access policies of a table: made and dropped by statements, listed by the REST API."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import replace
from typing import Any

from emulators.bigquery import catalog
from emulators.bigquery.catalog import RowPolicy, Table
from emulators.bigquery.errors import duplicate, invalid_query, not_found
from emulators.bigquery.execute import Publish
from emulators.bigquery.sql.row_access import PolicyChange
from emulators.bigquery.store import Store
from emulators.bigquery.writer import Connection

ROLE = "roles/bigquery.filteredDataViewer"  # what the members of a policy have on it


def change(connection: Connection, store: Store, wanted: PolicyChange) -> tuple[str, Publish]:
    """Carry it out; return BigQuery's ddlOperationPerformed, and what makes it visible."""
    table = store.catalog.table(*wanted.key)
    before = {policy.name: policy for policy in table.policies}
    old = before.get(wanted.name)
    if wanted.policy is not None:
        if old is not None and wanted.unless:
            return "SKIP", lambda: None
        if old is not None and not wanted.replace:
            raise duplicate(f"Row access policy {wanted.name} on table {table.title}")
        now = time.time_ns() // 1_000_000
        policy = replace(wanted.policy, created=old.created if old is not None else now, modified=now)
        return _kept(connection, store, table, {**before, policy.name: policy}, "REPLACE" if old else "CREATE")
    if wanted.kind == "DROP_ALL_ROW_ACCESS_POLICIES":
        return _kept(connection, store, table, {}, "DROP")
    if old is None:
        if wanted.unless:
            return "SKIP", lambda: None
        raise not_found(f"Row access policy {wanted.name} on table {table.title}")
    if len(before) == 1:
        raise invalid_query(
            f"Cannot drop {wanted.name}, the last row access policy of {table.title}: "
            "use DROP ALL ROW ACCESS POLICIES instead"
        )
    del before[wanted.name]
    return _kept(connection, store, table, before, "DROP")


def _kept(
    connection: Connection, store: Store, table: Table, policies: dict[str, RowPolicy], performed: str
) -> tuple[str, Publish]:
    new = replace(table, policies=tuple(policies[name] for name in sorted(policies)))
    catalog.put_table(connection, new)
    return performed, lambda: store.catalog.set_table(new)


def resource(table: Table, policy: RowPolicy) -> dict[str, Any]:
    """The RowAccessPolicy of the REST API, which never has the grantees."""
    return {
        "etag": policy.etag,
        "rowAccessPolicyReference": {
            "projectId": table.project,
            "datasetId": table.dataset,
            "tableId": table.name,
            "policyId": policy.name,
        },
        "filterPredicate": policy.filter,
        "creationTime": _time(policy.created),
        "lastModifiedTime": _time(policy.modified),
    }


def iam_policy(table: Table, name: str) -> dict[str, Any]:
    """Who may see the rows of one policy; ApiError 404 without it."""
    for policy in table.policies:
        if policy.name == name:
            return {"version": 1, "etag": policy.etag, "bindings": [{"role": ROLE, "members": list(policy.grantees)}]}
    raise not_found(f"Row access policy {name} on table {table.title}")


def _time(milliseconds: int) -> str:
    at = dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
