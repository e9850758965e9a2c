"""Server-sent events: the state once a second, and what came, to each open page. Nothing is queued for any of them."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web

from local.feed import Feed
from local.refusal import Refused
from local.run_file import NotRunning
from local.state import Look

MOST = 200  # items in one message
CLIENTS = 32
_STATE_SECONDS = 1.0
_BEAT_SECONDS = 15.0


class Stream:
    """Each page has a place in the feed: one that reads slowly skips, and is told how much."""

    def __init__(self, look: Look, feed: Feed) -> None:
        self._look, self._feed = look, feed
        # What ids count from: a page resumes only where this server left it, and not one before it.
        self._first = time.time_ns() // 1_000_000
        self._clients = 0
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Let all go, so that the server can stop."""
        self._ending.set()

    async def serve(
        self, request: web.Request, session: aiohttp.ClientSession, headers: dict[str, str]
    ) -> web.StreamResponse:
        if self._clients >= CLIENTS:
            raise Refused(f"{CLIENTS} pages are open already", HTTPStatus.TOO_MANY_REQUESTS)
        given = request.headers.get("Last-Event-ID") or request.query.get("after") or "0"
        at = int(given) - self._first if given.isascii() and given.isdigit() and len(given) < 18 else 0
        response = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream; charset=utf-8"})
        self._clients += 1
        try:
            with suppress(ConnectionResetError):  # the page was closed
                await response.prepare(request)
                await self._send(response, session, at)
        finally:
            self._clients -= 1
        return response

    async def _send(self, response: web.StreamResponse, session: aiohttp.ClientSession, at: int) -> None:
        feed, shown_at, beat, resets = self._feed, 0.0, time.monotonic(), self._feed.resets
        if not 0 <= at <= feed.newest:  # of a server before this one
            at = 0
        while not self._ending.is_set():
            now = time.monotonic()
            if feed.resets != resets:
                resets = feed.resets
                await _event(response, "reset", {"since": _iso(feed)})
            items, skipped, at = feed.after(at, MOST)
            if items or skipped:
                await _event(response, "items", {"items": items, "skipped": skipped}, self._first + at)
                beat = now
            if now - shown_at >= _STATE_SECONDS:
                try:
                    state = await self._look.state(session)
                except NotRunning:
                    return
                await _event(response, "state", {**state, "since": _iso(feed), **feed.said()})
                shown_at = now
            if now - beat >= _BEAT_SECONDS:
                await response.write(b": beat\n\n")
                beat = now
            await feed.changed(max(0.05, _STATE_SECONDS - (time.monotonic() - shown_at)))


async def _event(response: web.StreamResponse, name: str, data: Any, number: int | None = None) -> None:
    """JSON has no raw line end, which would end the event."""
    head = f"event: {name}\n" + (f"id: {number}\n" if number is not None else "")
    await response.write(f"{head}data: {json.dumps(data)}\n\n".encode())


def _iso(feed: Feed) -> str | None:
    return feed.since.isoformat().replace("+00:00", "Z") if feed.since else None
