"""Topic and Subscription resources: what a client may set, the defaults, and what of it the backlog obeys.

Resources are raw protobuf messages. What this emulator does not support is refused with UNIMPLEMENTED when it is
set, never stored and ignored. `message_storage_policy` is stored and returned, and has no effect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

from emulators.pubsub import limits, names, object_name
from emulators.pubsub.errors import invalid, unsupported

_DAY = 86_400.0
DEFAULT_RETENTION = 7 * _DAY
MIN_RETENTION, MAX_RETENTION = 600.0, 31 * _DAY
DEFAULT_TTL, MIN_TTL = 31 * _DAY, _DAY
MIN_ATTEMPTS, MAX_ATTEMPTS = 5, 100
MIN_BACKOFF, MAX_BACKOFF, DEFAULT_MIN_BACKOFF = 0.0, 600.0, 10.0
MIN_DURATION, MAX_DURATION, DEFAULT_DURATION = 60.0, 600.0, 300
MIN_OBJECT_BYTES, MAX_OBJECT_BYTES, MIN_OBJECT_MESSAGES = 1_000, 10 * 1024**3, 1_000

_TOPIC_UNSUPPORTED = ("kms_key_name", "schema_settings", "ingestion_data_source_settings", "message_transforms", "tags")
_TOPIC_MUTABLE = {"labels", "message_storage_policy", "message_retention_duration", *_TOPIC_UNSUPPORTED}
_TOPIC_OUTPUT = ("state", "satisfies_pzs")

_SUBSCRIPTION_UNSUPPORTED = (
    "push_config", "bigquery_config", "bigtable_config", "enable_message_ordering", "enable_exactly_once_delivery",
    "message_transforms", "tags",
)  # fmt: skip
_SUBSCRIPTION_IMMUTABLE = {"name", "topic", "filter", "enable_message_ordering", "tags"}
_SUBSCRIPTION_OUTPUT = ("state", "detached", "topic_message_retention_duration", "analytics_hub_subscription_info")

_LABEL_KEY = re.compile(r"[^\W\d_][\w-]{0,62}")
_LABEL_VALUE = re.compile(r"[\w-]{0,63}")


@dataclass(frozen=True, slots=True)
class Policy:
    """What a backlog does with its messages; all times in seconds."""

    ack_deadline: int
    retention: float
    retain_acked: bool
    ttl: float | None  # idle time after which the subscription is deleted; None is never
    dead_letter_topic: str | None
    max_attempts: int
    min_backoff: float | None  # None without a retry policy: redelivery is immediate
    max_backoff: float

    def backoff(self, attempt: int) -> float:
        """The wait after failed attempt 1, 2, ...: the minimum, doubled each time, up to the maximum."""
        if self.min_backoff is None:
            return 0.0
        return min(self.max_backoff, self.min_backoff * 2.0 ** min(attempt - 1, 60))


def seconds_of(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def new_topic(requested: Any) -> Any:
    """Return the Topic to store for a CreateTopic request, checked; raises `PubsubError`."""
    names.check_topic(requested.name)
    return _checked_topic(requested)


def updated_topic(stored: Any, requested: Any, mask: Any) -> Any:
    """Return the Topic to store for an UpdateTopic request, checked; raises `PubsubError` and leaves `stored` alone."""
    return _checked_topic(_merged("Topic", stored, requested, mask, _TOPIC_MUTABLE))


def new_subscription(requested: Any) -> Any:
    """Return the Subscription to store for a request, with defaults filled in; raises `PubsubError`."""
    names.check_subscription(requested.name)
    names.check_topic(requested.topic)
    return _checked_subscription(requested)


def updated_subscription(stored: Any, requested: Any, mask: Any) -> Any:
    """Return the Subscription to store for an UpdateSubscription request, checked; `stored` is left alone."""
    mutable = {field.name for field in stored.DESCRIPTOR.fields} - _SUBSCRIPTION_IMMUTABLE - {*_SUBSCRIPTION_OUTPUT}
    merged = _merged("Subscription", stored, requested, mask, mutable)
    checked = _checked_subscription(merged)
    checked.detached = stored.detached
    return checked


def policy_of(subscription: Any) -> Policy:
    """What a checked Subscription asks of its backlog."""
    dead = subscription.dead_letter_policy if subscription.HasField("dead_letter_policy") else None
    retry = subscription.retry_policy if subscription.HasField("retry_policy") else None
    return Policy(
        ack_deadline=subscription.ack_deadline_seconds,
        retention=seconds_of(subscription.message_retention_duration),
        retain_acked=subscription.retain_acked_messages,
        ttl=seconds_of(subscription.expiration_policy.ttl) if subscription.expiration_policy.HasField("ttl") else None,
        dead_letter_topic=dead.dead_letter_topic if dead else None,
        max_attempts=dead.max_delivery_attempts if dead else 0,
        min_backoff=seconds_of(retry.minimum_backoff) if retry else None,
        max_backoff=seconds_of(retry.maximum_backoff) if retry else 0.0,
    )


def _checked_topic(requested: Any) -> Any:
    topic = _copy(requested)
    _refuse_unsupported(topic, _TOPIC_UNSUPPORTED)
    for output in _TOPIC_OUTPUT:
        topic.ClearField(output)
    _check_labels(topic.labels)
    if topic.HasField("message_retention_duration"):
        _check_span("message_retention_duration", topic.message_retention_duration, MIN_RETENTION, MAX_RETENTION)
    topic.state = int(types.Topic.State.ACTIVE)
    return topic


def _checked_subscription(requested: Any) -> Any:
    subscription = _copy(requested)
    if subscription.push_config.ByteSize() == 0:
        subscription.ClearField("push_config")
    _refuse_unsupported(subscription, _SUBSCRIPTION_UNSUPPORTED)
    for output in _SUBSCRIPTION_OUTPUT:
        subscription.ClearField(output)
    _check_labels(subscription.labels)
    if subscription.HasField("cloud_storage_config"):
        _check_cloud_storage(subscription)
    subscription.ack_deadline_seconds = limits.check_ack_deadline(
        subscription.ack_deadline_seconds or limits.MIN_ACK_DEADLINE
    )
    if subscription.HasField("message_retention_duration"):
        _check_span("message_retention_duration", subscription.message_retention_duration, MIN_RETENTION, MAX_RETENTION)
    else:
        subscription.message_retention_duration.seconds = int(DEFAULT_RETENTION)
    if not subscription.HasField("expiration_policy"):
        subscription.expiration_policy.ttl.seconds = int(DEFAULT_TTL)
    elif subscription.expiration_policy.HasField("ttl"):
        _check_span("expiration_policy.ttl", subscription.expiration_policy.ttl, MIN_TTL, None)
    if subscription.HasField("dead_letter_policy"):
        _check_dead_letter(subscription.dead_letter_policy)
    if subscription.HasField("retry_policy"):
        _check_retry(subscription.retry_policy)
    subscription.state = int(types.Subscription.State.ACTIVE)
    return subscription


def _check_cloud_storage(subscription: Any) -> None:
    config = subscription.cloud_storage_config
    if config.service_account_email or not config.HasField("avro_config") or config.avro_config.use_topic_schema:
        raise unsupported("Subscription.cloud_storage_config with text, a topic's schema or a service account")
    object_name.check(config.bucket, config.filename_prefix, config.filename_suffix, config.filename_datetime_format)
    if not config.HasField("max_duration"):
        config.max_duration.seconds = DEFAULT_DURATION
    _check_span("cloud_storage_config.max_duration", config.max_duration, MIN_DURATION, MAX_DURATION)
    subscription.ack_deadline_seconds = subscription.ack_deadline_seconds or int(seconds_of(config.max_duration))
    if seconds_of(config.max_duration) > subscription.ack_deadline_seconds:
        raise invalid("Invalid cloud_storage_config given: max_duration must not exceed the ack deadline.")
    if config.max_bytes and not MIN_OBJECT_BYTES <= config.max_bytes <= MAX_OBJECT_BYTES:
        raise invalid(f"Invalid cloud_storage_config.max_bytes given ({config.max_bytes}): 1 KB to 10 GiB.")
    if config.max_messages and config.max_messages < MIN_OBJECT_MESSAGES:
        raise invalid(f"Invalid cloud_storage_config.max_messages given ({config.max_messages}): at least 1000.")
    config.state = int(types.CloudStorageConfig.State.ACTIVE)


def _check_dead_letter(policy: Any) -> None:
    names.check_topic(policy.dead_letter_topic)
    policy.max_delivery_attempts = policy.max_delivery_attempts or MIN_ATTEMPTS
    if not MIN_ATTEMPTS <= policy.max_delivery_attempts <= MAX_ATTEMPTS:
        raise invalid(
            f"Invalid dead letter policy given (max_delivery_attempts={policy.max_delivery_attempts}). "
            f"It must be between {MIN_ATTEMPTS} and {MAX_ATTEMPTS}."
        )


def _check_retry(policy: Any) -> None:
    if not policy.HasField("minimum_backoff"):
        policy.minimum_backoff.seconds = int(DEFAULT_MIN_BACKOFF)
    if not policy.HasField("maximum_backoff"):
        policy.maximum_backoff.seconds = int(MAX_BACKOFF)
    _check_span("retry_policy.minimum_backoff", policy.minimum_backoff, MIN_BACKOFF, MAX_BACKOFF)
    _check_span("retry_policy.maximum_backoff", policy.maximum_backoff, MIN_BACKOFF, MAX_BACKOFF)
    if seconds_of(policy.minimum_backoff) > seconds_of(policy.maximum_backoff):
        raise invalid("Invalid retry policy given: minimum_backoff must not be longer than maximum_backoff.")


def _check_span(field: str, duration: Any, least: float, most: float | None) -> None:
    seconds = seconds_of(duration)
    if seconds < least or (most is not None and seconds > most):
        allowed = f"at least {least:g}" if most is None else f"between {least:g} and {most:g}"
        raise invalid(f"Invalid {field} given ({seconds:g} seconds). It must be {allowed} seconds.")


def _check_labels(labels: Any) -> None:
    if len(labels) > limits.MAX_LABELS:
        raise invalid(f"A resource can have at most {limits.MAX_LABELS} labels, {len(labels)} were given.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or key != key.lower():
            raise invalid(
                f"Invalid label key given ({key!r}): up to 63 lower-case letters, digits, _ and -, a letter first."
            )
        if not _LABEL_VALUE.fullmatch(value) or value != value.lower():
            raise invalid(f"Invalid label value given ({value!r}): up to 63 lower-case letters, digits, _ and -.")


def _refuse_unsupported(resource: Any, fields: tuple[str, ...]) -> None:
    asked = {field.name for field, _ in resource.ListFields()}
    for field in fields:
        if field in asked:
            raise unsupported(f"{resource.DESCRIPTOR.name}.{field}")


def _merged(kind: str, stored: Any, requested: Any, mask: Any, mutable: set[str]) -> Any:
    if not mask.paths:
        raise invalid(
            f"The update_mask in the Update{kind}Request must be set, and must contain a non-empty paths list."
        )
    problem = f"Invalid update_mask provided in the Update{kind}Request"
    for path in mask.paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(stored.DESCRIPTOR):
            raise invalid(
                f"{problem}: '{path}' is not a known {kind} field. Note that field paths must be of the form "
                "'push_config' rather than 'pushConfig'."
            )
        field = path.partition(".")[0]
        if field not in mutable:
            raise invalid(f"{problem}: the '{field}' field in the {kind} is not mutable.")
    merged = _copy(stored)
    FieldMask(paths=mask.paths).MergeMessage(requested, merged, replace_message_field=True, replace_repeated_field=True)
    return merged


def _copy(resource: Any) -> Any:
    copy = type(resource)()
    copy.CopyFrom(resource)
    return copy
