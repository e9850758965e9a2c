"""gRPC handlers that parse requests themselves, and errors that gRPC can carry.

Left to gRPC, a request that is not a protobuf is answered UNKNOWN, and an error that repeats a very long name becomes
RESOURCE_EXHAUSTED, since trailers have a limit of 8 KiB.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

MAX_TEXT = 500  # characters of an error; each may be twelve bytes on the wire


class CallError(Exception):
    """The call ends with this status, as the real service ends it."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


async def abort(context: Any, code: grpc.StatusCode, text: str) -> None:
    """End the call; the text is cut at `MAX_TEXT` characters."""
    await context.abort(code, text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…")


def parsed(request: Any, encoded: bytes) -> Any:
    """The raw request; raises `CallError` INVALID_ARGUMENT for malformed bytes."""
    try:
        return request.FromString(encoded)
    except DecodeError as error:
        text = f"The request is not a valid {request.DESCRIPTOR.name}."
        raise CallError(grpc.StatusCode.INVALID_ARGUMENT, text) from error


def unary(work: Callable[[Any, Any], Awaitable[Any]], request: Any, response: Any) -> grpc.RpcMethodHandler:
    """A handler of one request and one response; a `CallError` becomes its status."""

    async def handle(encoded: bytes, context: Any) -> Any:
        try:
            return await work(parsed(request, encoded), context)
        except CallError as error:
            await abort(context, error.code, str(error))

    return grpc.unary_unary_rpc_method_handler(handle, None, response.SerializeToString)


def server_stream(work: Callable[[Any, Any], AsyncIterator[Any]], request: Any, response: Any) -> grpc.RpcMethodHandler:
    """A handler of one request and many responses; a `CallError` becomes its status."""

    async def handle(encoded: bytes, context: Any) -> AsyncIterator[Any]:
        try:
            async for answer in work(parsed(request, encoded), context):
                yield answer
        except CallError as error:
            await abort(context, error.code, str(error))

    return grpc.unary_stream_rpc_method_handler(handle, None, response.SerializeToString)


def both_stream(
    work: Callable[[AsyncIterator[Any], Any], Awaitable[None]], request: Any, response: Any
) -> grpc.RpcMethodHandler:
    """A handler of many requests and responses; `work` gets an iterator that may raise `CallError`."""

    async def read(encoded: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for one in encoded:
            yield parsed(request, one)

    async def handle(encoded: AsyncIterator[bytes], context: Any) -> None:
        await work(read(encoded), context)

    return grpc.stream_stream_rpc_method_handler(handle, None, response.SerializeToString)
