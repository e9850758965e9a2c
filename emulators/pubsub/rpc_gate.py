"""Every RPC enters through `RpcGate`, and every delivery leaves through `RpcGate.outgoing`.

Faults are injected here; to them, each message in either direction on a StreamingPull is a call of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from emulators.faults.active_faults import Call
from emulators.faults.fault_runtime import FaultRuntime, InjectedError, InjectedSilence, Watch
from emulators.pubsub import names, wire
from emulators.pubsub.backlog import Backlog
from emulators.pubsub.clock import Clock
from emulators.pubsub.errors import PubsubError, invalid, unsupported
from emulators.pubsub.message import Delivery

_NAMED = ("name", "subscription", "topic", "project", "resource")


class Stream:
    """The two directions of a bidirectional call."""

    def __init__(self, context: Any, request: Any) -> None:
        self._context = context
        self._request = request

    async def read(self) -> Any:
        """The next raw request, or None once the client has half-closed; raises `PubsubError` for a malformed one."""
        encoded = await self._context.read()
        return None if encoded is grpc.aio.EOF else _parsed(self._request, encoded)

    async def send_headers(self) -> None:
        await self._context.send_initial_metadata(())

    async def write(self, encoded: bytes) -> None:
        await self._context.write(encoded)


class RpcGate:
    """Turns plain coroutines into gRPC handlers, and `PubsubError` and injected errors into gRPC statuses."""

    def __init__(self, runtime: FaultRuntime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock

    def unary(self, method: str, request: Any, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """A handler for a unary method: `work` takes the raw request and returns a raw message, or encoded bytes."""
        short = names.id_of(method)

        async def serve(encoded: bytes) -> Any:
            raw = _parsed(request, encoded)
            return await (self._with_faults(call_of(short, raw), lambda: work(raw)) if self._runtime.on else work(raw))

        async def handle(encoded: bytes, context: Any) -> Any:
            return await self._enter(context, lambda: serve(encoded))

        return grpc.unary_unary_rpc_method_handler(handle, None, _encoded)

    def stream(self, method: str, request: Any, work: Callable[[Stream, Watch], Awaitable[None]]) -> Any:
        """A handler for a bidirectional method: `work` reads raw requests and writes encoded bytes."""
        short = names.id_of(method)

        async def handle(_: Any, context: Any) -> None:
            with self._runtime.watch(short) as watch:
                await self._enter(context, lambda: work(Stream(context, request), watch))

        return grpc.stream_stream_rpc_method_handler(handle, None, _encoded)

    def unknown(self, method: str) -> Any:
        """A handler that refuses a method, whatever its requests and responses are."""

        async def refuse() -> None:
            raise unsupported(names.id_of(method))

        async def handle(_: Any, context: Any) -> None:
            await self._enter(context, refuse)

        return grpc.stream_stream_rpc_method_handler(handle, None, None)

    async def before(self, call: Call) -> None:
        """Called before a stream's message is processed; raises `InjectedError`."""
        if self._runtime.on:
            await self._runtime.before(call)

    async def before_delivery(self, call: Call, backlog: Backlog) -> None:
        """Called before messages are taken from a backlog that has some for the caller."""
        if self._runtime.on and (found := self._runtime.reorder(call)) is not None:
            active, fault = found
            oldest = self._clock.now() - backlog.oldest()
            await self._runtime.until(lambda: backlog.ready >= fault.window, active, fault.delay - oldest)
            backlog.shuffle(fault.window, active.random)

    async def after(self, call: Call) -> None:
        """Called after messages were taken for a stream; raises `InjectedError` where the client must not get them."""
        if self._runtime.on:
            await self._runtime.after(call)

    def outgoing(self, call: Call, backlog: Backlog, deliveries: list[Delivery]) -> bytes:
        """Encode what Pull or StreamingPull delivers."""
        if self._runtime.on:
            backlog.repeat([one for one in deliveries if not one.copy and self._runtime.doubled(call)])
        return wire.received(deliveries)

    def heard(self, call: Call, ack_ids: list[str]) -> list[str]:
        """The ack ids of a request that no fault drops."""
        return self._runtime.heard(call, ack_ids) if self._runtime.on else ack_ids

    async def _with_faults(self, call: Call, work: Callable[[], Awaitable[Any]]) -> Any:
        await self._runtime.before(call)
        response = await work()
        await self._runtime.after(call)
        return response

    async def _enter(self, context: Any, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except PubsubError as refused:
            await context.abort(refused.code, refused.text)
        except InjectedError as injected:
            if isinstance(injected, InjectedSilence):
                await self._runtime.sit_out(injected)
            await context.abort(grpc.StatusCode[injected.code], injected.text)


def call_of(method: str, raw: Any) -> Call:
    """What a raw request is about, by its full name and by its id."""
    for field in _NAMED:
        named = getattr(raw, field, None)
        name = named if isinstance(named, str) else getattr(named, "name", "")
        if name:
            return Call(method, (name, names.id_of(name)))
    return Call(method)


def _parsed(request: Any, encoded: bytes) -> Any:
    """Parsed here, since gRPC would answer UNKNOWN for bytes that its deserializer refuses."""
    try:
        return request.FromString(encoded)
    except DecodeError as error:
        raise invalid(f"The request is not a valid {request.DESCRIPTOR.name}.") from error


def _encoded(response: Any) -> bytes:
    return response if isinstance(response, bytes) else bytes(response.SerializeToString())
