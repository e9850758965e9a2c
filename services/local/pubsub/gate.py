"""The one way in and out: every RPC of every method passes `Gate._enter`, every delivery passes `Gate.outgoing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from services.local.pubsub import wire
from services.local.pubsub.failure import Refused, unsupported
from services.local.pubsub.message import Delivery


class Gate:
    """Makes gRPC handlers of plain coroutines, and gRPC statuses of `Refused`."""

    def unary(self, method: str, request: Any, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """A handler for a unary method: `work` takes the raw request and returns a raw message, or encoded bytes."""

        async def handle(raw: Any, context: Any) -> Any:
            return await self._enter(method, context, lambda: work(raw))

        return grpc.unary_unary_rpc_method_handler(handle, request.FromString, _encoded)

    def stream(self, method: str, request: Any, work: Callable[[Any], Awaitable[None]]) -> Any:
        """A handler for a bidirectional method: `work` takes the context, reads raw requests, writes encoded bytes."""

        async def handle(_: Any, context: Any) -> None:
            await self._enter(method, context, lambda: work(context))

        return grpc.stream_stream_rpc_method_handler(handle, request.FromString, _encoded)

    def unknown(self, method: str) -> Any:
        """A handler that refuses a method, whatever its requests and responses are."""

        async def refuse(_: Any) -> None:
            raise unsupported(method.rpartition("/")[2])

        async def handle(_: Any, context: Any) -> None:
            await self._enter(method, context, lambda: refuse(context))

        return grpc.stream_stream_rpc_method_handler(handle, None, None)

    def outgoing(self, subscription: str, deliveries: list[Delivery]) -> bytes:
        """Encode what Pull or StreamingPull hands over."""
        return wire.received(deliveries)

    async def _enter(self, method: str, context: Any, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await work()
        except Refused as refused:
            await context.abort(refused.code, refused.text)


def _encoded(response: Any) -> bytes:
    return response if isinstance(response, bytes) else bytes(response.SerializeToString())
