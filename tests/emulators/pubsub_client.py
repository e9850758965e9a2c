"""The official Pub/Sub clients, unchanged, on a given address: no environment variable, so that tests stay apart."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient as RequestClient
from google.pubsub_v1 import types
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport, PublisherGrpcTransport
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport, SubscriberGrpcTransport

UNCAPPED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Desk:
    """A synchronous publisher and subscriber, and names inside one project."""

    def __init__(self, host: str, project: str) -> None:
        self.host = host
        self.project = project
        self.channel = grpc.insecure_channel(host, options=UNCAPPED)
        self.publisher = pubsub_v1.PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.requests = RequestClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.subscriber = pubsub_v1.SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.publisher.stop()
        self.channel.close()

    def topic_path(self, name: str) -> str:
        return f"projects/{self.project}/topics/{name}"

    def subscription_path(self, name: str) -> str:
        return f"projects/{self.project}/subscriptions/{name}"

    def topic(self, name: str = "hits", **fields: Any) -> str:
        return str(self.publisher.create_topic(request={"name": self.topic_path(name), **fields}).name)

    def subscription(self, topic: str, name: str = "hits-sub", **fields: Any) -> str:
        request = {"name": self.subscription_path(name), "topic": topic, **fields}
        return str(self.subscriber.create_subscription(request=request).name)

    def publish(self, topic: str, *bodies: bytes) -> list[str]:
        """Publish in one request, in order; returns the message ids."""
        messages = [types.PubsubMessage(data=body) for body in bodies]
        return list(self.requests.publish(topic=topic, messages=messages).message_ids)

    def pull(self, subscription: str, most: int = 100) -> list[types.ReceivedMessage]:
        """Pull what is there now."""
        request = {"subscription": subscription, "max_messages": most, "return_immediately": True}
        return list(self.subscriber.pull(request=request, timeout=60).received_messages)

    def start_pull(self, subscription: str) -> grpc.Future:
        """Begin a pull that waits for a message."""
        pull = self.channel.unary_unary(
            "/google.pubsub.v1.Subscriber/Pull",
            request_serializer=types.PullRequest.serialize,
            response_deserializer=types.PullResponse.deserialize,
        )
        return pull.future(types.PullRequest(subscription=subscription, max_messages=1), timeout=60)

    def ack(self, subscription: str, received: list[types.ReceivedMessage]) -> None:
        self.subscriber.acknowledge(subscription=subscription, ack_ids=[one.ack_id for one in received])

    def nack(self, subscription: str, received: list[types.ReceivedMessage]) -> None:
        ack_ids = [one.ack_id for one in received]
        self.subscriber.modify_ack_deadline(subscription=subscription, ack_ids=ack_ids, ack_deadline_seconds=0)


class AsyncDesk:
    """The asyncio clients; make it inside the loop that uses it."""

    def __init__(self, host: str) -> None:
        self.channel = grpc.aio.insecure_channel(host, options=UNCAPPED)
        self.publisher = PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=self.channel))
        self.subscriber = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=self.channel))

    async def __aenter__(self) -> AsyncDesk:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()


class Stream:
    """One raw StreamingPull, on a connection of its own; reads only when asked to."""

    def __init__(self, host: str, subscription: str, /, **first: Any) -> None:
        self.channel = grpc.aio.insecure_channel(host, options=[*UNCAPPED, ("grpc.use_local_subchannel_pool", 1)])
        self.call = self.channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=types.StreamingPullRequest.serialize,
            response_deserializer=types.StreamingPullResponse.deserialize,
        )()
        self.first = types.StreamingPullRequest(
            **{"subscription": subscription, "stream_ack_deadline_seconds": 10, **first}
        )

    async def __aenter__(self) -> Stream:
        await self.call.write(self.first)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        await self.channel.close()

    async def send(self, **fields: Any) -> None:
        await self.call.write(types.StreamingPullRequest(**fields))

    async def read(self, count: int = 1, limit: float = 60) -> list[types.ReceivedMessage]:
        """Read until `count` messages came."""
        got: list[types.ReceivedMessage] = []
        async with asyncio.timeout(limit):
            while len(got) < count:
                got += (await self.call.read()).received_messages
        return got

    async def drain(self, limit: float = 60) -> list[types.ReceivedMessage]:
        """Read until the server has ended the stream."""
        got: list[types.ReceivedMessage] = []
        async with asyncio.timeout(limit):
            while True:
                try:
                    got += (await self.call.read()).received_messages
                except grpc.aio.AioRpcError:
                    return got

    async def quiet(self, seconds: float = 0.2) -> bool:
        """Whether nothing comes for a while; nothing may be read after that."""
        reading = asyncio.ensure_future(self.call.read())
        done, _ = await asyncio.wait({reading}, timeout=seconds)
        return not done

    async def status(self) -> tuple[str, str]:
        async with asyncio.timeout(60):
            code = await self.call.code()
            return code.name, await self.call.details()
