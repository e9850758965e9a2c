"""One subscription's messages: which are ready, leased, waiting to be retried or kept after their ack.

A state machine of plain calls: nothing here waits, and `now` (unix seconds, never going back) comes from the caller.
`advance` does what became due; every other call does so first.

A lease ends by ack, nack or deadline only; a consumer that goes away gives nothing back. A late ack, of any earlier
delivery, counts as long as the message is here, also when another consumer has it by then; a late nack or extension
does not touch the newer lease. That is the real service's best effort, made definite.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from heapq import heapify, heappop, heappush
from math import ceil, inf
from random import Random

from emulators.pubsub.ack_id import AckIds
from emulators.pubsub.consumer import Consumer
from emulators.pubsub.errors import PubsubError
from emulators.pubsub.message import Delivery, HeldBytes, Message
from emulators.pubsub.resources import Policy


class State(Enum):
    READY = "ready"
    LEASED = "leased"
    DELAYED = "delayed"
    ACKED = "acked"  # kept for Seek, where the subscription retains acked messages


@dataclass(slots=True, eq=False)
class Entry:
    """One message in one subscription; `due` is when its lease or its delay ends."""

    message: Message
    state: State = State.READY
    attempt: int = 0
    due: float = 0.0
    holder: Consumer | None = None


class Backlog:
    """The messages of one subscription, and who may take them.

    `bury(message, attempts, now)` publishes to the dead-letter topic and says whether it could. `sooner(time)` is told
    of a time at which `advance` has something to do and that is earlier than `alarm` was.
    """

    def __init__(
        self,
        ack_ids: AckIds,
        policy: Policy,
        held_bytes: HeldBytes,
        bury: Callable[[Message, int, float], bool],
        sooner: Callable[[float], None],
    ) -> None:
        self.alarm = inf
        self.used = -inf  # when the last consumer left
        self.ended: PubsubError | None = None
        self._ack_ids = ack_ids
        self._policy = policy
        self._held_bytes = held_bytes
        self._bury = bury
        self._sooner = sooner
        self._entries: OrderedDict[int, Entry] = OrderedDict()  # in order of publishing
        self._ready: OrderedDict[int, Entry] = OrderedDict()
        self._copies: deque[Delivery] = deque()  # never more than two responses: the next take begins with them
        self._timers: list[tuple[float, int]] = []  # (due, message number), a superset: see _prune
        self._discard_before = 0.0
        self._consumers: dict[Consumer, None] = {}
        self._waiting: deque[Consumer] = deque()
        self._summoned: set[Consumer] = set()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ready(self) -> int:
        return len(self._ready) + len(self._copies)

    @property
    def consumers(self) -> list[Consumer]:
        return list(self._consumers)

    # Messages

    def put(self, messages: list[Message], now: float) -> None:
        """Add newly published messages, in order."""
        if self.ended is not None:
            return
        if not self._entries:
            self._schedule(now + self._policy.retention)
        for message in messages:
            if message.published < self._discard_before:
                continue
            self._held_bytes.hold(message)
            entry = Entry(message)
            self._entries[message.number] = entry
            self._ready[message.number] = entry
        self._offer()

    def take(self, consumer: Consumer, seconds: float, most: int, most_bytes: int, now: float) -> list[Delivery]:
        """Lease messages to a consumer for `seconds`: a fair share of what is ready, within its room and both limits.

        One message larger than `most_bytes` comes alone. An empty list means: `wait`, then ask again when woken.
        """
        self.advance(now)
        self._summoned.discard(consumer)
        count = min(most, consumer.room(), ceil(self.ready / (1 + len(self._summoned))))
        allowed = min(most_bytes, consumer.byte_room())
        taken: list[Delivery] = []
        counted = self._policy.dead_letter_topic is not None
        due = now + seconds
        while self._copies and len(taken) < count and allowed > 0:
            if taken and self._copies[0].message.size > allowed:
                break
            taken.append(self._copies.popleft())
            allowed -= taken[-1].message.size
        while self._ready and len(taken) < count and allowed > 0:
            number, entry = self._ready.popitem(last=False)
            size = entry.message.size
            if taken and size > allowed:
                self._ready[number] = entry
                self._ready.move_to_end(number, last=False)
                break
            allowed -= size
            entry.state, entry.due, entry.holder = State.LEASED, due, consumer
            entry.attempt += 1
            consumer.hold(size)
            heappush(self._timers, (due, number))
            taken.append(
                Delivery(self._ack_ids.write(number, entry.attempt), entry.message, entry.attempt if counted else 0)
            )
        if taken:
            self._prune()
            self._schedule(due)
        self._offer()
        return taken

    def repeat(self, deliveries: list[Delivery]) -> None:
        """Deliver these once more, whatever becomes of the first delivery; the next consumer to take gets them."""
        self._copies += [replace(one, ack_id=self._ack_ids.copy(one.ack_id), copy=True) for one in deliveries]
        self._offer()

    def shuffle(self, count: int, random: Random) -> None:
        """Shuffle the first `count` ready messages."""
        first = [self._ready.popitem(last=False) for _ in range(min(count, len(self._ready)))]
        random.shuffle(first)
        for number, entry in first:
            self._ready[number] = entry
            self._ready.move_to_end(number, last=False)

    def oldest(self) -> float:
        """When the oldest ready message was published; infinity if there is none."""
        return next(iter(self._ready.values())).message.published if self._ready else inf

    def unacked(self) -> tuple[int, float]:
        """How many messages are not acked, leased ones included, and when the oldest was published; 0, infinity."""
        kept = self._entries.values()
        if self._policy.retain_acked:
            kept = [entry for entry in kept if entry.state is not State.ACKED]  # type: ignore[assignment]
        return len(kept), next((entry.message.published for entry in kept), inf)

    def acknowledge(self, ack_ids: list[str], now: float) -> None:
        """Acknowledge messages. Unknown, expired and repeated ids are ignored; a malformed one fails the whole call."""
        found = [self._ack_ids.read(ack_id) for ack_id in ack_ids]
        self.advance(now)
        for number, attempt in found:
            entry = self._entries.get(number)
            if entry is not None and attempt <= entry.attempt:
                self._acked(number, entry)
        self._offer()

    def modify(self, changes: list[tuple[str, float]], now: float) -> None:
        """Set leases to end this many seconds from now, 0 being a nack; ids of ended leases are ignored."""
        found = [(self._ack_ids.read(ack_id), seconds) for ack_id, seconds in changes]
        self.advance(now)
        for (number, attempt), seconds in found:
            entry = self._entries.get(number)
            if entry is None or entry.state is not State.LEASED or entry.attempt != attempt:
                continue
            if seconds <= 0:
                self._failed(number, entry, now)
            else:
                due, entry.due = entry.due, now + seconds
                if entry.due < due:
                    heappush(self._timers, (entry.due, number))
                    self._schedule(entry.due)
        self._prune()
        self._offer()

    def seek(self, time: float, now: float) -> None:
        """Mark everything published before `time` as acked, everything after it as not acked."""
        self.advance(now)
        self._discard_before = time
        self._copies.clear()
        for number, entry in list(self._entries.items()):
            if entry.message.published < time:
                self._acked(number, entry)
            elif entry.state is State.ACKED:
                entry.state, entry.attempt = State.READY, 0
                self._ready[number] = entry
        self._offer()

    # Time

    def advance(self, now: float) -> None:
        """End leases, delays and retention that are due."""
        if now < self.alarm:
            return
        while self._entries:
            number, entry = next(iter(self._entries.items()))
            if entry.message.published + self._policy.retention > now:
                break
            self._drop(number, entry)
        while self._timers and (self._timers[0][0] <= now or self._stale(self._timers[0])):
            _, number = heappop(self._timers)
            found = self._entries.get(number)
            if found is None or found.state not in (State.LEASED, State.DELAYED):
                continue
            if found.due > now:
                heappush(self._timers, (found.due, number))
            elif found.state is State.LEASED:
                self._failed(number, found, now)
            else:
                found.state = State.READY
                self._ready[number] = found
        self.alarm = inf
        if self._timers:
            self._schedule(self._timers[0][0])
        if self._entries:
            oldest = next(iter(self._entries.values()))
            self._schedule(oldest.message.published + self._policy.retention)
        self._offer()

    def obey(self, policy: Policy, now: float) -> None:
        """Change the policy; leases and delays already running keep their times."""
        self._policy = policy
        if not policy.retain_acked:
            for number, entry in list(self._entries.items()):
                if entry.state is State.ACKED:
                    self._drop(number, entry)
        self.alarm = -inf
        self.advance(now)

    # Consumers

    def join(self, consumer: Consumer) -> None:
        self._consumers[consumer] = None

    def wait(self, consumer: Consumer) -> None:
        """Have `consumer.wake` called once there is something for it; it is called at once if there already is."""
        self._waiting.append(consumer)
        self._offer()

    def leave(self, consumer: Consumer, now: float) -> None:
        """Forget a consumer; what it holds stays leased."""
        self.used = now
        self._consumers.pop(consumer, None)
        self._summoned.discard(consumer)
        if consumer in self._waiting:
            self._waiting.remove(consumer)
        self._offer()

    def end(self, reason: PubsubError) -> None:
        """Drop everything, and finish every consumer with this reason."""
        self.ended = reason
        for number, entry in list(self._entries.items()):
            self._drop(number, entry)
        self._timers.clear()
        self._copies.clear()
        self.alarm = inf
        for consumer in self.consumers:
            consumer.finish(reason)

    def _offer(self) -> None:
        """Wake as many waiting consumers with room as there are messages, in the order in which they began to wait."""
        for _ in range(len(self._waiting)):
            if len(self._summoned) >= self.ready:
                return
            consumer = self._waiting.popleft()
            if consumer.room() > 0:
                self._summoned.add(consumer)
                consumer.wake()
            else:
                self._waiting.append(consumer)

    # Entries

    def _acked(self, number: int, entry: Entry) -> None:
        self._unlease(entry)
        if self._policy.retain_acked:
            self._ready.pop(number, None)
            entry.state = State.ACKED
        else:
            self._drop(number, entry)

    def _failed(self, number: int, entry: Entry, now: float) -> None:
        """After a nack or an expired lease: dead letter, delay or ready again."""
        self._unlease(entry)
        policy = self._policy
        if policy.dead_letter_topic is not None and entry.attempt >= policy.max_attempts:
            entry.state = State.ACKED
            if self._bury(entry.message, entry.attempt, now):
                self._acked(number, entry)
                return
        delay = policy.backoff(entry.attempt)
        if delay > 0:
            entry.state, entry.due = State.DELAYED, now + delay
            heappush(self._timers, (entry.due, number))
            self._schedule(entry.due)
        else:
            entry.state = State.READY
            self._ready[number] = entry

    def _drop(self, number: int, entry: Entry) -> None:
        self._unlease(entry)
        self._ready.pop(number, None)
        del self._entries[number]
        self._held_bytes.release(entry.message)

    def _unlease(self, entry: Entry) -> None:
        if entry.holder is not None:
            entry.holder.release(entry.message.size)
            entry.holder = None

    # Timers

    def _schedule(self, time: float) -> None:
        if time < self.alarm:
            self.alarm = time
            self._sooner(time)

    def _stale(self, timer: tuple[float, int]) -> bool:
        entry = self._entries.get(timer[1])
        return entry is None or entry.state not in (State.LEASED, State.DELAYED)

    def _prune(self) -> None:
        """Acks leave their timers behind; rebuild when those are most of the heap, so that it stays in proportion."""
        if len(self._timers) > 1024 + 4 * len(self._entries):
            self._timers = [
                (entry.due, number)
                for number, entry in self._entries.items()
                if entry.state in (State.LEASED, State.DELAYED)
            ]
            heapify(self._timers)
