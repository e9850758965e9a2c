"""The names of what the services share in a project: each default is a setting where a service uses it."""

from __future__ import annotations

HITS_TOPIC = "pixelpipe-hits"
HITS_SUBSCRIPTION = "pixelpipe-hits-processor"
ARCHIVE_SUBSCRIPTION = "pixelpipe-hits-archive"
ROWS_TOPIC = "pixelpipe-rows"
ROWS_SUBSCRIPTION = "pixelpipe-rows-loader"
DEAD_TOPIC = "pixelpipe-dead"
DEAD_SUBSCRIPTION = "pixelpipe-dead-letters"
DATASET = "pixelpipe"


def topic_path(project: str, topic: str) -> str:
    return f"projects/{project}/topics/{topic}"


def subscription_path(project: str, subscription: str) -> str:
    return f"projects/{project}/subscriptions/{subscription}"
