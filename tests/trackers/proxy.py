"""Stands between trackers and the collector: keeps what was sent, and refuses some of it as an overloaded collector."""

from __future__ import annotations

import base64
import binascii
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote_plus

import aiohttp
from aiohttp import web
from yarl import URL

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "host"}
_BESIDE = ("/flags", "/decide", "/array/", "/static/", "/v1/projects/", "/sourceConfig", "/engage")  # no events


@dataclass(frozen=True)
class Sent:
    """One request of a tracker, and how it was answered; `text` is what it says, decoded as far as can be."""

    method: str
    path: str
    status: int
    text: str

    @property
    def events(self) -> bool:
        return self.method != "OPTIONS" and not self.path.startswith(_BESIDE)


class Proxy:
    """Passes requests on as they are; `refuse` answers the next ones that carry events with 503, for itself."""

    def __init__(self, session: aiohttp.ClientSession, collector: str) -> None:
        self._session, self._collector = session, collector
        self._left = 0
        self.sent: list[Sent] = []
        self.url = ""

    def refuse(self, requests: int = 1) -> None:
        self._left = requests

    def reset(self) -> None:
        self._left = 0
        self.sent.clear()

    @property
    def refused(self) -> int:
        return sum(1 for one in self.sent if one.status == 503)

    def said(self) -> str:
        """All that was sent and accepted."""
        return "\n".join(one.text for one in self.sent if one.status < 400)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        text = _readable(request.raw_path, body)
        if self._left and Sent(request.method, request.path, 0, "").events:
            self._left -= 1
            self.sent.append(Sent(request.method, request.path, 503, text))
            cors = {
                "Access-Control-Allow-Origin": request.headers.get("Origin", "*"),
                "Access-Control-Allow-Credentials": "true",
                "Vary": "Origin",
            }
            return web.Response(status=503, headers={"Retry-After": "1", **cors}, text="try again\n")
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _HOP]
        url = URL(self._collector + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body or None, skip_auto_headers=("Content-Type", "User-Agent")
        ) as reply:
            answered = await reply.read()
            kept = [(name, value) for name, value in reply.headers.items() if name.lower() not in _HOP]
            self.sent.append(Sent(request.method, request.path, reply.status, text))
            found = web.Response(status=reply.status, body=answered)
            found.headers.clear()
            found.headers.extend(kept)
            return found


@asynccontextmanager
async def running(collector: str) -> AsyncIterator[Proxy]:
    async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=20)) as session:
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
            found.append(base64.b64decode(unquote_plus(part).replace("-", "+").replace("_", "/") + "==").decode("utf-8", "replace"))
        except (binascii.Error, ValueError):
            continue
    return "\n".join(found)
