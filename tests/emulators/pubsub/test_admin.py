"""Topics and subscriptions as the official client makes, changes, lists and deletes them."""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core import exceptions
from google.protobuf.duration_pb2 import Duration
from google.pubsub_v1 import types

from tests.emulators.pubsub_client import Desk

DAY = 86_400


def update(desk: Desk, subscription: str, *paths: str, **fields: Any) -> types.Subscription:
    request = {"subscription": {"name": subscription, **fields}, "update_mask": {"paths": paths}}
    return desk.subscriber.update_subscription(request=request)


def test_a_topic_is_made_once_read_listed_and_deleted(desk: Desk) -> None:
    topic = desk.topic("hits", labels={"team": "web"})
    with pytest.raises(exceptions.AlreadyExists, match="Resource already exists in the project \\(resource=hits\\)"):
        desk.topic("hits")
    got = desk.publisher.get_topic(topic=topic)
    assert (got.name, dict(got.labels), got.state) == (topic, {"team": "web"}, types.Topic.State.ACTIVE)
    assert [one.name for one in desk.publisher.list_topics(project=f"projects/{desk.project}")] == [topic]
    desk.publisher.delete_topic(topic=topic)
    for call in (desk.publisher.get_topic, desk.publisher.delete_topic):
        with pytest.raises(exceptions.NotFound, match="Resource not found \\(resource=hits\\)"):
            call(topic=topic)
    assert list(desk.publisher.list_topics(project=f"projects/{desk.project}")) == []


@pytest.mark.parametrize(
    "name", ["ab", "1hits", "goog-hits", "hits/x", "hi ts", "hïts", "x" * 256, "", "_hits"], ids=lambda name: name[:10]
)
def test_a_name_against_the_rules_is_refused(desk: Desk, name: str) -> None:
    with pytest.raises(exceptions.InvalidArgument, match="Invalid resource name given"):
        desk.topic(name)
    topic = desk.topic("Hits-1_2.3~4+5%")
    with pytest.raises(exceptions.InvalidArgument, match="Invalid resource name given"):
        desk.subscriber.create_subscription(name=f"projects/{desk.project}/subscriptions/{name}", topic=topic)
    with pytest.raises(exceptions.InvalidArgument):
        desk.publisher.list_topics(project=desk.project)


