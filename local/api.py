"""The handlers of the page's API, one for each path: they read what was asked and answer JSON."""

from __future__ import annotations

import asyncio
import re
import time
from http import HTTPStatus
from typing import Any

from aiohttp import web

from local import find, meter, proof, rehearsal, same_origin, snippets
from local.refusal import Refused
from local.sights import Sights
from services.shared import identity

SIGHTS: web.AppKey[Sights] = web.AppKey("sights", Sights)
_MARKER = re.compile(r"[0-9a-f-]{36}")
_AGAIN_SECONDS = 0.05  # between two looks for a raw request


def add_routes(router: web.UrlDispatcher) -> None:
    for path, handler in {
        "/api/state": _state,
        "/api/stream": _stream,
        "/api/events": _events,
        "/api/rejects": _rejects,
        "/api/story": _story,
        "/api/faults": _faults,
        "/api/faults/examples": _examples,
        "/api/schema": _schema,
        "/api/proof": _proof,
        "/api/dead": _dead,
        "/api/cost": _cost,
        "/api/snippets": _snippets,
        "/api/snippets/fired": _fired,
    }.items():
        router.add_get(path, handler)
    router.add_post("/api/explain", _explain)
    router.add_post("/api/query", _query)
    router.add_post("/api/reset", _reset)
    router.add_post("/api/services/{name}/{action}", _restart)
    router.add_post("/api/faults", _add_fault)
    router.add_delete("/api/faults", _clear_faults)
    router.add_delete("/api/faults/{id}", _remove_fault)


async def _state(request: web.Request) -> web.Response:
    sights = request.app[SIGHTS]
    state = await sights.look.state(sights.session)
    since = sights.feed.since
    return web.json_response({**state, "since": _iso(since), **sights.feed.said()})


async def _stream(request: web.Request) -> web.StreamResponse:
    sights = request.app[SIGHTS]
    return await sights.stream.serve(request, sights.session, same_origin.headers(sights.watched()))


async def _events(request: web.Request) -> web.Response:
    return web.json_response(await request.app[SIGHTS].finder.events(find.wanted(request.query)))


async def _rejects(request: web.Request) -> web.Response:
    return web.json_response(await request.app[SIGHTS].finder.rejects(find.wanted(request.query)))


async def _story(request: web.Request) -> web.Response:
    """From the raw hit, if the page still has it or the reject holds it, and the stored row."""
    event_id = request.query.get("event_id", "")
    if not event_id:
        raise Refused("event_id: name the event")
    find.refuse_null("event_id", event_id)
    return web.json_response(await request.app[SIGHTS].story(event_id, request.query.get("table")))


async def _explain(request: web.Request) -> web.Response:
    asked = await same_origin.body(request)
    text, protocol = asked.get("url", asked.get("request")), asked.get("protocol")
    if not isinstance(text, str):
        raise Refused('post {"url": "…"} or {"request": "…"}: a URL, a curl command, or what a tracker sends')
    if protocol is not None and not isinstance(protocol, str):
        raise Refused("protocol: use a name, such as segment")
    return web.json_response(await request.app[SIGHTS].explanation.explain(text, protocol or None))


async def _query(request: web.Request) -> web.Response:
    asked = await same_origin.body(request)
    box = request.app[SIGHTS].sql_box
    limit = {"limit": asked["limit"]} if asked.get("limit") is not None else {}
    return web.json_response(await box.run(asked.get("sql"), **limit))


async def _schema(request: web.Request) -> web.Response:
    return web.json_response(await request.app[SIGHTS].sql_box.schema())


async def _reset(request: web.Request) -> web.Response:
    """Nothing is deleted, so a cluster can be asked for it too: it is the page's own."""
    return web.json_response({"since": _iso(request.app[SIGHTS].feed.reset())})


async def _restart(request: web.Request) -> web.Response:
    sights = _writable(request)
    name, action = request.match_info["name"], request.match_info["action"]
    return web.json_response(await sights.restarts.ask(sights.watched(), name, action))


