"""The public port: pixels, events, other trackers' requests, and those browsers make besides."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache

import msgspec
from aiohttp import web
from multidict import istr

from services.collector import body, capture, cut, encode_batch, endpoints, fast_path, preflight, refusals, replies
from services.collector.config import IMMEDIATE, Config
from services.collector.cut import Cut
from services.collector.metrics import Metrics
from services.collector.outbox import HitsRefused, OnSettled, Outbox
from services.collector.privacy import SUPPORT, SUPPORTED, Protection
from services.collector.receive import Received, receive
from services.collector.refusals import PostRefused
from services.collector.replies import Asked
from services.collector.reply import FRESH, TEXT, Reply, Sending
from services.collector.routes import ANSWERED, DROPPED, NATIVE, Route, is_plain
from services.collector.tally_counter import label, labels
from services.collector.tenant import Tenancy, fated
from services.collector.tenant_keys import HEADERS as KEY_HEADERS
from services.collector.unwrap import TOO_LARGE
from services.collector.visitor import NOBODY, Visitor, Visitors
from services.shared import address, guard, hash_keys, hit, identity, tracing
from services.shared.schema import Schema
from services.shared.tally import DROPPED as NOT_KEPT
from services.shared.tally import HOUR_US, REFUSED, Label

_CACHED_IPS = 4_096
MAX_REPEATED = 33_554_432  # bytes that the items of one body carry each, such as the query string, all together

_FORWARDED, _TRACEPARENT = istr("X-Forwarded-For"), istr(tracing.HEADER)
_ENCODING, _TYPE = istr("Content-Encoding"), istr("Content-Type")

_ROBOTS = Reply(200, TEXT, b"User-agent: *\nDisallow: /\n")
_UNKNOWN = Reply(404, {**TEXT, **FRESH}, b"no such path\n")
_NOWHERE = Reply(400, {**TEXT, **FRESH}, b"this address is not one that links may lead to\n")
_KINDS = {
    "form": "events",
    **{name: name for name in ("pixel", "events", "robots", "script", "redirect", "hook", "gpc")},
}


class App:
    """Answers one request; the reply to a hit is sent once the outbox says the hit is safe."""

    def __init__(self, cfg: Config, schema: Schema, outbox: Outbox, metrics: Metrics) -> None:
        """Raises ConfigError for paths, files and hooks that cannot be served."""
        self._cfg, self._outbox, self._metrics = cfg, outbox, metrics
        self._tallies = outbox.tallies
        self._immediate = cfg.ack == IMMEDIATE
        self._headers = [(name.lower(), istr(name)) for name in cfg.headers]
        self.kept = [name for name, _ in self._headers]  # headers kept with a hit, in lower case
        self._traced = tracing.on and cfg.trace_requests
        privacy = schema.privacy[cfg.privacy]
        self._protection = Protection(privacy, hash_keys.of_setting(privacy, cfg.hash_key_file), metrics, self.kept)
        self._hits = metrics.hits.by_labels
        self._visitors = Visitors(privacy.cookie) if privacy.cookie is not None else None
        self.needed = [*self.kept, *(["cookie"] if self._visitors else [])]  # of a request's head, in lower case
        self._cached_ip = lru_cache(_CACHED_IPS)(self._fast_ip)
        self._tenancy = Tenancy(schema.tenants, metrics)
        others = [*([tracing.HEADER] if self._traced else ()), *(KEY_HEADERS if schema.tenants else ())]
        self._fast_parser = fast_path.FastParser(self.kept, self._protection, others)
        self._ids = identity.Ids()
        self._endpoints = endpoints.read(cfg, more=[SUPPORT] if self._protection.obeys_gpc else [])
        self._table = self._endpoints.table
        # A plain pixel takes the fast path; one whose query may show another protocol is looked at first.
        self._images: dict[bytes, Reply] = {}
        self._shared: dict[bytes, Route] = {}
        for route in self._table:
            if route.name == "pixel":
                self._images[route.path.encode()] = replies.ready(replies.answer("pixel", Asked("GET", route.path)))
                if route.unless:
                    self._shared[route.path.encode()] = route

    async def handle(self, request: web.BaseRequest) -> Sending:
        began = time.perf_counter()
        path, _, query = request.raw_path.partition("?")
        found = self._table.at(path)
        if found is not None:
            route = found[0].choose(query, request.headers)
            kind = _KINDS.get(route.protocol, "tracker")
            reply = await self._answer(request, route, query, found[1])
        else:
            kind, reply = "other", preflight.reply(request, None) if request.method == "OPTIONS" else _UNKNOWN
        self.replied(kind, reply.status, began)
        return reply.to(request)

    def handle_fast(self, data: bytes, remote: str, on_settled: OnSettled) -> tuple[Reply, bytes, bool] | None:
        """Answer a plain pixel GET, given as raw bytes; None means that `handle` must answer the request.

        `remote` is the peer's address, or "". Returns the reply, the Origin it goes to, and whether it may be sent now.
        If not, `on_settled` is called once it may; with an error, send `refusals.unavailable` instead.
        """
        if self._visitors is not None or (parsed := self._fast_parser.parse(data)) is None:
            return None
        path, query, headers, forwarded, origin, signal, lines, passes = parsed
        if (image := self._images.get(path)) is None:
            return None
        if path in self._shared and not is_plain(query):
            route = self._shared[path]
            if route.choose(query.decode(), {}) is not route:
                return None
        anonymize, more, tenant, now = False, b"", "", time.time_ns() // 1000
        if self._tenancy.on:
            fate = self._tenancy.of_line(lines, path, query)
            tenant = fate.tenant
            if fate.drop:
                self._tallies.add(label(now, tenant=tenant), NOT_KEPT)
                return image, origin, True
            signal, more = self._protection.strongest(signal, fate.signal), fate.members
        if signal or not passes:
            asked = query.decode()
            treatment = self._protection.treatment(self._protection.with_query(signal, asked))
            if treatment.drop:
                self._tallies.add(label(now, tenant=tenant), NOT_KEPT)
                return image, origin, True
            anonymize, more = treatment.anonymize, fast_path.members(treatment) + more
            if anonymize:
                headers = self._fast_parser.anonymized(lines)
            query = hit.text(self._protection.clean_query(asked, anonymize=anonymize))[1:-1]
        self._hits["GET",] += 1
        ip = self._cached_ip(remote, forwarded, anonymize)
        line = fast_path.encode(self._ids.next(now), now, path, query, headers, ip, more)
        try:
            self._outbox.take_one(line, None if self._immediate else on_settled, (now // HOUR_US, hit.NATIVE, tenant))
        except HitsRefused as error:
            return refusals.unavailable(error), origin, True
        return image, origin, self._immediate

    def replied(self, kind: str, status: int, began: float) -> None:
        """Count a reply; `began` is when its request arrived, by `time.perf_counter()`."""
        self._metrics.responses.by_labels[kind, str(status)] += 1
        self._metrics.request_seconds.observe(kind, time.perf_counter() - began)

    async def _answer(self, request: web.BaseRequest, route: Route, query: str, key: str) -> Reply:
        if request.method == "OPTIONS":
            return preflight.reply(request, route)
        if request.method not in route.methods:
            return refusals.other_method(route.methods)
        try:
            match route.protocol:
                case "pixel":
                    set_cookie = await self._one(request, route, query)
                    return self._images[route.path.encode()].with_cookie(set_cookie)
                case "robots":
                    return _ROBOTS
                case "gpc":
                    return SUPPORTED
                case "script":
                    return self._endpoints.scripts[route.name].reply(request.headers.get("If-None-Match", ""))
                case "redirect":
                    return await self._redirect(request, route, query)
                case "hook":
                    return await self._hook(request, route)
            if route.outcome in (ANSWERED, DROPPED):
                with self._outbox.reserve() as reservation:
                    await receive(request, reservation, 0, discard=True)
                if route.outcome == DROPPED:
                    self._metrics.items.labels(route.protocol, "dropped").inc()
                asked = Asked(request.method, route.path, query, key)
                return replies.ready(replies.answer(route.reply, asked))
            return await self._items(request, route, query)
        except body.BadBody as error:
            return refusals.bad_body(error)
        except PostRefused as refused:
            self._tallies.add(label(time.time_ns() // 1000, refused.found.route.via), REFUSED, len(refused.found.items))
            return refused.reply(request.method, route.path, query)
        except HitsRefused as error:
            return refusals.unavailable(error)

    async def _redirect(self, request: web.BaseRequest, route: Route, query: str) -> Reply:
        """The click is safe before the visitor is sent on, and not counted where it may lead nowhere."""
        redirects = self._endpoints.redirects
        target = redirects.target(query) if redirects else None
        if target is None:
            return _NOWHERE
        set_cookie = await self._one(request, route, query)
        return Reply(302, {"Location": target, **FRESH}).with_cookie(set_cookie)

    async def _hook(self, request: web.BaseRequest, route: Route) -> Reply:
        count, name = self._metrics.hook_requests, self._endpoints.hooks[route.name].name
        try:
            reply = await self._items(request, route, "")
        except body.BadBody as error:
            count.labels(name, "unsigned" if error.status == 401 else "malformed").inc()
            raise
        except PostRefused:
            count.labels(name, "refused").inc()
            raise
        except HitsRefused:
            count.labels(name, "unsafe").inc()
            raise
        count.labels(name, "captured").inc()
        return reply

    async def _one(self, request: web.BaseRequest, route: Route, query: str) -> str:
        """Keep a request that is one hit by itself, unless the policy drops it. Raises HitsRefused.

        Returns the value of Set-Cookie for the reply, or "".
        """
        now = time.time_ns() // 1000
        captured = self._capture(request, route, query, now, self._ids.next(now))
        signal = self._protection.signal(request.headers, query)
        fate = self._tenancy.of_request(request.headers, captured.path, query, route)
        own = label(now, tenant=fate.tenant)
        if fate.drop:
            self._tallies.add(own, NOT_KEPT)
            return ""
        captured.tenant, captured.limited = fate.tenant, fate.limited
        treatment = self._protection.treatment(self._protection.strongest(signal, fate.signal))
        captured.visitor_id, set_cookie = self._visitor(request, now, opted_out=bool(treatment.signal))
        if treatment.drop:
            self._tallies.add(own, NOT_KEPT)
        else:
            self._metrics.hits.by_labels[request.method,] += 1
            await self._keep([hit.encode(self._protection.clean(captured, treatment))], request, [own])
        return set_cookie

    async def _items(self, request: web.BaseRequest, route: Route, query: str) -> Reply:
        """Keep the items of a request's body, or of its query string. Raises BadBody and HitsRefused."""
        received = Received(b"", 0)
        with self._outbox.reserve() as reservation:
            if request.method == "POST":
                if route.shape == NATIVE:
                    body.check_type(request.headers.get(_TYPE, ""))
                received = await receive(request, reservation, self._cfg.max_body_bytes, discard=not route.own)
            if (source := self._endpoints.hooks.get(route.name)) and (
                why := source.verify(received.data, request.headers, time.time())
            ):
                raise body.BadBody(401, why)
            found = self._cut(request, route, query, received)
            now = time.time_ns() // 1000
            lines, own, set_cookie = await self._lines(request, found, query, now, received)
        if lines:  # nothing is awaited between the end of the reservation and the outbox's own count
            self._metrics.hits.by_labels[request.method,] += len(lines)
            await self._keep(lines, request, own)
        route = found.route
        asked = Asked(request.method, route.path, query, "", found, received.size, now)
        return replies.ready(replies.answer(route.reply, asked)).with_cookie(set_cookie)

    def _cut(self, request: web.BaseRequest, route: Route, query: str, received: Received) -> Cut:
        limit = self._cfg.max_body_bytes
        if received.size > limit:
            return cut.uncut(route, TOO_LARGE, received.data, received.size)
        headers: Mapping[str, str] = request.headers
        if len(encodings := request.headers.getall(_ENCODING, ())) > 1:
            headers = {name.lower(): value for name, value in headers.items()} | {
                "content-encoding": ",".join(encodings)
            }
        return cut.cut(route, received.data, query=query, headers=headers, limit=limit)

    async def _lines(
        self, request: web.BaseRequest, found: Cut, query: str, now: int, received: Received
    ) -> tuple[list[bytes], list[Label], str]:
        """The hits of a body as lines, in order, without those the policy drops; their labels; and Set-Cookie.

        Raises BadBody and PostRefused.
        """
        if found.refused is not None:
            raise found.refused
        route = found.route
        captured = self._capture(request, route, query if found.query is None else found.query, now, "")
        kept = route.kept(request.headers)
        like = msgspec.structs.replace(
            captured,
            headers=captured.headers | kept,
            ip="" if route.anonymous in kept else captured.ip,
            via=route.via,
            envelope=msgspec.Raw(found.envelope) if found.envelope else hit.NO_BODY,
        )
        if len(found.items) > hit.MAX_HITS and len(hit.encode(like)) * len(found.items) > MAX_REPEATED:
            found = cut.uncut(route, TOO_LARGE, received.data, received.size)
            return await self._lines(request, found, query, now, received)
        fates = self._tenancy.of_items(request.headers, request.method, captured.path, query, found)
        signal = self._protection.signal(request.headers, query)
        signals = await self._protection.signals_of(found.items, found.envelope, signal)
        for index, fate in enumerate(fates):
            signals[index] = self._protection.strongest(signals[index], fate.signal)
        like.visitor_id, set_cookie = self._visitor(request, now, opted_out=any((signal, *signals)))
        likes, items = await self._protection.clean_items(like, found.items, signals, damaged=found.damaged)
        if route.own and (guard.TOO_MUCH in items or guard.TOO_MUCH.decode() in items):
            raise body.BadBody(413, guard.TOO_MUCH_SAID)
        likes = fated(likes, fates)
        # A microsecond apart, so that BigQuery still knows the order of a batch.
        lines = encode_batch.encode(likes, identity.uuid7s(now, len(items)), items)
        if not route.own:
            self._metrics.items.labels(route.protocol, "uncut" if found.uncut else "captured").inc(len(lines))
        if len(lines) < len(items):
            self._tallies.add(label(now, route.via), NOT_KEPT, len(items) - len(lines))
        return lines, labels(likes), set_cookie

    async def _keep(self, lines: list[bytes], request: web.BaseRequest, own: list[Label]) -> None:
        """Return once the reply may be sent. Raises HitsRefused."""
        trace = _trace(request) if self._traced else None
        if self._immediate:
            self._outbox.take(lines, trace, own)
        else:
            await self._outbox.put(lines, trace, own)

    def _capture(self, request: web.BaseRequest, route: Route, query: str, now: int, id: str) -> hit.Hit:
        # A path of many holds what only the request knows, such as Snowplow's vendor.
        path = capture.plain_path(request.raw_path.partition("?")[0]) if "{" in route.path else route.path
        return capture.hit(
            method=request.method,
            path=path,
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

    def _visitor(self, request: web.BaseRequest, now: int, *, opted_out: bool) -> Visitor:
        if self._visitors is None:
            return NOBODY
        headers = request.headers
        return self._visitors.see(
            cookies=headers.getall("Cookie", ()),
            host=headers.get("Host", ""),
            origin=headers.get("Origin", ""),
            referer=headers.get("Referer", ""),
            now=now,
            opted_out=opted_out,
        )

    def _fast_ip(self, remote: str, forwarded: str, anonymize: bool) -> bytes:
        return hit.text(self._protection.clean_ip(self._address(remote, forwarded), anonymize=anonymize))

    def _address(self, remote: str, forwarded: str) -> str:
        return capture.client_ip(remote, forwarded, self._cfg.trusted_proxies)


def _trace(request: web.BaseRequest) -> tracing.Trace | None:
    headers = request.headers.getall(_TRACEPARENT, ())
    return tracing.parse(headers[0]) if len(headers) == 1 else None  # of several, none is known to be right
