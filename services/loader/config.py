"""Every setting of the loader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.shared import log, resource_names, schema
from services.shared.config import setting


@dataclass(frozen=True)
class Config:
    project: str = setting(help="the Google Cloud project that holds the subscription and the dataset")
    dataset: str = setting(resource_names.DATASET, "BigQuery dataset that holds the tables")
    rows_subscription: str = setting(resource_names.ROWS_SUBSCRIPTION, "subscription the packs of rows are pulled from")
    dead_topic: str = setting(resource_names.DEAD_TOPIC, "topic for packs that can never be loaded")
    schema: Path = setting(schema.DEFAULT_FILE, "path of the schema file")
    host: str = setting("0.0.0.0", "address the admin port listens on")  # noqa: S104 - a pod serves the whole cluster
    admin_port: int = setting(9103, "port of /livez, /readyz and /metrics, never public", minimum=0, maximum=65535)
    linger_seconds: float = setting(
        0.2, "seconds rows are batched for before an append, at most", minimum=0, maximum=60
    )
    batch_bytes: int = setting(
        4_000_000, "bytes of Arrow that close a batch; BigQuery takes 10 MB", minimum=100_000, maximum=9_000_000
    )
    max_bytes: int = setting(
        48_000_000, "bytes of rows held at a time; beyond that pulling stops", minimum=1_000_000, maximum=2**34
    )
    append_timeout_seconds: float = setting(
        30.0, "seconds BigQuery may take to answer an append before it is retried", minimum=0.1, maximum=600
    )
    shutdown_timeout_seconds: float = setting(
        20.0, "seconds after SIGTERM to write what is held; the rest is nacked", minimum=0, maximum=600
    )
    log_level: str = setting("info", "least severity that is logged", choices=log.LEVELS)
