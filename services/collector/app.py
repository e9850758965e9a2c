"""The public port: pixels, events, and what browsers ask around them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web
from multidict import istr

from services.collector import batch, body, capture, content_encoding, pixel, quick
from services.collector.config import RECEIVED, Config
from services.collector.metrics import Metrics
from services.collector.outbox import Outbox, Refused, Reserved, Tell
from services.collector.reply import Reply
from services.shared import hit, identity, tracing

PIXELS = ("/pixel.gif", "/pixel.png", "/i")
EVENTS = "/events"
BODY_SECONDS = 15.0  # a client that sends its body slower than this is not waited for
RETRY_SECONDS = "1"

_FORWARDED = istr("X-Forwarded-For")
_ORIGIN = istr("Origin")
_TRACEPARENT = istr(tracing.HEADER)
_ROBOTS = b"User-agent: *\nDisallow: /\n"
_QUIET = {"Cache-Control": "no-store", "Server": "pixelpipe"}


class App:
    """Answers one request; the reply to a hit leaves after the outbox says it is safe."""

    def __init__(self, cfg: Config, outbox: Outbox, metrics: Metrics) -> None:
        self._cfg, self._outbox, self._metrics = cfg, outbox, metrics
        self._received = cfg.ack == RECEIVED
        self._headers = [(name.lower(), istr(name)) for name in cfg.headers]
        self._routes: dict[str, dict[str, Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]]] = {
            EVENTS: {"POST": self._events, "OPTIONS": self._preflight},
            "/robots.txt": {"GET": self._robots, "HEAD": self._robots},
        }
        self._kinds = {EVENTS: "events", "/robots.txt": "robots"}
        self._reader = quick.Reader([name for name, _ in self._headers], [tracing.HEADER] if tracing.on else [])
        self._ids = identity.Ids()
        self._images: dict[bytes, Reply] = {}
        for path in (*PIXELS, *cfg.paths):
            self._routes[path] = {"GET": self._pixel, "HEAD": self._pixel}
            self._kinds[path] = "pixel"
            self._images[path.encode()] = _image(path)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        path = request.raw_path.partition("?")[0]
        routes = self._routes.get(path)
        if routes is None:
            response: web.StreamResponse = _text(404, "no such path\n")
        elif (handler := routes.get(request.method)) is None:
            response = _text(405, "method not allowed\n", {"Allow": ", ".join(routes)})
        else:
            response = await handler(request)
        self.replied(self._kinds.get(path, "other"), response.status, began)
        return response

    def quick(self, data: bytes, remote: str, tell: Tell) -> tuple[Reply, bool] | None:
        """What `handle` does, for a pixel's request as it came; None for what only `handle` can answer.

        The reply, and whether it may go now. Else `tell` is told when: with an error, `unavailable` goes in its place.
        """
        if (read := self._reader.read(data)) is None:
            return None
        path, query, headers, forwarded = read
        if (image := self._images.get(path)) is None:
            return None
        now = time.time_ns() // 1000
        self._metrics.hits.of["GET",] += 1
        line = quick.line(self._ids.next(now), now, path, query, headers, self._address(remote, forwarded))
        try:
            self._outbox.take_one(line, None if self._received else tell)
        except Refused as error:
            return unavailable(error), True
        return image, self._received

    def replied(self, kind: str, status: int, began: float) -> None:
        """Count a reply to a request that came at `began`, by `time.perf_counter()`."""
        self._metrics.replies.of[kind, str(status)] += 1
        self._metrics.durations.observe(kind, time.perf_counter() - began)

    async def _pixel(self, request: web.BaseRequest) -> web.StreamResponse:
        now = time.time_ns() // 1000
        captured = self._capture(request, now, self._ids.next(now))
        self._metrics.hits.of[request.method,] += 1
        try:
            await self._keep([hit.encode(captured)], request)
        except Refused as error:
            return unavailable(error).to(request)
        return self._images[captured.path.encode()].to(request)

    async def _events(self, request: web.BaseRequest) -> web.StreamResponse:
        cors = _cors(request)
        try:
            media = body.check_type(request.headers.get("Content-Type", ""))
            with self._outbox.reserve() as reserved:
                data = await self._read(request, reserved)
            encoding = ",".join(request.headers.getall("Content-Encoding", ()))
            found = body.events(content_encoding.decompress(data, encoding, self._cfg.max_body), media)
        except body.BadBody as error:
            return _json_error(error, cors)
        except Refused as error:
            return unavailable(error, cors).to(request)
        now = time.time_ns() // 1000
        like = self._capture(request, now, "")
        # A microsecond apart, so that the order of a batch is still known in BigQuery.
        lines = batch.encode(like, identity.uuid7s(now, len(found)), found)
        self._metrics.hits.of[request.method,] += len(lines)
        try:
            await self._keep(lines, request)
        except Refused as error:
            return unavailable(error, cors).to(request)
        return web.Response(status=204, headers={**_QUIET, **cors})

    async def _keep(self, lines: list[bytes], request: web.BaseRequest) -> None:
        """Return when the reply may go. Raises Refused."""
        trace = _trace(request) if tracing.on else None
        if self._received:
            self._outbox.take(lines, trace)
        else:
            await self._outbox.put(lines, trace)

    async def _read(self, request: web.BaseRequest, reserved: Reserved) -> bytes:
        """The body as sent, within the limits of size and time. Raises BadBody 408, 413, or 400 where it breaks off.

        Raises Refused where memory is full.
        """
        limit = self._cfg.max_body
        too_large = body.BadBody(413, f"the body is over {limit} bytes")
        if (request.content_length or 0) > limit:
            raise too_large
        data = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.content.iter_any():
                    data += chunk
                    if len(data) > limit:
                        raise too_large
                    reserved.add(len(chunk))
        except TimeoutError as error:
            raise body.BadBody(408, f"the body did not arrive in {BODY_SECONDS:.0f} s") from error
        except (web.PayloadAccessError, ValueError) as error:
            raise body.BadBody(400, f"the body cannot be read: {error}") from error
        return bytes(data)

    async def _preflight(self, request: web.BaseRequest) -> web.Response:
        headers = {
            "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "Content-Type, Content-Encoding",
            "Access-Control-Max-Age": "86400",
            "Server": "pixelpipe",
            **_cors(request),
        }
        return web.Response(status=204, headers=headers)

    async def _robots(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(body=_ROBOTS, headers={"Content-Type": "text/plain", "Server": "pixelpipe"})

    def _capture(self, request: web.BaseRequest, now: int, id: str) -> hit.Hit:
        return capture.hit(
            method=request.method,
            target=request.raw_path,
            headers=self._kept(request),
            ip=self._ip(request),
            now=now,
            id=id,
        )

    def _kept(self, request: web.BaseRequest) -> dict[str, str]:
        headers = request.headers
        return {name: value for name, key in self._headers if (value := headers.get(key)) is not None}

    def _ip(self, request: web.BaseRequest) -> str:
        forwarded = ",".join(request.headers.getall(_FORWARDED, ())) if self._cfg.trusted_proxies else ""
        return self._address(request.remote or "", forwarded)

    def _address(self, remote: str, forwarded: str) -> str:
        ip = capture.client_ip(remote, forwarded, self._cfg.trusted_proxies)
        return capture.truncate(ip) if self._cfg.truncate_ip else ip


def _image(path: str) -> Reply:
    image, kind = pixel.image(path)
    # A page that isolates itself (COEP) may still load the pixel.
    return Reply(200, {"Content-Type": kind, "Cross-Origin-Resource-Policy": "cross-origin", **_QUIET}, image)


def unavailable(error: Exception, headers: Mapping[str, str] | None = None) -> Reply:
    retry = {"Retry-After": RETRY_SECONDS, "Content-Type": "text/plain; charset=utf-8"}
    return Reply(503, {**_QUIET, **retry, **(headers or {})}, f"try again: {error}\n".encode())


def _trace(request: web.BaseRequest) -> tracing.Trace | None:
    headers = request.headers.getall(_TRACEPARENT, ())
    return tracing.parse(headers[0]) if len(headers) == 1 else None  # of several none can be told to be right


def _cors(request: web.BaseRequest) -> dict[str, str]:
    """`sendBeacon` sends credentials, which a browser allows only with the page's own origin, never with `*`."""
    origin = request.headers.get(_ORIGIN)
    if origin is None:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"}


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text, headers={**_QUIET, **(headers or {})})


def _json_error(error: body.BadBody, headers: dict[str, str]) -> web.Response:
    content = {"error": error.error, **({"where": error.where} if error.where else {})}
    return web.Response(
        status=error.status,
        body=msgspec.json.encode(content),
        headers={"Content-Type": "application/json", **_QUIET, **headers},
    )
