"""Pub/Sub subscriptions: what waits, how long, how often it is tried, and where it goes at last."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import types

from services.provision import archive
from services.provision.archive import Archive
from services.provision.resource import CALL, LABELS, ProvisionRefused, Step
from services.shared import log
from services.shared.resource_names import subscription_path, topic_path

# A service keeps the leases of what it holds by itself; this is how long a pack waits for a pod that was killed.
ACK_DEADLINE_SECONDS = 60
# The wait doubles with each attempt, so a pack is late by at most as long as what failed was down, and never by more
# than ten minutes. Twenty attempts at that pace take two hours: longer than a rollout or most outages, and few enough
# that a pack which kills its reader gives up.
RETRY_SECONDS = (1, 600)
DELIVERY_ATTEMPTS = 20
RETENTION_DAYS = 7  # of hits and rows that nobody has taken
DEAD_RETENTION_DAYS = 31  # a month in which someone can look at what was dead, repair the cause and replay it
DAY_SECONDS = 24 * 60 * 60
EMULATED_DAYS = 7  # what any emulator keeps


@dataclass(frozen=True)
class Policy:
    """The settings of one subscription."""

    topic: str
    retention_days: int  # how long an unread message is kept; Pub/Sub allows 31
    dead_topic: str | None  # where a message goes after DELIVERY_ATTEMPTS; None: it stays and is tried again
    archive: Archive | None = None  # where Pub/Sub writes the messages itself; None: the services pull them


class Subscription:
    def __init__(self, client: Any, project: str, subscription: str, source: str, policy: Policy) -> None:
        self._client, self._project, self._policy = client, project, policy
        self._retention_days = policy.retention_days
        self.source = source
        self._path = subscription_path(project, subscription)
        self.name = f"subscription {subscription}"

    def plan(self) -> Step:
        wanted = self._wanted()
        try:
            found = types.Subscription.pb(self._client.get_subscription(subscription=self._path, **CALL))
        except exceptions.NotFound:
            return Step("create", f"of topic {self._policy.topic}", lambda: self._send(self._create))
        if found.HasField("cloud_storage_config"):
            found.cloud_storage_config.ClearField("state")  # what Pub/Sub says of it
        self._check(found, wanted)
        for label, value in found.labels.items():
            if label not in LABELS:
                wanted.labels[label] = value
        drifted = [field for field in _OURS if _value(found, field) != _value(wanted, field)]
        if not drifted:
            return Step("keep")
        labels = dict(wanted.labels)
        return Step("update", ", ".join(drifted), lambda: self._send(lambda: self._update(labels, drifted)))

    def _create(self) -> None:
        self._client.create_subscription(request=types.Subscription.wrap(self._wanted()), **CALL)

    def _update(self, labels: dict[str, str], drifted: list[str]) -> None:
        wanted = self._wanted()
        wanted.labels.update(labels)
        request = {"subscription": types.Subscription.wrap(wanted), "update_mask": {"paths": drifted}}
        self._client.update_subscription(request=request, **CALL)

    def _send(self, send: Callable[[], None]) -> None:
        """Google's own emulator keeps messages for seven days at most; the real service takes 31."""
        try:
            send()
        except exceptions.InvalidArgument:
            if "PUBSUB_EMULATOR_HOST" not in os.environ or self._retention_days <= EMULATED_DAYS:
                raise
            log.get("provision").warning(
                "this emulator keeps messages for fewer days", subscription=self._path, days=EMULATED_DAYS
            )
            self._retention_days = EMULATED_DAYS
            send()

    def _wanted(self) -> Any:
        """A raw protobuf Subscription."""
        wanted = types.Subscription.pb(types.Subscription())
        wanted.name = self._path
        wanted.topic = topic_path(self._project, self._policy.topic)
        wanted.ack_deadline_seconds = ACK_DEADLINE_SECONDS
        wanted.message_retention_duration.CopyFrom(Duration(seconds=self._retention_days * DAY_SECONDS))
        wanted.expiration_policy.SetInParent()  # present and without a time to live: it never expires
        wanted.retry_policy.minimum_backoff.CopyFrom(Duration(seconds=RETRY_SECONDS[0]))
        wanted.retry_policy.maximum_backoff.CopyFrom(Duration(seconds=RETRY_SECONDS[1]))
        if self._policy.dead_topic is not None:
            wanted.dead_letter_policy.dead_letter_topic = topic_path(self._project, self._policy.dead_topic)
            wanted.dead_letter_policy.max_delivery_attempts = DELIVERY_ATTEMPTS
        if self._policy.archive is not None:
            wanted.ack_deadline_seconds = archive.ACK_DEADLINE_SECONDS
            wanted.filter = archive.FILTER
            self._policy.archive.fill(wanted.cloud_storage_config)
        wanted.labels.update(LABELS)
        return wanted

    def _check(self, found: Any, wanted: Any) -> None:
        """Raise ProvisionRefused for what Pub/Sub cannot change, and for what someone must have meant."""
        problems = []
        if found.topic != wanted.topic:
            problems.append(
                f"it belongs to {found.topic}, not to {wanted.topic}, and cannot be moved: choose another name for "
                "the subscription, or delete it (which drops what it holds)"
            )
        if self._policy.archive is not None:
            problems += _archive_problems(found)
        elif found.filter:
            problems.append(f"it has the filter {found.filter!r}, which drops messages and cannot be taken off")
        if self._policy.archive is None and (
            found.push_config.push_endpoint
            or found.HasField("bigquery_config")
            or found.HasField("cloud_storage_config")
        ):
            problems.append("it delivers to somewhere else; the services pull: make it a pull subscription")
        if found.detached:
            problems.append("it is detached from its topic: delete it")
        if problems:
            raise ProvisionRefused("\n".join(f"{self.name}: {problem}" for problem in problems))


def _archive_problems(found: Any) -> list[str]:
    other = "choose another name for it (PIPE_ARCHIVE_SUBSCRIPTION), or delete it (which drops what it holds)"
    problems = []
    if not found.HasField("cloud_storage_config"):
        problems.append(f"it does not write to Cloud Storage, and someone may read it: {other}")
    if found.filter != archive.FILTER:
        has = f"the filter {found.filter!r}" if found.filter else "no filter"
        problems.append(f"it has {has}, not {archive.FILTER!r}, and a filter cannot be changed: {other}")
    return problems


_OURS = (
    "ack_deadline_seconds", "message_retention_duration", "expiration_policy", "retry_policy", "dead_letter_policy",
    "cloud_storage_config", "labels",
)  # fmt: skip


def _value(subscription: Any, field: str) -> Any:
    """Something to compare; a message that is absent is not the same as one that is empty."""
    value = getattr(subscription, field)
    if field == "labels":
        return dict(value)
    if isinstance(value, int):
        return value
    return value.SerializeToString(deterministic=True) if subscription.HasField(field) else None
