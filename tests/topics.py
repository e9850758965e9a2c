"""Topics and subscriptions of one test's project, through the official synchronous clients."""

from __future__ import annotations

from typing import Any

from google.cloud import pubsub_v1

from services.shared import hit
from services.shared.resource_names import subscription_path, topic_path
from tests.process import wait_for


class Topics:
    """The clients read PUBSUB_EMULATOR_HOST when they are made: set it first."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.publisher = pubsub_v1.PublisherClient()
        self.subscriber = pubsub_v1.SubscriberClient()

    def create(self, topic: str, *subscriptions: str) -> None:
        self.publisher.create_topic(name=topic_path(self.project, topic))
        for subscription in subscriptions:
            self.subscribe(topic, subscription)

    def subscribe(
        self, topic: str, subscription: str, backoff: int = 0, deadline: int = 60, dead: str | None = None
    ) -> None:
        """With `backoff`, in seconds, what is nacked comes again no sooner, as in production.

        With a topic for the `dead`, also as there, deliveries say how many there were.
        """
        request: dict[str, Any] = {
            "name": subscription_path(self.project, subscription),
            "topic": topic_path(self.project, topic),
            "ack_deadline_seconds": deadline,
        }
        if dead is not None:
            request["dead_letter_policy"] = {
                "dead_letter_topic": topic_path(self.project, dead),
                "max_delivery_attempts": 20,
            }
        if backoff:
            request["retry_policy"] = {"minimum_backoff": {"seconds": backoff}, "maximum_backoff": {"seconds": backoff}}
        self.subscriber.create_subscription(request=request)

    def publish(self, topic: str, data: bytes, attributes: dict[str, str] | None = None) -> None:
        self.publisher.publish(topic_path(self.project, topic), data, **(attributes or {})).result(60)

    def pull(self, subscription: str, wanted: int = 0, timeout: float = 60) -> list[Any]:
        """Pull and acknowledge until `wanted` messages came; with 0, what is there now. Tallies are passed over."""
        found: list[Any] = []
        path = subscription_path(self.project, subscription)

        def enough() -> bool:
            # Not a call that waits: one that is cut off may have leased messages nobody then answers for.
            answer = self.subscriber.pull(subscription=path, max_messages=1000, return_immediately=True, timeout=60)
            if answer.received_messages:
                self.subscriber.acknowledge(subscription=path, ack_ids=[one.ack_id for one in answer.received_messages])
            found.extend(one.message for one in answer.received_messages if hit.TALLY not in one.message.attributes)
            return len(found) >= wanted

        wait_for(enough, timeout, f"{wanted} messages of {subscription}")
        return found

    def hits(self, wanted: int) -> list[hit.Hit]:
        """The hits in the subscription `work`, in the order of their packs; waits for as many as wanted."""
        found: list[hit.Hit] = []
        while len(found) < wanted:
            for message in self.pull("work", wanted=1):
                found += hit.unpack(message.data, dict(message.attributes))
        assert len(found) == wanted
        return found