def test_a_topic_changes_only_in_masked_fields(desk: Desk) -> None:
    topic = desk.topic(labels={"a": "1"})
    request = {
        "topic": {"name": topic, "labels": {"b": "2"}, "message_retention_duration": {"seconds": DAY}},
        "update_mask": {"paths": ["message_retention_duration"]},
    }
    changed = desk.publisher.update_topic(request=request)
    assert dict(changed.labels) == {"a": "1"}
    assert changed.message_retention_duration.total_seconds() == DAY
    request["update_mask"] = {"paths": ["labels"]}
    assert dict(desk.publisher.update_topic(request=request).labels) == {"b": "2"}
    subscription = desk.subscription(topic)
    shown = desk.subscriber.get_subscription(subscription=subscription)
    assert shown.topic_message_retention_duration.total_seconds() == DAY


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"message_retention_duration": Duration(seconds=599)}, exceptions.InvalidArgument),
        ({"message_retention_duration": Duration(seconds=31 * DAY + 1)}, exceptions.InvalidArgument),
        ({"labels": {"Upper": "x"}}, exceptions.InvalidArgument),
        ({"labels": {"x": "UPPER"}}, exceptions.InvalidArgument),
        ({"labels": {f"k{number}": "" for number in range(65)}}, exceptions.InvalidArgument),
        ({"schema_settings": {"schema": "projects/p/schemas/s"}}, exceptions.MethodNotImplemented),
        ({"kms_key_name": "key"}, exceptions.MethodNotImplemented),
        ({"ingestion_data_source_settings": {"cloud_storage": {"bucket": "b"}}}, exceptions.MethodNotImplemented),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_topic_setting_that_cannot_be_kept_is_refused(
    desk: Desk, fields: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        desk.topic(**fields)


def test_pages_follow_each_other_while_topics_come_and_go(desk: Desk) -> None:
    names = [desk.topic(f"topic-{number}") for number in range(5)]
    project = f"projects/{desk.project}"
    assert [one.name for one in desk.publisher.list_topics(request={"project": project, "page_size": 2})] == names
    pages = desk.publisher.list_topics(request={"project": project, "page_size": 2}).pages
    first = next(pages)
    assert [one.name for one in first.topics] == names[:2]
    desk.publisher.delete_topic(topic=names[1])
    assert [one.name for one in next(pages).topics] == names[2:4]
    assert [one.name for one in next(pages).topics] == names[4:]
    with pytest.raises(exceptions.InvalidArgument, match="page_token"):
        desk.publisher.list_topics(request={"project": project, "page_token": "nonsense"})
    with pytest.raises(exceptions.InvalidArgument, match="page_size"):
        desk.publisher.list_topics(request={"project": project, "page_size": -1})


def test_a_subscription_gets_the_documented_defaults(desk: Desk) -> None:
    topic = desk.topic()
    dead = desk.topic("dead")
    name = desk.subscription(topic, dead_letter_policy={"dead_letter_topic": dead}, retry_policy={})
    got = desk.subscriber.get_subscription(subscription=name)
    assert got.topic == topic
    assert got.ack_deadline_seconds == 10
    assert got.message_retention_duration.total_seconds() == 7 * DAY
    assert got.expiration_policy.ttl.total_seconds() == 31 * DAY
    assert got.dead_letter_policy.max_delivery_attempts == 5
    assert got.retry_policy.minimum_backoff.total_seconds() == 10
    assert got.retry_policy.maximum_backoff.total_seconds() == 600
    assert got.state == types.Subscription.State.ACTIVE
    never = desk.subscription(topic, "never", expiration_policy={})
    assert "ttl" not in desk.subscriber.get_subscription(subscription=never).expiration_policy
    unnamed = desk.subscriber.create_subscription(request={"topic": topic})
    assert unnamed.name.startswith(f"projects/{desk.project}/subscriptions/")


def test_a_subscription_needs_its_topics_and_a_new_name(desk: Desk) -> None:
    with pytest.raises(exceptions.NotFound, match="resource=hits"):
        desk.subscription(desk.topic_path("hits"))
    topic = desk.topic()
    desk.subscription(topic)
    with pytest.raises(exceptions.AlreadyExists, match="resource=hits-sub"):
        desk.subscription(topic)
    missing = {"dead_letter_topic": desk.topic_path("missing")}
    with pytest.raises(exceptions.NotFound, match="resource=missing"):
        desk.subscription(topic, "second", dead_letter_policy=missing)
    with pytest.raises(exceptions.NotFound, match="resource=second"):
        desk.subscriber.get_subscription(subscription=desk.subscription_path("second"))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"ack_deadline_seconds": 9}, exceptions.InvalidArgument),
        ({"ack_deadline_seconds": 601}, exceptions.InvalidArgument),
        ({"ack_deadline_seconds": -1}, exceptions.InvalidArgument),
        ({"message_retention_duration": Duration(seconds=599)}, exceptions.InvalidArgument),
        ({"message_retention_duration": Duration(seconds=31 * DAY, nanos=1)}, exceptions.InvalidArgument),
        ({"expiration_policy": {"ttl": Duration(seconds=DAY - 1)}}, exceptions.InvalidArgument),
        ({"retry_policy": {"minimum_backoff": Duration(seconds=-1)}}, exceptions.InvalidArgument),
        ({"retry_policy": {"maximum_backoff": Duration(seconds=601)}}, exceptions.InvalidArgument),
        (
            {"retry_policy": {"minimum_backoff": Duration(seconds=20), "maximum_backoff": Duration(seconds=19)}},
            exceptions.InvalidArgument,
        ),
        ({"dead_letter_policy": {"max_delivery_attempts": 4}}, exceptions.InvalidArgument),
        ({"dead_letter_policy": {"max_delivery_attempts": 101}}, exceptions.InvalidArgument),
        ({"dead_letter_policy": {"dead_letter_topic": "dead"}}, exceptions.InvalidArgument),
        ({"filter": 'attributes.type = "x"'}, exceptions.MethodNotImplemented),
        ({"filter": f"attributes:{'x' * 256}"}, exceptions.InvalidArgument),
        ({"push_config": {"push_endpoint": "https://example.com"}}, exceptions.MethodNotImplemented),
        ({"enable_message_ordering": True}, exceptions.MethodNotImplemented),
        ({"enable_exactly_once_delivery": True}, exceptions.MethodNotImplemented),
        ({"bigquery_config": {"table": "p.d.t"}}, exceptions.MethodNotImplemented),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_subscription_setting_that_cannot_be_kept_is_refused(
    desk: Desk, fields: dict[str, Any], error: type[Exception]
) -> None:
    topic = desk.topic()
    if "max_delivery_attempts" in fields.get("dead_letter_policy", {}):
        fields["dead_letter_policy"]["dead_letter_topic"] = topic
    with pytest.raises(error):
        desk.subscription(topic, **fields)
    assert list(desk.publisher.list_topic_subscriptions(topic=topic)) == []


def test_a_subscription_changes_only_in_masked_fields(desk: Desk) -> None:
    topic = desk.topic()
    name = desk.subscription(topic, labels={"a": "1"}, retry_policy={})
    changed = update(desk, name, "ack_deadline_seconds", "labels", ack_deadline_seconds=30, labels={"b": "2"})
    assert (changed.ack_deadline_seconds, dict(changed.labels)) == (30, {"b": "2"})
    assert changed.retry_policy.minimum_backoff.total_seconds() == 10
    changed = update(desk, name, "retry_policy.maximum_backoff", retry_policy={"maximum_backoff": {"seconds": 20}})
    assert changed.retry_policy.minimum_backoff.total_seconds() == 10
    assert changed.retry_policy.maximum_backoff.total_seconds() == 20
    changed = update(desk, name, "retry_policy", "dead_letter_policy", dead_letter_policy={"dead_letter_topic": topic})
    assert "retry_policy" not in changed
    assert changed.dead_letter_policy.max_delivery_attempts == 5
    assert desk.subscriber.get_subscription(subscription=name) == changed


