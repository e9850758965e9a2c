"""What Google documents: the permissions a call needs, and those of the predefined roles that are bound.

Pub/Sub: https://cloud.google.com/pubsub/docs/access-control (both)
BigQuery: https://cloud.google.com/bigquery/docs/access-control (roles), and "Required permissions" of
  https://cloud.google.com/bigquery/docs/write-api, .../data-manipulation-language, .../running-queries, .../views,
  .../datasets, .../information-schema-partitions, .../tables, .../managing-row-level-security and .../authorized-views.
  Who made a job may look at it, without a permission.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.provision.wire import Noted

PREDEFINED = {
    "roles/pubsub.publisher": {"pubsub.topics.publish"},
    "roles/pubsub.subscriber": {
        "pubsub.snapshots.seek",
        "pubsub.subscriptions.consume",
        "pubsub.topics.attachSubscription",
    },
    "roles/bigquery.dataViewer": {"bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.list"},
    "roles/bigquery.jobUser": {"bigquery.jobs.create", "resourcemanager.projects.get"},
}
_PUBSUB: dict[str, tuple[str, str]] = {
    "GetTopic": ("pubsub.topics.get", "topic"),
    "CreateTopic": ("pubsub.topics.create", "project"),
    "UpdateTopic": ("pubsub.topics.update", "topic"),
    "GetSubscription": ("pubsub.subscriptions.get", "subscription"),
    "CreateSubscription": ("pubsub.subscriptions.create", "project"),
    "UpdateSubscription": ("pubsub.subscriptions.update", "subscription"),
    "Publish": ("pubsub.topics.publish", "topic"),
    "StreamingPull": ("pubsub.subscriptions.consume", "subscription"),
    "Pull": ("pubsub.subscriptions.consume", "subscription"),
    "Acknowledge": ("pubsub.subscriptions.consume", "subscription"),
    "ModifyAckDeadline": ("pubsub.subscriptions.consume", "subscription"),
}
_BIGQUERY: dict[str, tuple[tuple[str, str], ...]] = {
    "AppendRows": (("bigquery.tables.updateData", "table"),),
    "datasets.insert": (("bigquery.datasets.create", "project"),),
    "datasets.get": (("bigquery.datasets.get", "dataset"),),
    "datasets.patch": (("bigquery.datasets.update", "dataset"),),
    "tables.insert": (("bigquery.tables.create", "dataset"),),
    "tables.get": (("bigquery.tables.get", "table"),),
    "tables.patch": (("bigquery.tables.update", "table"),),
    "routines.insert": (("bigquery.routines.create", "dataset"),),
    "routines.get": (("bigquery.routines.get", "dataset"),),
    "routines.update": (("bigquery.routines.update", "dataset"),),
    "rowAccessPolicies.list": (("bigquery.rowAccessPolicies.list", "table"),),
    "rowAccessPolicies.getIamPolicy": (("bigquery.rowAccessPolicies.getIamPolicy", "table"),),
    "jobs.insert": (("bigquery.jobs.create", "project"),),
    "jobs.query": (("bigquery.jobs.create", "project"),),
    "jobs.get": (),
    "jobs.getQueryResults": (),
}
_QUOTED_TABLE = re.compile(r"`[\w-]+\.(\w+)\.(\w+)`")
_INFORMATION_SCHEMA = re.compile(r"`[\w-]+\.(\w+)\.INFORMATION_SCHEMA\.\w+`")
_POLICY = re.compile(r"\s*(CREATE OR REPLACE|DROP) ROW ACCESS POLICY\b")
_POLICY_NEEDS = {
    "CREATE OR REPLACE": ("create", "update", "setIamPolicy"),
    "DROP": ("delete", "setIamPolicy"),
}
_CHANGES = re.compile(r"\s*(MERGE|INSERT|UPDATE|DELETE)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Need:
    """A permission on something; `resource` is empty for the project."""

    permission: str
    kind: str
    resource: str


def needs(noted: Noted) -> Iterator[Need]:
    """What one call needs; a KeyError for one nobody has thought of."""
    if noted.method in _PUBSUB:
        permission, kind = _PUBSUB[noted.method]
        yield Need(permission, kind, "" if kind == "project" else noted.resource)
        if noted.topic:
            yield Need("pubsub.topics.attachSubscription", "topic", noted.topic)
        return
    for permission, kind in _BIGQUERY[noted.method]:
        yield Need(permission, kind, "" if kind == "project" else noted.resource)
    if noted.method == "datasets.patch":
        if "access" in json.loads(noted.text):  # an authorized view, or a reader
            yield Need("bigquery.datasets.getIamPolicy", "dataset", noted.resource)
            yield Need("bigquery.datasets.setIamPolicy", "dataset", noted.resource)
    elif noted.text:
        yield from _of_sql(json.loads(noted.text))


def _of_sql(body: dict[str, object]) -> Iterator[Need]:
    """Of a query, or of the query of a view: every table in it is read, and DML changes the first."""
    job = body.get("configuration")
    holder = job.get("query") if isinstance(job, dict) else body.get("view") or body
    sql = holder.get("query", "") if isinstance(holder, dict) else ""
    tables = [".".join(found) for found in _QUOTED_TABLE.findall(str(sql))]
    for dataset in _INFORMATION_SCHEMA.findall(str(sql)):
        yield Need("bigquery.tables.get", "dataset", dataset)
        yield Need("bigquery.tables.list", "dataset", dataset)
    if policy := _POLICY.match(str(sql)):
        for permission in _POLICY_NEEDS[policy[1].upper()]:
            yield Need(f"bigquery.rowAccessPolicies.{permission}", "table", tables[0])
        if policy[1].upper() == "DROP":
            return
    for table in dict.fromkeys(tables):
        yield Need("bigquery.tables.getData", "table", table)
    if _CHANGES.match(str(sql)):
        yield Need("bigquery.tables.updateData", "table", tables[0])
