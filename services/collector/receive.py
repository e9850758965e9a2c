"""Receives the body of a request, within limits of size and time."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aiohttp import HttpVersion11, web

from services.collector.body import BadBody
from services.collector.outbox import Reservation

BODY_SECONDS = 15.0  # a body that takes longer is answered 408
MAX_DISCARDED = 16_777_216  # bytes of a body that are read only so that its client sees the reply


class Received(NamedTuple):
    """The body as sent, or of one over the limit the part that arrived first; `size` is all of it."""

    data: bytes
    size: int


async def receive(request: web.BaseRequest, reservation: Reservation, limit: int, *, discard: bool = False) -> Received:
    """The body. With `discard`, what is over the limit is read and discarded, up to a bound, instead of refused.

    Raises BadBody 408, 413, or 400 if it breaks off; HitsRefused if there is no memory for it.
    """
    declared = request.content_length or 0
    if declared > (MAX_DISCARDED if discard else limit):
        if discard:
            return Received(b"", declared)
        raise _too_large(limit)
    _go_on(request)
    data = bytearray()
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.content.iter_any():
                size += len(chunk)
                if size <= limit:
                    reservation.add(len(chunk))
                    data += chunk
                elif not discard:
                    raise _too_large(limit)
                elif size > MAX_DISCARDED:
                    break
    except (web.PayloadAccessError, web.RequestPayloadError, ValueError) as error:
        raise BadBody(400, f"the body cannot be read: {error}") from error
    except TimeoutError as error:
        raise BadBody(408, f"the body did not arrive in {BODY_SECONDS:.0f} s") from error
    return Received(bytes(data), size)


def _too_large(limit: int) -> BadBody:
    return BadBody(413, f"the body is over {limit} bytes")


def _go_on(request: web.BaseRequest) -> None:
    """Ask for the body if the client waits for that."""
    expects = request.headers.get("Expect", "").lower() == "100-continue" and request.version == HttpVersion11
    if expects and request.transport is not None and not request.content.total_bytes:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
