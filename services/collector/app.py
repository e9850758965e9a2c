"""The public port: pixels, events, and the requests browsers make besides."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import msgspec
from aiohttp import HttpVersion11, web
from multidict import istr

from services.collector import body, capture, content_encoding, encode_batch, fast_path, pixel
from services.collector.config import IMMEDIATE, Config
from services.collector.metrics import Metrics
from services.collector.outbox import HitsRefused, OnSettled, Outbox, Reservation
from services.collector.reply import FRESH, TEXT, Reply, Sending
from services.shared import address, hit, identity, tracing

PIXELS = ("/pixel.gif", "/pixel.png", "/i")
EVENTS = "/events"
BODY_SECONDS = 15.0  # a body that takes longer is answered 408
RETRY_SECONDS = "1"
PREFLIGHT_SECONDS = "86400"
MAX_PATH = 1_024  # characters of a path that is normalized

_FORWARDED = istr("X-Forwarded-For")
_TRACEPARENT = istr(tracing.HEADER)
_ASKED_METHOD, _ASKED_HEADERS = istr("Access-Control-Request-Method"), istr("Access-Control-Request-Headers")
_METHOD, _HEADERS = re.compile(r"[A-Za-z-]{1,24}"), re.compile(r"[\w!#$%&'*+.^`|~, \t-]{1,1024}", re.ASCII)
_ALLOWED_METHODS, _ALLOWED_HEADERS = "GET, HEAD, POST", "Content-Type, Content-Encoding"

_ACCEPTED = Reply(204, {})
_ROBOTS = Reply(200, TEXT, b"User-agent: *\nDisallow: /\n")
_UNKNOWN = Reply(404, {**TEXT, **FRESH}, b"no such path\n")

Handler = Callable[[web.BaseRequest], Awaitable[Reply]]


class _Route(NamedTuple):
    """A path as it appears in hits, the kind of its requests, and the handler of each method."""

    path: str
    kind: str
    methods: Mapping[str, Handler]
    other_method: Reply


class App:
    """Answers one request; the reply to a hit is sent once the outbox says the hit is safe."""

    def __init__(self, cfg: Config, outbox: Outbox, metrics: Metrics) -> None:
        self._cfg, self._outbox, self._metrics = cfg, outbox, metrics
        self._immediate = cfg.ack == IMMEDIATE
        self._headers = [(name.lower(), istr(name)) for name in cfg.headers]
        self.kept = [name for name, _ in self._headers]  # headers kept with a hit, in lower case
        self._traced = tracing.on and cfg.trace_requests
        self._fast_parser = fast_path.FastParser(self.kept, [tracing.HEADER] if self._traced else [])
        self._ids = identity.Ids()
        self._images: dict[bytes, Reply] = {}
        self._routes: dict[str, _Route] = {}
        self._route("/robots.txt", "robots", {"GET": self._robots, "HEAD": self._robots})
        self._route(EVENTS, "events", {"POST": self._events})
        for path in (*PIXELS, *cfg.paths):
            self._route(path, "pixel", {"GET": self._pixel, "HEAD": self._pixel})
            self._images[path.encode()] = _image(path)

    def _route(self, path: str, kind: str, methods: Mapping[str, Handler]) -> None:
        allowed = ", ".join([*methods, "OPTIONS"])
        other = Reply(405, {**TEXT, **FRESH, "Allow": allowed}, b"method not allowed\n")
        route = _Route(path, kind, {**methods, "OPTIONS": _preflight}, other)
        self._routes.setdefault(capture.plain_path(path), route)
        self._routes[path] = route

    def _at(self, path: str) -> _Route | None:
        route = self._routes.get(path)
        if route is None and len(path) <= MAX_PATH:
            route = self._routes.get(capture.plain_path(path))
        return route

    async def handle(self, request: web.BaseRequest) -> Sending:
        began = time.perf_counter()
        route = self._at(request.raw_path.partition("?")[0])
        if route is not None:
            handler = route.methods.get(request.method)
            reply = await handler(request) if handler is not None else route.other_method
        else:
            reply = await _preflight(request) if request.method == "OPTIONS" else _UNKNOWN
        self.replied(route.kind if route is not None else "other", reply.status, began)
        return reply.to(request)

    def handle_fast(self, data: bytes, remote: str, on_settled: OnSettled) -> tuple[Reply, bytes, bool] | None:
        """Answer a plain pixel GET, given as raw bytes; None means that `handle` must answer the request.

        `remote` is the peer's address, or "". Returns the reply, the Origin it goes to, and whether it may be sent now.
        If not, `on_settled` is called once it may; with an error, send `unavailable` instead.
        """
        if (parsed := self._fast_parser.parse(data)) is None:
            return None
        path, query, headers, forwarded, origin = parsed
        if (image := self._images.get(path)) is None:
            return None
        now = time.time_ns() // 1000
        self._metrics.hits.by_labels["GET",] += 1
        line = fast_path.encode(self._ids.next(now), now, path, query, headers, self._address(remote, forwarded))
        try:
            self._outbox.take_one(line, None if self._immediate else on_settled)
        except HitsRefused as error:
            return unavailable(error), origin, True
        return image, origin, self._immediate

    def replied(self, kind: str, status: int, began: float) -> None:
        """Count a reply; `began` is when its request arrived, by `time.perf_counter()`."""
        self._metrics.responses.by_labels[kind, str(status)] += 1
        self._metrics.request_seconds.observe(kind, time.perf_counter() - began)

    async def _pixel(self, request: web.BaseRequest) -> Reply:
        now = time.time_ns() // 1000
        captured = self._capture(request, now, self._ids.next(now))
        self._metrics.hits.by_labels[request.method,] += 1
        try:
            await self._keep([hit.encode(captured)], request)
        except HitsRefused as error:
            return unavailable(error)
        return self._images[captured.path.encode()]

    async def _events(self, request: web.BaseRequest) -> Reply:
        try:
            media = body.check_type(request.headers.get("Content-Type", ""))
            with self._outbox.reserve() as reservation:
                data = await self._read(request, reservation)
            encoding = ",".join(request.headers.getall("Content-Encoding", ()))
            found = body.events(content_encoding.decompress(data, encoding, self._cfg.max_body_bytes), media)
        except body.BadBody as error:
            return _json_error(error)
        except HitsRefused as error:
            return unavailable(error)
        now = time.time_ns() // 1000
        like = self._capture(request, now, "")
        # A microsecond apart, so that BigQuery still knows the order of a batch.
        lines = encode_batch.encode(like, identity.uuid7s(now, len(found)), found)
        self._metrics.hits.by_labels[request.method,] += len(lines)
        try:
            await self._keep(lines, request)
        except HitsRefused as error:
            return unavailable(error)
        return _ACCEPTED

    async def _keep(self, lines: list[bytes], request: web.BaseRequest) -> None:
        """Return once the reply may be sent. Raises HitsRefused."""
        trace = _trace(request) if self._traced else None
        if self._immediate:
            self._outbox.take(lines, trace)
        else:
            await self._outbox.put(lines, trace)

    async def _read(self, request: web.BaseRequest, reservation: Reservation) -> bytes:
        """The body as sent, within the limits of size and time.

        Raises BadBody 408, 413, or 400 if it breaks off; HitsRefused if there is no memory for it.
        """
        limit = self._cfg.max_body_bytes
        too_large = body.BadBody(413, f"the body is over {limit} bytes")
        if (request.content_length or 0) > limit:
            raise too_large
        _go_on(request)
        data = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in request.content.iter_any():
                    data += chunk
                    if len(data) > limit:
                        raise too_large
                    reservation.add(len(chunk))
        except (web.PayloadAccessError, web.RequestPayloadError, ValueError) as error:
            raise body.BadBody(400, f"the body cannot be read: {error}") from error
        except TimeoutError as error:
            raise body.BadBody(408, f"the body did not arrive in {BODY_SECONDS:.0f} s") from error
        return bytes(data)

    async def _robots(self, _request: web.BaseRequest) -> Reply:
        return _ROBOTS

    def _capture(self, request: web.BaseRequest, now: int, id: str) -> hit.Hit:
        path, _, query = request.raw_path.partition("?")
        route = self._at(path)
        return capture.hit(
            method=request.method,
            path=route.path if route is not None else path,
            query=query,
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
        return self._address(address.normalize(request.remote or ""), forwarded)

    def _address(self, remote: str, forwarded: str) -> str:
        ip = capture.client_ip(remote, forwarded, self._cfg.trusted_proxies)
        return capture.truncate(ip) if self._cfg.truncate_ip else ip


def _image(path: str) -> Reply:
    image, kind = pixel.image(path)
    # Pages that isolate themselves (COEP) can still load the pixel.
    return Reply(200, {"Content-Type": kind, "Cross-Origin-Resource-Policy": "cross-origin", **FRESH}, image)


def unavailable(error: Exception) -> Reply:
    return Reply(503, {**TEXT, "Retry-After": RETRY_SECONDS}, f"try again: {error}\n".encode())


async def _preflight(request: web.BaseRequest) -> Reply:
    """Allow whatever a page asks to send: one header that is not allowed would cost all its events."""
    method, headers = request.headers.get(_ASKED_METHOD, ""), request.headers.get(_ASKED_HEADERS, "")
    return Reply(
        204,
        {
            "Access-Control-Allow-Methods": method if _METHOD.fullmatch(method) else _ALLOWED_METHODS,
            "Access-Control-Allow-Headers": headers if _HEADERS.fullmatch(headers) else _ALLOWED_HEADERS,
            "Access-Control-Max-Age": PREFLIGHT_SECONDS,
        },
    )


def _go_on(request: web.BaseRequest) -> None:
    """Ask for the body if the client waits for that."""
    expects = request.headers.get("Expect", "").lower() == "100-continue" and request.version == HttpVersion11
    if expects and request.transport is not None and not request.content.total_bytes:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _trace(request: web.BaseRequest) -> tracing.Trace | None:
    headers = request.headers.getall(_TRACEPARENT, ())
    return tracing.parse(headers[0]) if len(headers) == 1 else None  # of several, none is known to be right


def _json_error(error: body.BadBody) -> Reply:
    content = {"error": error.error, **({"where": error.where} if error.where else {})}
    return Reply(error.status, {"Content-Type": "application/json"}, msgspec.json.encode(content))
