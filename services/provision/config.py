"""The provisioner's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.shared import log, resource_names
from services.shared.config import setting
from services.shared.schema import DEFAULT_FILE


@dataclass(frozen=True)
class Config:
    project: str = setting(help="the Google Cloud project everything is made in")
    dataset: str = setting(resource_names.DATASET, "the BigQuery dataset of tables and views")
    location: str = setting("US", "where the dataset is made, such as US, EU or europe-west4; it can never move")
    schema: Path = setting(DEFAULT_FILE, "the schema file")
    hits_topic: str = setting(resource_names.HITS_TOPIC, "the topic of what the collector captured")
    hits_subscription: str = setting(resource_names.HITS_SUBSCRIPTION, "the processor's subscription of hits")
    rows_topic: str = setting(resource_names.ROWS_TOPIC, "the topic of typed rows")
    rows_subscription: str = setting(resource_names.ROWS_SUBSCRIPTION, "the loader's subscription of rows")
    dead_topic: str = setting(resource_names.DEAD_TOPIC, "the topic of messages that nobody could use")
    dead_subscription: str = setting(resource_names.DEAD_SUBSCRIPTION, "the subscription that keeps the dead messages")
    archive: str = setting("", "where Pub/Sub archives hits: gs://BUCKET or gs://BUCKET/FOLDER, empty: nowhere")
    archive_days: int = setting(30, "days archived hits are kept, by the lifecycle rule that is printed", minimum=1)
    archive_subscription: str = setting(resource_names.ARCHIVE_SUBSCRIPTION, "the subscription that archives hits")
    log_level: str = setting("info", "least severity that is logged", choices=log.LEVELS)
