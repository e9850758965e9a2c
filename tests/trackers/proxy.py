"""Stands between trackers and the collector: keeps what was sent, and refuses some of it as an overloaded collector."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote_plus

import aiohttp
from aiohttp import web
from yarl import URL

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}
_BESIDE = ("/flags", "/decide", "/array/", "/static/", "/v1/projects/", "/sourceConfig", "/engage")  # no events


@dataclass
class Sent:
    """One request of a tracker; `text` is what it says, decoded as far as can be, `status` how it was answered."""

    method: str
    path: str
    text: str
    status: int = 0  # not yet
    at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))  # when it came

    @property
    def events(self) -> bool:
        return self.method != "OPTIONS" and not self.path.startswith(_BESIDE)


class Proxy:
    """Passes requests on as they are, but for those that carry events and are to fail."""

    def __init__(self, session: aiohttp.ClientSession, collector: str) -> None:
        self._session, self._collector = session, collector
        self.reset()
        self.url = ""

    def reset(self) -> None:
        self._refusing = self._losing = 0
        self.sent: list[Sent] = []

    def refuse(self, requests: int = 1) -> None:
        """Answer the next requests with 503 in the collector's place."""
        self._refusing = requests

    def lose_answer(self) -> None:
        """Answer the next request with 503 although the collector has it."""
        self._losing = 1

    @property
    def refused(self) -> int:
        return sum(1 for one in self.sent if one.status == 503)

    @property
    def first_at(self) -> dt.datetime:
        """When the first request with events came, answered or refused."""
        return next(one.at for one in self.sent if one.events)

    def said(self) -> str:
        """All that was sent."""
        return "\n".join(one.text for one in self.sent)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        attributes = [value for name, value in request.headers.items() if name.lower().startswith("ce-")]
        sent = Sent(request.method, request.path, "\n".join([_readable(request.raw_path, body), *attributes]))
        self.sent.append(sent)
        if sent.events and self._refusing:
            self._refusing -= 1
            return _unavailable(request, sent)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
        url = URL(self._collector + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, skip_auto_headers=("Content-Type", "User-Agent")
        ) as reply:
            answered = await reply.read()
        if sent.events and self._losing:
            self._losing -= 1
            return _unavailable(request, sent)
        sent.status = reply.status
        found = web.Response(status=reply.status, body=answered)
        found.headers.clear()
        found.headers.extend((name, value) for name, value in reply.headers.items() if name.lower() not in _HOP)
        return found


def _unavailable(request: web.BaseRequest, sent: Sent) -> web.Response:
    sent.status = 503
    cors = {
        "Access-Control-Allow-Origin": request.headers.get("Origin", "*"),
        "Access-Control-Allow-Credentials": "true",
        "Vary": "Origin",
    }
    return web.Response(status=503, headers={"Retry-After": "1", **cors}, text="try again\n")


@asynccontextmanager
async def running(collector: str) -> AsyncIterator[Proxy]:
    async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=60)) as session:
        proxy = Proxy(session, collector)
        runner = web.ServerRunner(web.Server(proxy.handle, auto_decompress=False))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield proxy
        finally:
            await runner.cleanup()


def _readable(target: str, body: bytes) -> str:
    """The request's text: the target, and the body without gzip, form and base64."""
    if body[:2] == b"\x1f\x8b":
        body = gzip.decompress(body)
    found = [unquote_plus(target)]
    text = body.decode("utf-8", "replace")
    if text.startswith("data="):
        text = unquote_plus(text.split("&")[0].removeprefix("data="))
    for part in (text, *(pair.partition("=")[2] for pair in target.partition("?")[2].split("&"))):
        found.append(part)
        try:
            found.append(
                base64.b64decode(unquote_plus(part).replace("-", "+").replace("_", "/") + "==").decode(
                    "utf-8", "replace"
                )
            )
        except (binascii.Error, ValueError):
            continue
    return "\n".join(found)
