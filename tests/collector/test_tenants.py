"""Tenants at the public port: whose a hit is, who is refused, and who is limited."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from services.collector.tenant import DROPPED, LIMITED, REFUSED
from services.shared import hit
from tests import tenants
from tests.collector import wire
from tests.collector.conftest import Running, Start
from tests.collector.test_tenant_keys import KEYS
from tests.tenants import hashed

ORIGIN = {"Origin": "https://shop.example"}
LIST = f"""\
  list:
    keyed: {{keys: [{hashed("k1")}, {hashed("7")}], hosts: [k.example.com]}}
    placed: {{hosts: [a.example.com], paths: [/placed/]}}
    denied: {{hosts: [denied.example.com], consent: denied}}
    slow: {{keys: [{hashed("s1")}], rate: 0.001, burst: 3}}
    said: {{}}
"""
REJECTED = "  parameter: tenant\n" + LIST
REFUSED_ = "  parameter: tenant\n  unknown: refuse\n" + LIST
DROPS = "  limited: drop\n  parameter: tenant\n" + LIST

Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
def serve(start: Start, tmp_path: Path) -> Serve:
    async def go(listed: str, **more: Any) -> Running:
        more.setdefault("paths", ("/placed/open.gif=pixel", "/x/e=events"))
        return await start(schema=tenants.file(tmp_path, listed), **more)

    return go


async def _send(
    collector: Running, target: str, body: Any = None, method: str = "", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with collector.http.request(
        method or ("GET" if data is None else "POST"), collector.url + target, data=data, headers={**ORIGIN, **named}
    ) as reply:
        assert reply.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert reply.headers["Access-Control-Allow-Credentials"] == "true"
        return reply.status, await reply.read(), dict(reply.headers)


async def _tenants(collector: Running, target: str, body: Any = None, wanted: int = 1, **headers: str) -> list[str]:
    assert (await _send(collector, target, body, **headers))[0] < 300
    return [one.tenant for one in sorted(collector.hits(wanted), key=lambda one: one.index)]


def _count(collector: Running, tenant: str, outcome: str) -> float:
    name = "pixelpipe_collector_tenant_hits_total" if tenant else "pixelpipe_collector_unknown_tenant_hits_total"
    labels = {"tenant": tenant, "outcome": outcome} if tenant else {"outcome": outcome}
    return collector.registry.get_sample_value(name, labels) or 0.0


async def test_a_hit_has_the_tenant_of_its_key_host_path_or_parameter(serve: Serve) -> None:
    collector = await serve(REJECTED)
    for target, body, headers, tenant in (
        ("/i?write_key=k1", None, {}, "keyed"),
        ("/i", None, {"X_Write_Key": "k1"}, "keyed"),
        ("/i", None, {"Host": "K.example.com:8080"}, "keyed"),
        ("/i?write_key=no", None, {"Host": "k.example.com"}, ""),
        ("/i?write_key=no", None, {"Host": "a.example.com"}, "placed"),
        ("/placed/open.gif", None, {}, "placed"),
        ("/i?tenant=said", None, {}, "said"),
        ("/i?tenant=keyed", None, {}, ""),
        ("/i?tenant=keyed", None, {"Host": "a.example.com"}, "placed"),
        ("/i", None, {}, ""),
        ("/events", {"tenant": "said"}, {}, "said"),
        ("/events?write_key=k1", {"tenant": "said"}, {}, "keyed"),
        ("/v1/t", {"event": "a", "writeKey": "k1"}, {}, "keyed"),
        ("/v1/t", {"event": "a"}, {"Authorization": "Basic " + base64.b64encode(b"k1:").decode()}, "keyed"),
        ("/v1/t", {"event": "a"}, {"X_Write_Key": "k1"}, ""),
        ("/matomo.php?idsite=7&rec=1", None, {}, "keyed"),
        ("/matomo.php?idsite=8&rec=1", None, {"Host": "k.example.com"}, "keyed"),
    ):
        assert await _tenants(collector, target, body, **headers) == [tenant], (target, headers)
    assert _count(collector, "keyed", "admitted") == 8
    assert _count(collector, "", "admitted") == 4


async def test_each_item_of_a_batch_has_its_own_tenant(serve: Serve) -> None:
    collector = await serve(REJECTED)
    items = [{"tenant": "said"}, {"write_key": "k1"}, {}, {"tenant": "said", "write_key": "k1"}, {"tenant": "x"}]
    assert await _tenants(collector, "/events", items, 5) == ["said", "keyed", "", "keyed", ""]
    events = [{"event": "a", "properties": {"token": token}} for token in ("k1", "no", "k1")]
    form = b"data=" + base64.b64encode(json.dumps(events).encode())
    assert await _tenants(collector, "/track/", form, 3, Content_Type="application/x-www-form-urlencoded") == [
        "keyed",
        "",
        "keyed",
    ]
    assert await _tenants(collector, "/v1/batch", {"batch": [{}, {}], "writeKey": "k1"}, 2) == ["keyed"] * 2


async def test_the_fast_path_and_the_other_find_the_same(serve: Serve) -> None:
    collector = await serve(REJECTED)
    heads = [b"", b"X-Write-Key: k1\r\n", b"X-Write-Key: k1\r\nX-Write-Key: s1\r\n", b"Authorization: Bearer k1\r\n"]
    queries = [b"n=1", b"write_key=k1", b"tenant=said", b"tenant=said&write_key=no"]
    targets = [*(b"/i?" + query for query in queries), b"/placed/open.gif?n=1"]
    hosts = [b"t", b"k.example.com:80", b"A.Example.com", "\u212a.example.com".encode()]
    for host in hosts:
        for target in targets:
            for head in heads:
                request = b"GET %b HTTP/1.1\r\nHost: %b\r\n%b" % (target, host, head)
                for more in (b"", b"TE: trailers\r\n"):  # which the fast path leaves to the other
                    await wire.exchange(collector.port, request + more + b"\r\n", replies=1)
                one, other = (found.tenant for found in collector.hits(2))
                assert one == other, request
                assert one or host not in (hosts[2],) or b"k1\r\nX" in head


async def test_keys_of_two_tenants_and_look_alikes_are_nobodys(serve: Serve) -> None:
    collector = await serve(REJECTED)
    both = b"GET /i HTTP/1.1\r\nHost: t\r\nX-Write-Key: k1\r\nx-write-key: s1\r\n\r\n"
    same = b"GET /i HTTP/1.1\r\nHost: t\r\nX-Write-Key: k1\r\nx-write-key: k1\r\n\r\n"
    long = b"GET /i?write_key=" + b"k" * 8_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n"
    alike = b"GET /i?write_key=%E2%84%AA1 HTTP/1.1\r\nHost: t\r\n\r\n"
    for request, tenant in ((both, ""), (same, "keyed"), (long, ""), (alike, "")):
        (reply,) = await wire.exchange(collector.port, request, replies=1)
        assert (reply.status, [one.tenant for one in collector.hits(1)]) == (200, [tenant])


async def test_a_tenant_may_have_all_its_events_opted_out(serve: Serve) -> None:
    collector = await serve(REJECTED)
    await _send(collector, "/i?user_id=u", Host="denied.example.com")
    await _send(collector, "/events", [{"user_id": "u"}], Host="denied.example.com")
    await _send(collector, "/i?user_id=u", Host="a.example.com")
    hits = {one.method + one.tenant: one for one in collector.hits(3)}
    for name in ("GETdenied", "POSTdenied"):
        assert (hits[name].opt_out, hits[name].anonymized) == ("consent", True)
    assert (hits["GETplaced"].opt_out, hits["GETplaced"].anonymized) == ("", False)


# What the clients of each protocol get where a post is refused: the path, the body, and what is in the reply.
SHAPES: dict[str, tuple[str, Any, Any]] = {
    "native": ("/events", {"a": 1}, {"error": "WORDS"}),
    "segment": ("/v1/t", {"event": "a"}, {"success": False, "message": "WORDS"}),
    "jitsu": ("/api/s/track", {"event": "a"}, {"success": False, "message": "WORDS"}),
    "rudderstack": ("/beacon/v1/batch", {"batch": [{}]}, b"WORDS"),
    "posthog": ("/e/", {"batch": [{}]}, {"type": "TYPE", "code": "CODE", "detail": "WORDS", "attr": None}),
    "mixpanel": ("/track", b"data=e30%3D", b"0"),
    "mixpanel verbose": ("/track?verbose=1", b"data=e30%3D", {"status": 0, "error": "WORDS"}),
    "mixpanel import": ("/import", [{}], {"code": "STATUS", "error": "WORDS", "status": "PHRASE"}),
    "amplitude": ("/2/httpapi", {"events": [{}]}, {"code": "STATUS", "error": "WORDS"}),
    "matomo": (
        "/matomo.php",
        {"requests": ["?rec=1", "?rec=1"]},
        {"status": "error", "tracked": 0, "invalid": 2, "message": "WORDS"},
    ),
    "snowplow": ("/com.snowplowanalytics.snowplow/tp2", {"data": [{}]}, b"WORDS"),
    "plausible": ("/api/event", {"n": "pageview"}, b"WORDS"),
    "umami": ("/api/send", {"type": "event"}, {"error": "WORDS"}),
    "ga4": ("/mp/collect", {"events": [{}]}, {"error": "WORDS"}),
    "gtag": ("/g/collect", b"en=a", {"error": "WORDS"}),
}


def _filled(content: Any, **values: Any) -> Any:
    if isinstance(content, bytes):
        return content.replace(b"WORDS", values["WORDS"].encode())
    return {name: values.get(value, value) if isinstance(value, str) else value for name, value in content.items()}


@pytest.fixture
async def refusing(serve: Serve) -> Running:
    return await serve(REFUSED_)


@pytest.mark.parametrize("case", SHAPES)
async def test_a_post_of_nobody_is_refused_in_the_shape_of_its_protocol(refusing: Running, case: str) -> None:
    target, body, content = SHAPES[case]
    status, reply, headers = await _send(refusing, target, body)
    words = "the key is no tenant's"
    wanted = _filled(
        content, WORDS=words, STATUS=401, PHRASE="Unauthorized", TYPE="authentication_error", CODE="invalid_api_key"
    )
    assert status == 401 and "WWW-Authenticate" not in headers
    assert (reply if isinstance(wanted, bytes) else json.loads(reply)) == wanted
    assert _count(refusing, "", REFUSED) > 0


async def test_pixels_of_nobody_and_batches_of_some_are_captured_where_posts_are_refused(refusing: Running) -> None:
    assert await _tenants(refusing, "/i?a=1") == [""]
    assert await _tenants(refusing, "/matomo.php?rec=1") == [""]
    assert await _tenants(refusing, "/events", [{"tenant": "said"}, {}], 2) == ["said", ""]
    assert (await _send(refusing, "/v1/batch", {"batch": [], "writeKey": "k1"}))[0] == 200
    assert (await _send(refusing, "/v1/t", b"{not json"))[0] == 401
    assert (await _send(refusing, "/e/", b"x" * 2_000_000))[0] == 401


@pytest.mark.parametrize("case", SHAPES)
async def test_a_post_over_the_rate_is_told_when_to_come_again(serve: Serve, case: str) -> None:
    collector = await serve("  list:\n    slow: {hosts: [s.example.com], rate: 0.01, burst: 2}\n")
    target, body, content = SHAPES[case]
    host = {"Host": "s.example.com"}
    for _ in range(2):
        await _send(collector, "/events", {"n": 1}, **host)
    status, reply, headers = await _send(collector, target, body, **host)
    wanted = _filled(
        content,
        WORDS="too many events; send them again later",
        STATUS=429,
        PHRASE="Too Many Requests",
        TYPE="throttled_error",
        CODE="throttled",
    )
    assert status == 429 and 1 <= int(headers["Retry-After"]) <= 200
    assert headers["Access-Control-Expose-Headers"] == "Retry-After"
    assert (reply if isinstance(wanted, bytes) else json.loads(reply)) == wanted
    assert _count(collector, "slow", "admitted") == 2 and _count(collector, "slow", REFUSED) >= 1
    assert len(collector.hits(2)) == 2


async def test_a_batch_takes_as_many_tokens_as_it_has_items_and_is_taken_or_refused_whole(serve: Serve) -> None:
    collector = await serve(REJECTED)
    batch = [{"write_key": "s1", "n": n} for n in range(2)]
    assert (await _send(collector, "/events", batch))[0] == 204
    assert (await _send(collector, "/events", [*batch, {"tenant": "said"}]))[0] == 429
    assert (await _send(collector, "/events", batch[:1]))[0] == 204
    assert (await _send(collector, "/events", batch[:1]))[0] == 429
    assert (await _send(collector, "/events", {"tenant": "said"}))[0] == 204  # a token was not taken in vain
    assert sorted(one.tenant for one in collector.hits(4)) == ["said", "slow", "slow", "slow"]
    assert (_count(collector, "slow", REFUSED), _count(collector, "said", REFUSED)) == (3, 1)


PIXELS = ("/i?write_key=s1", "/track?data=" + base64.b64encode(b'[{"event":"a","properties":{"token":"s1"}}]').decode())


@pytest.mark.parametrize("target", PIXELS, ids=["pixel", "tracker"])
@pytest.mark.parametrize("more", [{}, {"X_Write_Key": "s1"}], ids=["fast", "slow"])
async def test_pixels_over_the_rate_are_captured_as_limited(serve: Serve, target: str, more: dict[str, str]) -> None:
    collector = await serve(REJECTED)
    replies = {(await _send(collector, target, **more))[:2] for _ in range(5)}
    assert len(replies) == 1 and next(iter(replies))[0] == 200
    hits = collector.hits(5)
    assert [one.tenant for one in hits] == ["slow"] * 5
    assert sorted(one.limited for one in hits) == [False] * 3 + [True] * 2
    assert (_count(collector, "slow", "admitted"), _count(collector, "slow", LIMITED)) == (3, 2)


@pytest.mark.parametrize("target", PIXELS, ids=["pixel", "tracker"])
@pytest.mark.parametrize("more", [{}, {"X_Write_Key": "s1"}], ids=["fast", "slow"])
async def test_or_counted_and_dropped_where_so_told(serve: Serve, target: str, more: dict[str, str]) -> None:
    collector = await serve(DROPS)
    replies = {(await _send(collector, target, **more))[:2] for _ in range(5)}
    await _send(collector, "/i?tenant=said")
    assert len(replies) == 1 and next(iter(replies))[0] == 200
    assert sorted((one.tenant, one.limited) for one in collector.hits(4)) == [("said", False)] + [("slow", False)] * 3
    assert _count(collector, "slow", DROPPED) == 2


async def test_a_link_over_the_rate_still_leads_where_it_should(serve: Serve) -> None:
    collector = await serve(DROPS, redirect_hosts=("example.com",))
    for _ in range(5):
        async with collector.http.get(
            collector.url + "/r?write_key=s1&to=https://example.com/a", allow_redirects=False
        ) as reply:
            assert (reply.status, reply.headers["Location"]) == (302, "https://example.com/a")
    assert len(collector.hits(3)) == 3


async def test_a_webhook_is_of_the_tenant_of_its_path_and_what_it_holds_says_nothing(serve: Serve) -> None:
    others = f"    b: {{keys: {hashed('k')}}}\n    c: {{}}\n"
    listed = f"  parameter: tenant\n  list:\n    a: {{paths: [/hook/stripe_a]}}\n{others}"
    collector = await serve(listed, hooks=("stripe_a", "stripe_b"))
    assert await _tenants(collector, "/hook/stripe_a", {"write_key": "k", "tenant": "c"}) == ["a"]
    assert await _tenants(collector, "/hook/stripe_b", {"write_key": "k", "tenant": "c"}, X_Write_Key="k") == [""]


@pytest.mark.parametrize("case", KEYS)
async def test_a_key_of_any_protocol_is_known_and_published_nowhere(serve: Serve, case: str) -> None:
    collector = await serve(f"  list:\n    keyed: {{keys: {hashed('KEY')}}}\n")
    target, body, *headers = KEYS[case] if len(KEYS[case]) > 1 else (*KEYS[case], None)
    body = body or None
    named = {name.replace("-", "_"): value for name, value in headers}
    assert (await _send(collector, target, body, **named))[0] < 300
    (one,) = collector.hits(1)
    assert one.tenant == "keyed"
    assert b"KEY" not in hit.encode(one)


async def test_without_tenants_nothing_is_found(collector: Running) -> None:
    await _send(collector, "/i?write_key=k1&tenant=said", Host="a.example.com")
    (one,) = collector.hits(1)
    assert (one.tenant, one.limited) == ("", False)


async def test_no_value_of_a_stranger_is_a_label(serve: Serve) -> None:
    collector = await serve(REJECTED)
    await _tenants(collector, "/i?tenant=stranger1&write_key=stranger2", Host="stranger3")
    await _tenants(collector, "/events", {"tenant": "stranger4"})
    families = [family for family in collector.registry.collect() if "tenant_hits" in family.name]
    labels = {value for family in families for sample in family.samples for value in sample.labels.values()}
    assert len(families) == 2 and labels == {"admitted", "refused"}
