"""Stands in for a subscription: the messages that a worker takes from it, and what it answers to each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any


class Delivery:
    """A message; `answered` is called with "ack" or "nack"."""

    id, attempt, published_us = "m", 1, 1

    def __init__(self, data: bytes, attributes: dict[str, str], answered: Callable[[str], object]) -> None:
        self.data, self.attributes, self._answered = data, attributes, answered
        self.count = int(attributes.get("count", 1))

    def ack(self) -> None:
        self._answered("ack")

    def nack(self) -> None:
        self._answered("nack")


class _Subscriber:
    subscription = "work"

    def __init__(self, deliveries: tuple[Delivery, ...]) -> None:
        self.left = list(deliveries)

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while self.left:
            yield self.left.pop(0)


def subscriber(*deliveries: Delivery) -> Any:
    """What a worker takes for a Subscriber; `left` are those that it has not taken."""
    return _Subscriber(deliveries)


async def handled(worker: Any, *messages: tuple[bytes, dict[str, str]]) -> list[str]:
    """What a worker of the processor answers to these messages."""
    answers: list[str] = []
    await worker.run(subscriber(*(Delivery(*one, answers.append) for one in messages)))
    return answers
