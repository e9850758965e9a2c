"""Who may do what: the least each part of the pipeline needs on Google Cloud. Pure.

Every account is a Kubernetes ServiceAccount, bound directly by Workload Identity, with a role on one topic,
subscription or table wherever one will do. `tests/provision/test_iam.py` holds this to the calls the services really
make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.provision import archive, tenant_views
from services.provision.config import Config
from services.shared.schema import CONFLICTS, LOG_SUFFIX, RECONCILIATION, TALLIES, Column, Schema

Kind = Literal["project", "bucket", "topic", "subscription", "table"]
SERVICE_AGENT = "service agent"  # Pub/Sub's own account in the project, which moves dead letters
METRICS_READER = "metrics reader"  # whoever scales on Cloud Monitoring's metrics
PUBLISHER, SUBSCRIBER = "roles/pubsub.publisher", "roles/pubsub.subscriber"
VIEWER = "roles/bigquery.dataViewer"


@dataclass(frozen=True)
class CustomRole:
    """A role of the project's own; `why` says which predefined one would allow too much, and what."""

    id: str
    title: str
    why: str
    permissions: tuple[str, ...]


LOADER = CustomRole(
    "pixelpipeLoader",
    "pixelpipe: append rows",
    "roles/bigquery.dataEditor on a table would also let the loader read, alter and delete it",
    ("bigquery.tables.updateData",),
)
COMPACTOR = CustomRole(
    "pixelpipeCompactor",
    "pixelpipe: remove duplicate rows",
    "roles/bigquery.dataEditor on a table would also let compaction alter and delete it",
    ("bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.updateData"),
)
SWEEPER = CustomRole(
    "pixelpipeSweeper",
    "pixelpipe: see which partitions changed",
    "roles/bigquery.metadataViewer would also let compaction see routines, models and who may do what",
    ("bigquery.tables.get", "bigquery.tables.list"),
)
VIEW_KEEPER = CustomRole(
    "pixelpipeViewKeeper",
    "pixelpipe: move the watermark of a view",
    "roles/bigquery.dataEditor on a view would also let compaction delete it",
    ("bigquery.tables.update",),
)
PROVISIONER = CustomRole(
    "pixelpipeProvisioner",
    "pixelpipe: create and repair, delete nothing",
    "roles/pubsub.editor and roles/bigquery.dataEditor would also let it publish, consume and delete",
    (
        "pubsub.topics.attachSubscription",
        "pubsub.topics.create",
        "pubsub.topics.get",
        "pubsub.topics.update",
        "pubsub.subscriptions.create",
        "pubsub.subscriptions.get",
        "pubsub.subscriptions.update",
        "bigquery.datasets.create",
        "bigquery.datasets.get",
        "bigquery.datasets.update",
        "bigquery.tables.create",
        "bigquery.tables.get",
        "bigquery.tables.getData",  # a view can only be made by who may read the table under it
        "bigquery.tables.update",
        "bigquery.routines.create",
        "bigquery.routines.get",
        "bigquery.routines.update",
    ),
)
SHARER = CustomRole(
    "pixelpipeSharer",
    "pixelpipe: let tenants' readers see their own rows",
    "roles/bigquery.dataOwner would also let it delete; needed only where the schema file has `tenants: admins`, since "
    "whoever may set a dataset's policy can let anyone in",
    (
        "bigquery.rowAccessPolicies.create",
        "bigquery.rowAccessPolicies.update",
        "bigquery.rowAccessPolicies.delete",
        "bigquery.rowAccessPolicies.list",
        "bigquery.rowAccessPolicies.getIamPolicy",
        "bigquery.rowAccessPolicies.setIamPolicy",
        "bigquery.datasets.getIamPolicy",
        "bigquery.datasets.setIamPolicy",
        "bigquery.jobs.create",
    ),
)
TAGGER = CustomRole(
    "pixelpipeTagger",
    "pixelpipe: put policy tags on columns",
    "roles/bigquery.dataOwner would also let it delete; needed only where the schema file has `policy_tags`",
    ("bigquery.tables.setCategory", "datacatalog.taxonomies.get"),
)
CUSTOM_ROLES = (PROVISIONER, LOADER, COMPACTOR, SWEEPER, VIEW_KEEPER, SHARER, TAGGER)


@dataclass(frozen=True)
class Binding:
    """`account` has `role` on the resource; `role` is a predefined one's name or one of CUSTOM_ROLES.

    `resource` is a name without its project; that of a table is DATASET.TABLE, that of the project is empty.
    Buckets are its owner's, and there before anything is provisioned.
    """

    account: str
    role: str | CustomRole
    kind: Kind
    resource: str
    why: str

    @property
    def first(self) -> bool:
        """Whether it can be granted before anything is provisioned."""
        return self.kind in ("project", "bucket")


