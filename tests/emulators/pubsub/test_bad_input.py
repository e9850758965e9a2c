"""Whatever comes in at the Pub/Sub emulator's methods: an error of Pub/Sub's kind, and the next call works."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.pubsub_v1 import types

from tests import process
from tests.emulators.pubsub_client import Desk

PUBLISHER, SUBSCRIBER = "/google.pubsub.v1.Publisher/", "/google.pubsub.v1.Subscriber/"
STREAM = SUBSCRIBER + "StreamingPull"
REQUESTS: dict[str, Any] = {
    PUBLISHER + "CreateTopic": types.Topic,
    PUBLISHER + "UpdateTopic": types.UpdateTopicRequest,
    PUBLISHER + "GetTopic": types.GetTopicRequest,
    PUBLISHER + "DeleteTopic": types.DeleteTopicRequest,
    PUBLISHER + "ListTopics": types.ListTopicsRequest,
    PUBLISHER + "ListTopicSubscriptions": types.ListTopicSubscriptionsRequest,
    PUBLISHER + "ListTopicSnapshots": types.ListTopicSnapshotsRequest,
    PUBLISHER + "Publish": types.PublishRequest,
    PUBLISHER + "DetachSubscription": types.DetachSubscriptionRequest,
    SUBSCRIBER + "CreateSubscription": types.Subscription,
    SUBSCRIBER + "GetSubscription": types.GetSubscriptionRequest,
    SUBSCRIBER + "UpdateSubscription": types.UpdateSubscriptionRequest,
    SUBSCRIBER + "ListSubscriptions": types.ListSubscriptionsRequest,
    SUBSCRIBER + "DeleteSubscription": types.DeleteSubscriptionRequest,
    SUBSCRIBER + "ModifyPushConfig": types.ModifyPushConfigRequest,
    SUBSCRIBER + "Pull": types.PullRequest,
    SUBSCRIBER + "Acknowledge": types.AcknowledgeRequest,
    SUBSCRIBER + "ModifyAckDeadline": types.ModifyAckDeadlineRequest,
    SUBSCRIBER + "Seek": types.SeekRequest,
    SUBSCRIBER + "CreateSnapshot": types.CreateSnapshotRequest,
    SUBSCRIBER + "ListSnapshots": types.ListSnapshotsRequest,
    STREAM: types.StreamingPullRequest,
}
REFUSED = [f"/google.pubsub.v1.SchemaService/{name}" for name in ("CreateSchema", "GetSchema", "ListSchemas")]
REFUSED += ["/google.iam.v1.IAMPolicy/SetIamPolicy", "/google.pubsub.v1.Publisher/NoSuchMethod"]
KINDS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
ROUNDS = 120
LIMIT = 60.0  # seconds for any one answer

TEXTS = [
    *(
        "",
        "x",
        "\n",
        "\x00",
        "é" * 100,
        "\U0001f600",
        "%",
        "goog",
        "projects/",
        "projects/bad/topics/",
        "_deleted-topic_",
    ),
    *("projects/bad", "projects/bad/topics/hits", "projects/bad/subscriptions/hits-sub", "projects/bad/topics/other"),
    *(
        "projects/bad/subscriptions/other",
        "projects/bad/snapshots/one",
        "labels",
        "labels.a",
        "topic",
        "name",
        "filter",
    ),
    *("retry_policy", "retry_policy.minimum_backoff", "retry_policy.minimum_backoff.seconds", "dead_letter_policy"),
    *(
        "expiration_policy.ttl",
        "push_config.oidc_token.audience",
        "*",
        "after:x",
        "1-1-00000000",
        "f" * 17 + "-1-00000000",
    ),
    *("y" * 2_000, "projects/bad/topics/" + "z" * 255, "é" * 40_000, "line\r\nfeed: x"),
]
NUMBERS = [0, 1, -1, 9, 10, 600, 601, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 315_576_000_000, 86_400, 604_800]


def value(field: FieldDescriptor, chance: random.Random) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return chance.choice(TEXTS)
        case FieldDescriptor.TYPE_BYTES:
            return chance.randbytes(chance.choice((0, 1, 100)))
        case FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.TYPE_INT32 | FieldDescriptor.TYPE_ENUM:
            return chance.choice([number for number in NUMBERS if -(2**31) <= number < 2**31])
        case FieldDescriptor.TYPE_INT64:
            return chance.choice(NUMBERS)
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return chance.choice((0.0, -1.0, float("nan"), float("inf")))
    raise AssertionError(f"{field.full_name} has the type {field.type}")


def fill(message: Any, chance: random.Random, density: float, depth: int = 0) -> Any:
    """Set a share of the fields, at every level, to values that are right, nearly right or absurd."""
    descriptor: Descriptor = message.DESCRIPTOR
    for field in descriptor.fields:
        if chance.random() > density or depth > 4:
            continue
        place = getattr(message, field.name)
        nested = field.message_type
        if nested is not None and nested.GetOptions().map_entry:
            for _ in range(chance.randrange(3)):
                if nested.fields_by_name["value"].message_type is None:
                    place[chance.choice(TEXTS)] = chance.choice(TEXTS)
                else:
                    fill(place[chance.choice(TEXTS)], chance, density, depth + 1)
        elif nested is not None and field.is_repeated:
            for _ in range(chance.randrange(3)):
                fill(place.add(), chance, density, depth + 1)
        elif nested is not None:
            place.SetInParent()
            fill(place, chance, density, depth + 1)
        elif field.is_repeated:
            place.extend(value(field, chance) for _ in range(chance.randrange(4)))
        else:
            setattr(message, field.name, value(field, chance))
    return message


def damaged(encoded: bytes, chance: random.Random) -> bytes:
    """Bytes that are no longer the message they were, and mostly no message at all."""
    given = bytearray(encoded or b"\x0a\x05hello")
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(given))
        given[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
        given = given or bytearray(b"\xff")
    return bytes(given)


def requests(method: str, chance: random.Random) -> Iterator[bytes]:
    kind = REQUESTS[method].pb()
    for number in range(ROUNDS):
        message = fill(kind(), chance, chance.choice((0.1, 0.3, 0.6, 1.0)))
        if method.endswith("/Pull"):
            message.return_immediately = True
        encoded = message.SerializeToString()
        yield encoded if number % 3 else damaged(encoded, chance)


@pytest.fixture(scope="module")
def emulator() -> Iterator[process.Child]:
    with process.running("emulators.pubsub", "--port", "0") as child:
        yield child


@pytest.fixture
def desk(emulator: process.Child) -> Iterator[Desk]:
    """With the topic and subscription that the requests may name, and the proof that both still work afterwards."""
    with Desk(f"127.0.0.1:{emulator.ready['grpc']}", "bad") as desk:
        with suppress(exceptions.NotFound):
            desk.subscriber.delete_subscription(subscription=desk.subscription_path("hits-sub"))
        with suppress(exceptions.NotFound):
            desk.publisher.delete_topic(topic=desk.topic_path("hits"))
        desk.subscription(desk.topic("hits"), "hits-sub")
        yield desk
        with Desk(desk.host, "works") as works:
            subscription = works.subscription(works.topic())
            works.publish(works.topic_path("hits"), b"still here")
            received = works.pull(subscription)
            assert [one.message.data for one in received] == [b"still here"]
            works.ack(subscription, received)
            works.subscriber.delete_subscription(subscription=subscription)
            works.publisher.delete_topic(topic=works.topic_path("hits"))
        assert emulator.process.poll() is None


def unary(desk: Desk, method: str, encoded: bytes) -> tuple[str, str]:
    try:
        desk.channel.unary_unary(method, None, None)(encoded, timeout=LIMIT)
    except grpc.RpcError as error:
        return error.code().name, str(error.details())
    return "OK", ""


def streaming(desk: Desk, encoded: list[bytes]) -> tuple[str, str]:
    """Send all and half-close: the stream must end by itself."""
    call = desk.channel.stream_stream(STREAM, None, None)(iter(encoded), timeout=LIMIT)
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return error.code().name, str(error.details())
    return "OK", ""


@pytest.mark.parametrize("method", [method for method in REQUESTS if method != STREAM], ids=lambda path: path[18:])
def test_any_request_of_any_method_gets_an_answer_of_pubsubs_kind(desk: Desk, method: str) -> None:
    chance = random.Random(method)
    for encoded in requests(method, chance):
        code, said = unary(desk, method, encoded)
        assert code in KINDS, (code, said, encoded)
        assert code == "OK" or said, encoded


def test_any_requests_of_a_streaming_pull_end_it_in_pubsubs_way(desk: Desk) -> None:
    chance = random.Random(STREAM)
    opening = types.StreamingPullRequest(
        subscription=desk.subscription_path("hits-sub"), stream_ack_deadline_seconds=10
    )
    for number, encoded in enumerate(requests(STREAM, chance)):
        first = [] if number % 2 else [types.StreamingPullRequest.serialize(opening)]
        code, said = streaming(desk, [*first, encoded])
        assert code in KINDS, (code, said, encoded)


@pytest.mark.parametrize("method", [*REFUSED, *REQUESTS], ids=lambda path: path[8:])
def test_random_bytes_are_refused(desk: Desk, method: str) -> None:
    chance = random.Random(method)
    for size in (0, 1, 2, 10, 100, 10_000):
        encoded = chance.randbytes(size)
        code, said = streaming(desk, [encoded]) if method == STREAM else unary(desk, method, encoded)
        assert code in KINDS, (code, said, encoded)
        if method in REFUSED:
            assert (code, "not supported" in said) == ("UNIMPLEMENTED", True)
