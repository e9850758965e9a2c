"""Everything the services need in a project."""

from __future__ import annotations

import functools
import itertools
import os
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, pubsub_v1

from services.provision import analyst_views, archive, conflicts, erasures, reconciliation, row_access, tenant_views
from services.provision.config import Config
from services.provision.resource import Resource
from services.provision.row_policies import PolicyReader, RowPolicies
from services.provision.subscriptions import DEAD_RETENTION_DAYS, RETENTION_DAYS, Policy, Subscription
from services.provision.table_function import TableFunction
from services.provision.tables import AnalystTableView, Dataset, LogTable, View
from services.provision.tenant_datasets import AuthorizedViews, TenantDataset
from services.provision.topics import Topic
from services.shared.schema import TALLIES, Schema, Table
from services.shared.tally_table import TABLE as TALLIES_TABLE


def resources(cfg: Config, schema: Schema) -> list[Resource]:
    """All of them, each after what it needs."""
    publisher, subscriber, client = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient(), _bigquery(cfg)
    wanted: list[Resource] = [
        Topic(publisher, cfg.project, name, source)
        for name, source in (
            (cfg.dead_topic, "PIPE_DEAD_TOPIC"),
            (cfg.hits_topic, "PIPE_HITS_TOPIC"),
            (cfg.rows_topic, "PIPE_ROWS_TOPIC"),
        )
    ]
    for name, source, policy in (
        (cfg.dead_subscription, "PIPE_DEAD_SUBSCRIPTION", Policy(cfg.dead_topic, DEAD_RETENTION_DAYS, dead_topic=None)),
        (cfg.hits_subscription, "PIPE_HITS_SUBSCRIPTION", Policy(cfg.hits_topic, RETENTION_DAYS, cfg.dead_topic)),
        (cfg.rows_subscription, "PIPE_ROWS_SUBSCRIPTION", Policy(cfg.rows_topic, RETENTION_DAYS, cfg.dead_topic)),
    ):
        wanted.append(Subscription(subscriber, cfg.project, name, source, policy))
    if (store := archive.of(cfg.archive)) is not None:
        # Without a dead topic: while Pub/Sub may not write to the bucket, hits wait, and are none the worse for it.
        policy = Policy(cfg.hits_topic, RETENTION_DAYS, dead_topic=None, archive=store)
        name, source = cfg.archive_subscription, "PIPE_ARCHIVE_SUBSCRIPTION, PIPE_ARCHIVE"
        wanted.append(Subscription(subscriber, cfg.project, name, source, policy))
    wanted.append(Dataset(client, cfg.project, cfg.dataset, cfg.location))
    log_tables = {}
    for table in tables(schema):
        log_tables[table.name] = LogTable(client, cfg.project, cfg.dataset, table)
        wanted += [log_tables[table.name], View(client, cfg.project, cfg.dataset, table, log_tables[table.name])]
    compared = reconciliation.sql(cfg.project, cfg.dataset)
    view = View(client, cfg.project, cfg.dataset, reconciliation.table(), log_tables[TALLIES], lambda _: compared)
    wanted.append(view)
    for one in analyst_views.wanted(schema):
        kind = TableFunction if one.arguments else AnalystTableView
        wanted.append(kind(client, cfg.project, cfg.dataset, one, schema))
    return wanted + (_tenants(cfg, schema, client, log_tables) if schema.tenants.admins else [])


def tables(schema: Schema) -> tuple[Table, ...]:
    """All that are provisioned."""
    return (*schema.tables.values(), conflicts.table(schema), erasures.table(), TALLIES_TABLE)


def _tenants(cfg: Config, schema: Schema, client: Any, log_tables: dict[str, LogTable]) -> list[Resource]:
    """What lets tenants' readers see their own rows: first the policies, then the views, then who may read those."""
    reader = PolicyReader(os.environ.get("BIGQUERY_EMULATOR_HOST"))
    place = (cfg.project, cfg.dataset)
    wanted: list[Resource] = [
        RowPolicies(client, reader, cfg.location, place, table, row_access.policies(schema, table))
        for table in tables(schema)
    ]
    views = tuple(tenant_views.views(schema))
    for tenant, own in itertools.groupby(views, lambda one: one.tenant):
        wanted.append(TenantDataset(client, *place, cfg.location, tenant))
        for one in own:
            sql = functools.partial(tenant_views.sql, one, *place)
            name = tenant_views.dataset_name(cfg.dataset, tenant)
            wanted.append(View(client, cfg.project, name, one.table, log_tables[one.table.name], sql))
    wanted.append(AuthorizedViews(client, *place, views))
    return wanted


def _bigquery(cfg: Config) -> Any:
    # Unlike Pub/Sub's, this client looks for credentials also where it talks to an emulator.
    anonymous = AnonymousCredentials() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None
    return bigquery.Client(project=cfg.project, credentials=anonymous, location=cfg.location)