def custom_roles(bound: Sequence[Binding]) -> Sequence[CustomRole]:
    """The project's own roles that these need."""
    return tuple(role for role in CUSTOM_ROLES if any(binding.role == role for binding in bound))


def bindings(cfg: Config, schema: Schema, *, metrics_reader: bool = False) -> Sequence[Binding]:
    """All of them, those first that can be granted before there is anything."""
    tables = [f"{cfg.dataset}.{table.log_name}" for table in schema.tables.values()]
    views = [f"{cfg.dataset}.{name}" for name in schema.tables]
    tenants = [
        f"{tenant_views.dataset_name(cfg.dataset, one.tenant)}.{one.table.name}"
        for one in tenant_views.views(schema)
        if schema.tenants.admins
    ]
    found = [
        Binding("provision", PROVISIONER, "project", "", "makes what does not exist yet, so nothing smaller will do"),
        Binding(
            "ops",
            "roles/bigquery.jobUser",
            "project",
            "",
            "compaction and smoke test query, which belongs to a project",
        ),
        Binding("ops", SWEEPER, "project", "", "compaction asks which partitions changed, which no single table tells"),
        Binding("collector", PUBLISHER, "topic", cfg.hits_topic, "publishes hits"),
        Binding("processor", SUBSCRIBER, "subscription", cfg.hits_subscription, "receives hits"),
        Binding("processor", PUBLISHER, "topic", cfg.rows_topic, "publishes rows"),
        Binding("processor", PUBLISHER, "topic", cfg.dead_topic, "gives up what cannot be decoded"),
        Binding("loader", SUBSCRIBER, "subscription", cfg.rows_subscription, "receives rows"),
        Binding("loader", PUBLISHER, "topic", cfg.dead_topic, "gives up what cannot be loaded"),
        *(Binding("loader", LOADER, "table", table, "appends rows") for table in tables),
        Binding("loader", LOADER, "table", f"{cfg.dataset}.{TALLIES}{LOG_SUFFIX}", "appends what it has loaded"),
        *(Binding("ops", COMPACTOR, "table", table, "removes duplicates of closed days") for table in tables),
        Binding("ops", COMPACTOR, "table", f"{cfg.dataset}.{CONFLICTS}{LOG_SUFFIX}", "moves there what differs"),
        Binding("ops", COMPACTOR, "table", f"{cfg.dataset}.{TALLIES}{LOG_SUFFIX}", "counts dead letters there"),
        Binding("ops", VIEWER, "table", f"{cfg.dataset}.{RECONCILIATION}", "compares what was counted"),
        Binding("ops", SUBSCRIBER, "subscription", cfg.dead_subscription, "reads dead letters, to count them"),
        *(Binding("ops", VIEWER, "table", view, "the smoke test looks for its event") for view in views),
        *(Binding("ops", VIEW_KEEPER, "table", view, "says what is compacted") for view in views + tenants),
        Binding(SERVICE_AGENT, PUBLISHER, "topic", cfg.dead_topic, "moves there what was delivered too often"),
        Binding(SERVICE_AGENT, SUBSCRIBER, "subscription", cfg.hits_subscription, "and takes it away from here"),
        Binding(SERVICE_AGENT, SUBSCRIBER, "subscription", cfg.rows_subscription, "and from here"),
    ]
    if schema.tenants.admins:
        found.append(Binding("provision", SHARER, "project", "", "sets row access policies and authorizes views"))
    elif any(table.expressions for table in schema.tables.values()):
        why = "asks BigQuery whether it takes the schema file's expressions, by queries that are not run"
        found.append(Binding("provision", "roles/bigquery.jobUser", "project", "", why))
    if any(_tagged(column) for table in schema.tables.values() for column in table.columns):
        found.append(Binding("provision", TAGGER, "project", "", "puts policy tags on columns"))
    if (store := archive.of(cfg.archive)) is not None:
        # Only so can it create objects, and tell that the bucket is there.
        found += [
            Binding(SERVICE_AGENT, role, "bucket", store.bucket, "writes the archive of hits")
            for role in archive.BUCKET_ROLES
        ]
    if metrics_reader:
        found.append(Binding(METRICS_READER, "roles/monitoring.viewer", "project", "", "reads the backlog to scale on"))
    return sorted(found, key=lambda binding: not binding.first)


def _tagged(column: Column) -> bool:
    return bool(column.policy_tags) or any(map(_tagged, column.fields))