@pytest.mark.parametrize(
    ("paths", "fields", "error", "text"),
    [
        ([], {}, exceptions.InvalidArgument, "must be set"),
        (["nonsense"], {}, exceptions.InvalidArgument, "not a known Subscription field"),
        (["labels.x"], {}, exceptions.InvalidArgument, "not a known Subscription field"),
        (["topic"], {"topic": "projects/p/topics/other"}, exceptions.InvalidArgument, "'topic' field .* not mutable"),
        (["filter"], {"filter": "x"}, exceptions.InvalidArgument, "'filter' field .* not mutable"),
        (["name"], {}, exceptions.InvalidArgument, "not mutable"),
        (["ack_deadline_seconds"], {"ack_deadline_seconds": 5}, exceptions.InvalidArgument, "ack deadline"),
        (
            ["push_config"],
            {"push_config": {"push_endpoint": "x"}},
            exceptions.MethodNotImplemented,
            "push_config",
        ),
        (["dead_letter_policy"], {"dead_letter_policy": {}}, exceptions.InvalidArgument, "resource name"),
    ],
)
def test_a_change_that_is_not_allowed_changes_nothing(
    desk: Desk, paths: list[str], fields: dict[str, Any], error: type[Exception], text: str
) -> None:
    name = desk.subscription(desk.topic())
    before = desk.subscriber.get_subscription(subscription=name)
    with pytest.raises(error, match=text):
        update(desk, name, *paths, **fields)
    assert desk.subscriber.get_subscription(subscription=name) == before


def test_subscriptions_outlive_their_topic_and_do_not_join_a_new_one_of_its_name(desk: Desk) -> None:
    topic = desk.topic(message_retention_duration={"seconds": 600})
    name = desk.subscription(topic)
    desk.publish(topic, b"before")
    desk.publisher.delete_topic(topic=topic)
    update(desk, name, "labels", labels={"team": "web"})
    shown = desk.subscriber.get_subscription(subscription=name)
    assert shown.topic == "_deleted-topic_"
    assert "topic_message_retention_duration" not in shown
    desk.topic()
    assert list(desk.publisher.list_topic_subscriptions(topic=topic)) == []
    desk.publish(topic, b"after")
    assert [one.message.data for one in desk.pull(name)] == [b"before"]


def test_a_deleted_subscription_is_gone_everywhere(desk: Desk) -> None:
    topic = desk.topic()
    names = [desk.subscription(topic, f"sub-{number}") for number in range(3)]
    assert list(desk.publisher.list_topic_subscriptions(topic=topic)) == names
    desk.subscriber.delete_subscription(subscription=names[1])
    left = [names[0], names[2]]
    assert list(desk.publisher.list_topic_subscriptions(topic=topic)) == left
    assert [one.name for one in desk.subscriber.list_subscriptions(project=f"projects/{desk.project}")] == left
    with pytest.raises(exceptions.NotFound):
        desk.pull(names[1])
    with pytest.raises(exceptions.NotFound):
        desk.subscriber.delete_subscription(subscription=names[1])


def test_a_detached_subscription_cannot_be_pulled_and_holds_nothing(desk: Desk) -> None:
    topic = desk.topic()
    name = desk.subscription(topic)
    desk.publish(topic, b"x")
    desk.publisher.detach_subscription(request={"subscription": name})
    update(desk, name, "labels", labels={"team": "web"})
    assert desk.subscriber.get_subscription(subscription=name).detached
    assert list(desk.publisher.list_topic_subscriptions(topic=topic)) == []
    with pytest.raises(exceptions.FailedPrecondition, match="detached"):
        desk.pull(name)


def test_what_is_not_there_says_so_by_name(desk: Desk) -> None:
    name = desk.subscription(desk.topic())
    with pytest.raises(exceptions.MethodNotImplemented, match="CreateSnapshot is not supported by this emulator"):
        desk.subscriber.create_snapshot(name=f"projects/{desk.project}/snapshots/snap", subscription=name)
    with pytest.raises(exceptions.MethodNotImplemented, match="Seek to a snapshot"):
        desk.subscriber.seek(request={"subscription": name, "snapshot": f"projects/{desk.project}/snapshots/snap"})
    with pytest.raises(exceptions.MethodNotImplemented, match="push_config"):
        desk.subscriber.modify_push_config(subscription=name, push_config={"push_endpoint": "https://example.com"})
    with pytest.raises(exceptions.MethodNotImplemented, match="TestIamPermissions is not supported by this emulator"):
        desk.publisher.test_iam_permissions(request={"resource": name, "permissions": ["x"]})
    desk.subscriber.modify_push_config(subscription=name, push_config={})
