"""One method per RPC: takes the raw request, calls the broker, returns the raw response."""

from __future__ import annotations

import uuid
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

from emulators.faults.fault_runtime import Watch
from emulators.pubsub import limits, names, page, pull
from emulators.pubsub.broker import Broker
from emulators.pubsub.clock import Clock
from emulators.pubsub.errors import invalid, unsupported
from emulators.pubsub.rpc_gate import RpcGate, Stream, call_of


class PublisherApi:
    """google.pubsub.v1.Publisher"""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock

    async def create_topic(self, request: Any) -> Any:
        return self._broker.create_topic(request)

    async def update_topic(self, request: Any) -> Any:
        return self._broker.update_topic(request.topic, request.update_mask)

    async def get_topic(self, request: Any) -> Any:
        return self._broker.get_topic(request.topic)

    async def delete_topic(self, request: Any) -> Any:
        self._broker.delete_topic(request.topic)
        return Empty()

    async def list_topics(self, request: Any) -> Any:
        topics = self._broker.topics_of(request.project)
        part, token = page.cut(topics, lambda topic: str(topic.name), request.page_size, request.page_token)
        return types.ListTopicsResponse.pb()(topics=part, next_page_token=token)

    async def list_topic_subscriptions(self, request: Any) -> Any:
        found = self._broker.subscriptions_of_topic(request.topic)
        part, token = page.cut(found, str, request.page_size, request.page_token)
        return types.ListTopicSubscriptionsResponse.pb()(subscriptions=part, next_page_token=token)

    async def publish(self, request: Any) -> Any:
        limits.check_publish(request)
        ids = self._broker.publish(request.topic, request.messages, self._clock.now())
        return types.PublishResponse.pb()(message_ids=ids)

    async def detach_subscription(self, request: Any) -> Any:
        self._broker.detach_subscription(request.subscription, self._clock.now())
        return types.DetachSubscriptionResponse.pb()()


class SubscriberApi:
    """google.pubsub.v1.Subscriber"""

    def __init__(self, broker: Broker, clock: Clock, gate: RpcGate) -> None:
        self._broker = broker
        self._clock = clock
        self._gate = gate

    async def create_subscription(self, request: Any) -> Any:
        if not request.name:
            project = names.project_of(names.check_topic(request.topic))
            request.name = f"projects/{project}/subscriptions/sub-{uuid.uuid4().hex}"
        return self._broker.create_subscription(request, self._clock.now())

    async def get_subscription(self, request: Any) -> Any:
        return self._broker.get_subscription(request.subscription, self._clock.now())

    async def update_subscription(self, request: Any) -> Any:
        return self._broker.update_subscription(request.subscription, request.update_mask, self._clock.now())

    async def list_subscriptions(self, request: Any) -> Any:
        found = self._broker.subscriptions_of(request.project)
        part, token = page.cut(found, lambda one: str(one.name), request.page_size, request.page_token)
        return types.ListSubscriptionsResponse.pb()(subscriptions=part, next_page_token=token)

    async def delete_subscription(self, request: Any) -> Any:
        self._broker.delete_subscription(request.subscription, self._clock.now())
        return Empty()

    async def modify_push_config(self, request: Any) -> Any:
        """An empty configuration means pull, which every subscription here is."""
        self._broker.get_subscription(request.subscription, self._clock.now())
        if request.push_config.ByteSize():
            raise unsupported("Subscription.push_config")
        return Empty()

    async def pull(self, request: Any) -> bytes:
        return await pull.pull(self._broker, self._clock, self._gate, request)

    async def acknowledge(self, request: Any) -> Any:
        _check_ack_ids(request)
        heard = self._gate.heard(call_of("Acknowledge", request), list(request.ack_ids))
        self._broker.acknowledge(request.subscription, heard, self._clock.now())
        return Empty()

    async def modify_ack_deadline(self, request: Any) -> Any:
        _check_ack_ids(request)
        seconds = float(limits.check_ack_deadline(request.ack_deadline_seconds, least=0))
        changes = [(ack_id, seconds) for ack_id in request.ack_ids]
        self._broker.modify(request.subscription, changes, self._clock.now())
        return Empty()

    async def streaming_pull(self, stream: Stream, watch: Watch) -> None:
        await pull.StreamingPull(self._broker, self._clock, self._gate, stream, watch).run()

    async def seek(self, request: Any) -> Any:
        if request.WhichOneof("target") == "snapshot":
            raise unsupported("Seek to a snapshot")
        if request.WhichOneof("target") is None:
            raise invalid("A Seek request must have a time to seek to.")
        time = request.time.seconds + request.time.nanos / 1e9
        self._broker.seek(request.subscription, time, self._clock.now())
        return types.SeekResponse.pb()()


def _check_ack_ids(request: Any) -> None:
    if not request.ack_ids:
        raise invalid("The request has no ack_ids; it must have at least one.")
    limits.check_request_size(request.ByteSize(), limits.ACK_REQUEST_BYTES)
