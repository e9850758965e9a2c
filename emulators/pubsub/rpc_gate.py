"""The one way in and out: every RPC of every method passes `Gate._enter`, every delivery passes `Gate.outgoing`.

Faults strike here; a message either way on a StreamingPull is a call of its own to them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from emulators.faults.active_faults import Call
from emulators.faults.fault_runtime import Broken, Outage, Swallowed, Watch
from emulators.pubsub import names, wire
from emulators.pubsub.backlog import Backlog
from emulators.pubsub.clock import Clock
from emulators.pubsub.failure import Refused, unsupported
from emulators.pubsub.message import Delivery

_NAMED = ("name", "subscription", "topic", "project", "resource")


class Gate:
    """Makes gRPC handlers of plain coroutines, and gRPC statuses of `Refused` and of faults."""

    def __init__(self, outage: Outage, clock: Clock) -> None:
        self._outage = outage
        self._clock = clock

    def unary(self, method: str, request: Any, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """A handler for a unary method: `work` takes the raw request and returns a raw message, or encoded bytes."""
        short = names.id_of(method)

        async def handle(raw: Any, context: Any) -> Any:
            if self._outage.on:
                return await self._enter(context, lambda: self._disturbed(call_of(short, raw), lambda: work(raw)))
            return await self._enter(context, lambda: work(raw))

        return grpc.unary_unary_rpc_method_handler(handle, request.FromString, _encoded)

    def stream(self, method: str, request: Any, work: Callable[[Any, Watch], Awaitable[None]]) -> Any:
        """A handler for a bidirectional method: `work` reads raw requests from the context, writes encoded bytes."""
        short = names.id_of(method)

        async def handle(_: Any, context: Any) -> None:
            with self._outage.watch(short) as watch:
                await self._enter(context, lambda: work(context, watch))

        return grpc.stream_stream_rpc_method_handler(handle, request.FromString, _encoded)

    def unknown(self, method: str) -> Any:
        """A handler that refuses a method, whatever its requests and responses are."""

        async def refuse() -> None:
            raise unsupported(names.id_of(method))

        async def handle(_: Any, context: Any) -> None:
            await self._enter(context, refuse)

        return grpc.stream_stream_rpc_method_handler(handle, None, None)

    async def before(self, call: Call) -> None:
        """Before a message of a stream is taken up; raises `Broken`."""
        if self._outage.on:
            await self._outage.before(call)

    async def before_delivery(self, call: Call, backlog: Backlog) -> None:
        """Before messages are taken from a backlog that has some for the caller."""
        if self._outage.on and (found := self._outage.reorder(call)) is not None:
            active, fault = found
            oldest = self._clock.now() - backlog.oldest()
            await self._outage.until(lambda: backlog.ready >= fault.window, active, fault.delay - oldest)
            backlog.shuffle(fault.window, active.random)

    async def after(self, call: Call) -> None:
        """After messages were taken for a stream; raises `Broken` where they do not reach the client."""
        if self._outage.on:
            await self._outage.after(call)

    def outgoing(self, call: Call, backlog: Backlog, deliveries: list[Delivery]) -> bytes:
        """Encode what Pull or StreamingPull hands over."""
        if self._outage.on:
            backlog.repeat([one for one in deliveries if not one.copy and self._outage.doubled(call)])
        return wire.received(deliveries)

    def heard(self, call: Call, ack_ids: list[str]) -> list[str]:
        """The ack ids of a request that are not lost on their way."""
        return self._outage.heard(call, ack_ids) if self._outage.on else ack_ids

    async def _disturbed(self, call: Call, work: Callable[[], Awaitable[Any]]) -> Any:
        await self._outage.before(call)
        response = await work()
        await self._outage.after(call)
        return response

    async def _enter(self, context: Any, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except Refused as refused:
            await context.abort(refused.code, refused.text)
        except Broken as broken:
            if isinstance(broken, Swallowed):
                await self._outage.sit_out(broken)
            await context.abort(grpc.StatusCode[broken.code], broken.text)


def call_of(method: str, raw: Any) -> Call:
    """What a raw request is about, by its full name and by its id."""
    for field in _NAMED:
        named = getattr(raw, field, None)
        name = named if isinstance(named, str) else getattr(named, "name", "")
        if name:
            return Call(method, (name, names.id_of(name)))
    return Call(method)


def _encoded(response: Any) -> bytes:
    return response if isinstance(response, bytes) else bytes(response.SerializeToString())