async def _faults(request: web.Request) -> web.Response:
    sights = request.app[SIGHTS]
    return web.json_response({"faults": await rehearsal.listed(sights.session, sights.watched().control)})


async def _examples(_request: web.Request) -> web.Response:
    return web.json_response(list(rehearsal.EXAMPLES))


async def _add_fault(request: web.Request) -> web.Response:
    sights = _writable(request)
    asked = await same_origin.body(request)
    return web.json_response(await rehearsal.add(sights.session, sights.watched().control, asked))


async def _remove_fault(request: web.Request) -> web.Response:
    sights = _writable(request)
    name = request.match_info["id"]
    return web.json_response(await rehearsal.remove(sights.session, sights.watched().control, name))


async def _clear_faults(request: web.Request) -> web.Response:
    sights = _writable(request)
    return web.json_response(await rehearsal.clear(sights.session, sights.watched().control))


async def _proof(request: web.Request) -> web.Response:
    sights = request.app[SIGHTS]
    hours = int(_number(request, "hours", 24, 1, proof.MOST_HOURS))
    command = sights.watched().ops(f"reconcile --dataset {sights.watched().dataset}")
    queues = (await sights.look.state(sights.session))["queues"]
    return web.json_response({**await sights.proof.by_hour(hours, queues), "command": command})


async def _dead(request: web.Request) -> web.Response:
    """In a cluster the command alone: to look at them holds them for a while."""
    sights = request.app[SIGHTS]
    watched = sights.watched()
    letters = None if watched.read_only else await sights.dead_letters.shown()
    verb = "dead list" if letters is None else "dead show ID"
    return web.json_response({"letters": letters, "command": watched.ops(verb)})


async def _cost(request: web.Request) -> web.Response:
    """At `rate` events a second."""
    sights = request.app[SIGHTS]
    rate = _number(request, "rate", 0, meter.LEAST, meter.MOST)
    await sights.look.state(sights.session)
    last = sights.look.recent["collector"].last
    seconds = max(0.0, time.time() - last.started) if last else 0.0
    return web.json_response(meter.meter(meter.measured(last, seconds), rate or None))


async def _snippets(request: web.Request) -> web.Response:
    """With the address in `collector`, or else that of the collector that runs."""
    marker = identity.uuid7(time.time_ns() // 1000)
    try:
        shown = snippets.address(text) if (text := request.query.get("collector")) else None
    except ValueError as error:
        raise Refused(str(error)) from error
    return web.json_response(snippets.snippets(request.app[SIGHTS].watched().collector, marker, shown))


async def _fired(request: web.Request) -> web.Response:
    """The id that the event with this `marker` was given; null if its request has not come `wait` seconds later."""
    marker = request.query.get("marker", "")
    if not _MARKER.fullmatch(marker):
        raise Refused("marker: use what the request of a snippet has as such, a UUID")
    raw_hits = _writable(request).raw_hits
    until = time.monotonic() + _number(request, "wait", 0, 0, find.LONGEST)
    event_id = None
    while raw_hits is not None:
        event_id = await asyncio.to_thread(raw_hits.holding, marker, time.time_ns() // 1000)
        if event_id is not None or time.monotonic() >= until:
            break
        await asyncio.sleep(_AGAIN_SECONDS)
    return web.json_response({"event_id": event_id})


def _writable(request: web.Request) -> Sights:
    """Raises Refused where the page only looks."""
    sights = request.app[SIGHTS]
    if sights.watched().read_only:
        raise Refused("this page only looks at a cluster: it changes nothing there", HTTPStatus.FORBIDDEN)
    return sights


def _number(request: web.Request, name: str, usual: float, low: float, high: float) -> float:
    text = request.query.get(name)
    if text is None:
        return usual
    try:
        value = float(text)
        if not low <= value <= high:
            raise ValueError
    except ValueError:
        raise Refused(f"{name}={text[:40]!r}: use a number from {low:g} to {high:,.10g}") from None
    return value


def _iso(at: Any) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None
