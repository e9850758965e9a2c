"""Everything the services need in a project."""

from __future__ import annotations

import os
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, pubsub_v1

from services.provision import archive, conflicts
from services.provision.config import Config
from services.provision.resource import Resource
from services.provision.subscriptions import Policy, Subscription
from services.provision.tables import Dataset, LogTable, View
from services.provision.topics import Topic
from services.shared.schema import Schema


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
        # 31 days: a month in which someone can look at what was dead, repair the cause and replay it.
        (cfg.dead_subscription, "PIPE_DEAD_SUBSCRIPTION", Policy(cfg.dead_topic, retention_days=31, dead_topic=None)),
        (cfg.hits_subscription, "PIPE_HITS_SUBSCRIPTION", Policy(cfg.hits_topic, 7, cfg.dead_topic)),
        (cfg.rows_subscription, "PIPE_ROWS_SUBSCRIPTION", Policy(cfg.rows_topic, 7, cfg.dead_topic)),
    ):
        wanted.append(Subscription(subscriber, cfg.project, name, source, policy))
    if (store := archive.of(cfg.archive)) is not None:
        # Without a dead topic: while Pub/Sub may not write to the bucket, hits wait, and are none the worse for it.
        policy = Policy(cfg.hits_topic, 7, dead_topic=None, archive=store)
        name, source = cfg.archive_subscription, "PIPE_ARCHIVE_SUBSCRIPTION, PIPE_ARCHIVE"
        wanted.append(Subscription(subscriber, cfg.project, name, source, policy))
    wanted.append(Dataset(client, cfg.project, cfg.dataset, cfg.location))
    for table in (*schema.tables.values(), conflicts.table(schema)):
        log_table = LogTable(client, cfg.project, cfg.dataset, table)
        wanted += [log_table, View(client, cfg.project, cfg.dataset, table, log_table)]
    return wanted


def _bigquery(cfg: Config) -> Any:
    # Unlike Pub/Sub's, this client looks for credentials also where it talks to an emulator.
    anonymous = AnonymousCredentials() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None
    return bigquery.Client(project=cfg.project, credentials=anonymous)
