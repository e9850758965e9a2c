"""All topics and subscriptions: routes what is published, and applies changes to resources.

Pure calls with the time passed in, like `backlog`. Resources go in and out as raw protobuf messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from grpc import StatusCode

from emulators.pubsub import filters, names, resources
from emulators.pubsub import message as messages
from emulators.pubsub.ack_id import AckIds
from emulators.pubsub.backlog import Backlog
from emulators.pubsub.errors import PubsubError, already_exists, not_found, unsupported
from emulators.pubsub.filters import Wanted
from emulators.pubsub.message import HeldBytes, Message
from emulators.pubsub.resources import Policy


@dataclass(slots=True, eq=False)
class Topic:
    resource: Any
    subscriptions: dict[str, Subscription] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Subscription:
    """`topic` is None once it is deleted or detached; `active` is the time of the last call on the subscription.

    `wanted` is its filter.
    """

    resource: Any
    policy: Policy
    backlog: Backlog
    topic: Topic | None
    active: float
    wanted: Wanted | None

    def last_use(self) -> float:
        return max(self.active, self.backlog.used)

    @property
    def name(self) -> str:
        return str(self.resource.name)


class Broker:
    """Calls `sooner(time)` when `advance` is due earlier than any time given since the last `advance`.

    `first_number` starts the message ids: take it from the time, so that a restarted emulator repeats none.
    """

    def __init__(self, max_bytes: int, first_number: int, sooner: Callable[[float], None]) -> None:
        self.held_bytes = HeldBytes(max_bytes)
        self._topics: dict[str, Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._next_number = first_number
        self._sooner = sooner
        self._finished: PubsubError | None = None
        # Called for each Cloud Storage subscription that is made or changed; None: there are none.
        self.export: Callable[[Subscription], None] | None = None

    # Topics

    def create_topic(self, requested: Any) -> Any:
        topic = resources.new_topic(requested)
        if topic.name in self._topics:
            raise already_exists(topic.name)
        self._topics[topic.name] = Topic(topic)
        return topic

    def update_topic(self, requested: Any, mask: Any) -> Any:
        topic = self._topic(requested.name)
        topic.resource = resources.updated_topic(topic.resource, requested, mask)
        for subscription in topic.subscriptions.values():
            self._show_topic_retention(subscription)
        return topic.resource

    def get_topic(self, name: str) -> Any:
        return self._topic(name).resource

    def topics_of(self, project: str) -> list[Any]:
        """Topics of `projects/PROJECT`, by name."""
        prefix = names.check_project(project) + "/topics/"
        return [self._topics[name].resource for name in sorted(self._topics) if name.startswith(prefix)]

    def subscriptions_of_topic(self, name: str) -> list[str]:
        return sorted(self._topic(name).subscriptions)

    def delete_topic(self, name: str) -> None:
        """Its subscriptions stay, with what they hold, and show `_deleted-topic_`."""
        topic = self._topic(name)
        del self._topics[name]
        for subscription in topic.subscriptions.values():
            subscription.topic = None
            subscription.resource.topic = names.DELETED_TOPIC
            subscription.resource.ClearField("topic_message_retention_duration")

    def publish(self, name: str, raw: Any, now: float) -> list[str]:
        """Publish raw PubsubMessages, checked before, to a topic; returns their ids. They are stamped in place."""
        topic = self._topic(name)
        self.held_bytes.check()
        return [str(message.number) for message in self._publish(topic, raw, now)]

    # Subscriptions

    def create_subscription(self, requested: Any, now: float) -> Any:
        resource = resources.new_subscription(requested)
        self._check_export(resource)
        wanted = filters.wanted(resource.filter)
        if resource.name in self._subscriptions:
            raise already_exists(resource.name)
        topic = self._topic(resource.topic)
        policy = resources.policy_of(resource)
        if policy.dead_letter_topic is not None:
            self._topic(policy.dead_letter_topic)
        name = str(resource.name)
        backlog = Backlog(
            AckIds(name),
            policy,
            self.held_bytes,
            lambda message, attempts, at: self._bury(name, message, attempts, at),
            self._sooner,
        )
        subscription = Subscription(resource, policy, backlog, topic, now, wanted)
        self._subscriptions[name] = subscription
        topic.subscriptions[name] = subscription
        self._show_topic_retention(subscription)
        self._watch_idle(subscription)
        if self.export is not None:
            self.export(subscription)
        return resource

    def update_subscription(self, requested: Any, mask: Any, now: float) -> Any:
        subscription = self._subscription(requested.name, now)
        resource = resources.updated_subscription(subscription.resource, requested, mask)
        self._check_export(resource)
        policy = resources.policy_of(resource)
        if policy.dead_letter_topic not in (None, subscription.policy.dead_letter_topic):
            self._topic(policy.dead_letter_topic)
        subscription.resource, subscription.policy = resource, policy
        subscription.backlog.obey(policy, now)
        self._show_topic_retention(subscription)
        self._watch_idle(subscription)
        if self.export is not None:
            self.export(subscription)
        return resource

    def get_subscription(self, name: str, now: float) -> Any:
        return self._subscription(name, now).resource

    def subscriptions_of(self, project: str) -> list[Any]:
        """Subscriptions of `projects/PROJECT`, by name."""
        prefix = names.check_project(project) + "/subscriptions/"
        return [self._subscriptions[name].resource for name in sorted(self._subscriptions) if name.startswith(prefix)]

    def delete_subscription(self, name: str, now: float) -> None:
        self._remove(self._subscription(name, now))

    def detach_subscription(self, name: str, now: float) -> None:
        """Drop what it holds and give it nothing more; after that it can only be read and deleted."""
        subscription = self._subscription(name, now)
        subscription.resource.detached = True
        if subscription.topic is not None:
            subscription.topic.subscriptions.pop(name)
            subscription.topic = None
        subscription.backlog.end(_detached(name))

    def backlogs(self, now: float) -> list[dict[str, Any]]:
        """Of each subscription, by name: its topic, how many messages are not acked, how old the oldest is."""
        found = []
        for name, subscription in sorted(self._subscriptions.items()):
            messages, published = subscription.backlog.unacked()
            oldest = max(0.0, now - published) if messages else None
            topic = str(subscription.resource.topic)
            found.append({"subscription": name, "topic": topic, "messages": messages, "oldest_seconds": oldest})
        return found

    # Messages

    def backlog(self, name: str, now: float) -> Backlog:
        """The backlog to pull from; refused where it is missing, detached or written elsewhere, and after `finish`."""
        if self._finished is not None:
            raise self._finished
        subscription = self._subscription(name, now)
        if subscription.backlog.ended is not None:
            raise subscription.backlog.ended
        if subscription.resource.HasField("cloud_storage_config"):
            raise PubsubError(
                StatusCode.FAILED_PRECONDITION, "This method is not supported for this subscription type."
            )
        return subscription.backlog

    def ack_deadline(self, name: str, now: float) -> int:
        return self._subscription(name, now).policy.ack_deadline

    def acknowledge(self, name: str, ack_ids: list[str], now: float) -> None:
        subscription = self._subscription(name, now)
        subscription.backlog.acknowledge(ack_ids, now)

    def modify(self, name: str, changes: list[tuple[str, float]], now: float) -> None:
        """See `Backlog.modify`."""
        subscription = self._subscription(name, now)
        subscription.backlog.modify(changes, now)

    def seek(self, name: str, time: float, now: float) -> None:
        """See `Backlog.seek`; not back in time where the topic itself retains messages, which are not kept here."""
        backlog = self.backlog(name, now)
        subscription = self._subscriptions[name]
        retained = subscription.topic is not None and subscription.topic.resource.HasField("message_retention_duration")
        if retained and time < now:
            raise unsupported("Seek back in time on a topic with message_retention_duration")
        backlog.seek(time, now)

    # Time

    def advance(self, now: float) -> float:
        """Process everything that is due; returns when the next thing is due, or infinity."""
        for subscription in list(self._subscriptions.values()):
            subscription.backlog.advance(now)
            subscription.active = now if subscription.backlog.consumers else subscription.last_use()
            ttl = subscription.policy.ttl
            if ttl is not None and subscription.active + ttl <= now:
                self._remove(subscription)
        times = [subscription.backlog.alarm for subscription in self._subscriptions.values()]
        idle = [s.active + s.policy.ttl for s in self._subscriptions.values() if s.policy.ttl is not None]
        return min(times + idle, default=inf)

    def finish(self, reason: PubsubError) -> None:
        """End every open Pull and StreamingPull, and refuse new ones."""
        self._finished = reason
        for subscription in self._subscriptions.values():
            for consumer in subscription.backlog.consumers:
                consumer.finish(reason)

    # Parts of the above

    def _check_export(self, resource: Any) -> None:
        if self.export is None and resource.HasField("cloud_storage_config"):
            raise unsupported("Subscription.cloud_storage_config without --archive-dir")

    def _topic(self, name: str) -> Topic:
        topic = self._topics.get(names.check_topic(name))
        if topic is None:
            raise not_found(name)
        return topic

    def _subscription(self, name: str, now: float) -> Subscription:
        subscription = self._subscriptions.get(names.check_subscription(name))
        if subscription is None:
            raise not_found(name)
        subscription.active = now
        return subscription

    def _publish(self, topic: Topic, raw: Any, now: float) -> list[Message]:
        published = []
        for one in raw:
            self._next_number += 1
            published.append(messages.stamp(one, self._next_number, now))
        for subscription in topic.subscriptions.values():
            wanted = subscription.wanted
            passed = published
            if wanted is not None:
                passed = [done for one, done in zip(raw, published, strict=True) if wanted(one.attributes)]
            subscription.backlog.put(passed, now)
        return published

    def _bury(self, name: str, message: Message, attempts: int, now: float) -> bool:
        subscription = self._subscriptions.get(name)
        target = subscription.policy.dead_letter_topic if subscription else None
        topic = self._topics.get(target) if target else None
        if topic is None:
            return False
        self._publish(topic, [messages.dead_letter(message, name, attempts)], now)
        return True

    def _remove(self, subscription: Subscription) -> None:
        del self._subscriptions[subscription.name]
        if subscription.topic is not None:
            subscription.topic.subscriptions.pop(subscription.name)
        subscription.backlog.end(not_found(subscription.name))

    def _show_topic_retention(self, subscription: Subscription) -> None:
        if subscription.topic is not None and subscription.topic.resource.HasField("message_retention_duration"):
            duration = subscription.topic.resource.message_retention_duration
            subscription.resource.topic_message_retention_duration.CopyFrom(duration)
        else:
            subscription.resource.ClearField("topic_message_retention_duration")

    def _watch_idle(self, subscription: Subscription) -> None:
        if subscription.policy.ttl is not None:
            self._sooner(subscription.active + subscription.policy.ttl)


def _detached(name: str) -> PubsubError:
    return PubsubError(StatusCode.FAILED_PRECONDITION, f"Subscription is detached (resource={names.id_of(name)}).")
