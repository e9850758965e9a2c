"""What a collector publishes of a request: the bytes of its packs, not only what is read of them."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

import pytest
from prometheus_client import generate_latest

from services.shared import hit, zstd_frame
from services.shared.config import ConfigError
from services.shared.hit import Hit
from services.shared.privacy import ANONYMIZE, DROP, RECORD, SIGNALS
from tests.collector.conftest import Running, Start
from tests.collector.wire import exchange, get, post
from tests.process import SCHEMA_FILE
from tests.waiting import until

IP, NETWORK = "203.0.113.77", b"203.0.113.0"
SECRET = "hunter2-planted"
USER, EMAIL = "ada-planted", "ada@planted.example"
AGENT = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Planted"
REFERER = f"https://shop.example.com/account?token={SECRET}&email={quote(EMAIL)}&n=1"
HEADERS = {"X-Forwarded-For": f"6.6.6.6, {IP}", "User-Agent": AGENT, "Referer": REFERER, "Cookie": f"sid={USER}"}
PAGE = f"https://shop.example.com/p?password={SECRET}&user_id={USER}&utm_source=x"
PARAMETERS = {"type": "view", "password": SECRET, "user_id": USER, "email": EMAIL, "url": PAGE, "n": "42"}
EVENT = {
    "type": "view", "user_id": USER, "email": EMAIL, "Api-Key": SECRET, "url": PAGE, "n": 42,
    "properties": {"deep": [{"pass\\u0077ord": SECRET, "anonymousId": USER}]},
}  # fmt: skip
SEGMENT = {"type": "track", "event": "view", "userId": USER, "context": {"ip": IP, "traits": {"email": EMAIL}}}
SIGNALLING: dict[str, tuple[dict[str, str], dict[str, str]]] = {  # headers, and parameters
    "gpc": ({"Sec-GPC": "1"}, {}),
    "dnt": ({"dNt": "1"}, {}),
    "sp_anonymous": ({"SP-Anonymous": "*"}, {}),
    "consent": ({}, {"consent": "denied"}),
    "google_consent": ({}, {"gcs": "G100"}),
}
Posted = tuple[str, str, bytes, Mapping[str, str]]  # method, path and query, body, headers


def carriers(said: Mapping[str, str]) -> dict[str, Posted]:
    """A request of each kind that holds all of a person; each becomes as many hits as it says."""
    query = urlencode({**PARAMETERS, **said})
    event = json.dumps({**EVENT, **said}).replace("\\\\u", "\\u").encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    lines = {"Content-Type": "application/x-ndjson"}
    batch = json.dumps({"batch": [{**SEGMENT, **said}], "writeKey": SECRET, "sentAt": "2026-11-25T10:00:00Z"}).encode()
    return {
        "pixel": ("GET", f"/pixel.gif?{query}", b"", {}),
        "slow pixel": ("HEAD", f"/i?{query}", b"", {}),
        "event": ("POST", "/events", event, {}),
        "array of two": ("POST", "/events", b"[%b,%b]" % (event, event), {}),
        "NDJSON of two": ("POST", "/events", b"%b\n%b\n" % (event, event), lines),
        "form": ("POST", "/events", query.encode(), form),
        "batch": ("POST", "/v1/batch", batch, {}),
        "uncut": ("POST", "/v1/batch", batch[:-9], {}),
        "redirect": ("GET", f"/r?{query}&to={quote(PAGE, safe='')}", b"", {}),
        "hook": ("POST", f"/hook/open?{query}", event, {}),
    }


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """The tests' schema file, with a name of its own to remove."""
    file = tmp_path / "schema.yaml"
    file.write_text(SCHEMA_FILE.read_text() + "\nprivacy: {secrets: [shoe_size]}\n")
    return file


async def _running(start: Start, schema: Path, **settings: object) -> Running:
    usual = {"trusted_proxies": 1, "redirect_hosts": ("shop.example.com",), "hooks": ("open",), "schema": schema}
    return await start(**{**usual, **settings})


async def _send(collector: Running, posted: Posted, headers: Mapping[str, str]) -> tuple[int, str]:
    method, path, body, own = posted
    async with collector.http.request(
        method, collector.url + path, data=body or None, headers={**HEADERS, **headers, **own}, allow_redirects=False
    ) as reply:
        await reply.read()
        return reply.status, reply.headers.get("Location", "")


def _published(collector: Running, wanted: int) -> tuple[list[Hit], bytes]:
    """The hits of all packs, and the packs' bytes, decompressed."""
    found: list[Hit] = []
    content = b""
    while len(found) < wanted:
        for message in collector.topics.pull("work", wanted=1):
            found += hit.unpack(message.data, dict(message.attributes))
            content += zstd_frame.decompress(message.data) + b"\n" + str(dict(message.attributes)).encode() + b"\n"
    assert len(found) == wanted
    return found, content


def _lines_with(content: bytes, *planted: str) -> list[str]:
    """Lines of packs that hold any of these as it is, percent-encoded, or in other case; none is wanted."""
    ways = [way.encode().lower() for one in planted for way in (one, quote(one), quote(quote(one)))]
    return [line.decode() for line in content.splitlines() if any(way in line.lower() for way in ways)]


def _count(collector: Running, metric: str, **labels: str) -> float:
    inside = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return collector.metric(f"pixelpipe_collector_{metric}{{{inside}}}")


async def test_no_address_and_no_secret_is_published_whoever_asks(start: Start, schema: Path) -> None:
    collector = await _running(start, schema)
    for posted in carriers({}).values():
        await _send(collector, posted, {})
    hits, content = _published(collector, len(carriers({})) + 2)
    assert _lines_with(content, IP, SECRET, "hunter2") == []
    assert {one.ip for one in hits} == {NETWORK.decode()}
    assert all(USER.encode() in line for line in content.splitlines() if line.startswith(b'{"id"')), "ids are kept"
    assert not any(one.opt_out or one.anonymized for one in hits)
    assert _count(collector, "values_removed_total", name="password") >= 10
    assert SECRET not in generate_latest(collector.registry).decode()


@pytest.mark.parametrize("signal", SIGNALS)
async def test_under_an_opt_out_nobody_can_be_known(start: Start, schema: Path, signal: str) -> None:
    collector = await _running(start, schema)
    headers, said = SIGNALLING[signal]
    sent = carriers(said)
    for name, posted in sent.items():
        status, location = await _send(collector, posted, headers)
        assert status in (200, 204, 302), name
        assert location == (PAGE if name == "redirect" else ""), "the visitor still goes where the link says"
    hits, content = _published(collector, len(sent) + 2)
    assert _lines_with(content, IP, NETWORK.decode(), SECRET, USER, EMAIL, AGENT, "Macintosh") == []
    assert {(one.opt_out, one.anonymized, one.ip) for one in hits} == {(signal, True, "")}
    assert {one.headers["user-agent"] for one in hits} == {"desktop"}
    assert all(b"view" in line for line in content.splitlines() if line.startswith(b'{"id"')), "the rest is kept"
    assert _count(collector, "opt_outs_total", signal=signal, action=ANONYMIZE) == len(hits)


@pytest.mark.parametrize("signal", SIGNALS)
async def test_dropped_events_get_their_usual_reply_and_are_nowhere(
    start: Start, schema: Path, signal: str, tmp_path: Path
) -> None:
    schema.write_text(schema.read_text().replace("privacy: {", f"privacy: {{signals: {{{signal}: drop}}, "))
    collector = await _running(start, schema, spool=str(tmp_path / "spool"))
    headers, said = SIGNALLING[signal]
    usual = [(await _send(collector, posted, {})) for posted in carriers({}).values()]
    _published(collector, len(usual) + 2)
    assert [(await _send(collector, posted, headers)) for posted in carriers(said).values()] == usual
    assert await _send(collector, ("GET", "/pixel.gif?last=1", b"", {}), {}) == (200, "")
    hits, _ = _published(collector, 1)
    assert hits[0].query == "last=1"
    assert _count(collector, "opt_outs_total", signal=signal, action=DROP) == len(usual) + 2


async def test_recorded_signals_are_stored_and_nothing_else_changes(start: Start, schema: Path) -> None:
    collector = await _running(start, schema, privacy="off")
    await _send(collector, carriers({})["pixel"], {"Sec-GPC": "1"})
    (one,), content = _published(collector, 1)
    assert (one.opt_out, one.anonymized, one.ip) == ("gpc", False, IP)
    assert USER in one.query and one.headers["user-agent"] == AGENT
    assert _lines_with(content, SECRET) == [], "secrets go under every preset"
    assert _count(collector, "opt_outs_total", signal="gpc", action=RECORD) == 1


async def test_strict_drops_and_keeps_no_address(start: Start, schema: Path) -> None:
    collector = await _running(start, schema, privacy="strict")
    await _send(collector, carriers({})["event"], {"DNT": "1"})
    await _send(collector, carriers({})["event"], {})
    (one,), _ = _published(collector, 1)
    assert (one.ip, one.opt_out) == ("", "")


async def test_an_events_own_consent_counts_for_it_alone(start: Start, schema: Path) -> None:
    collector = await _running(start, schema)
    events = [{"user_id": "one"}, {"user_id": "two", "consent": "denied"}, {"user_id": "three", "consent": "granted"}]
    await _send(collector, ("POST", "/events", json.dumps(events).encode(), {}), {})
    hits, _ = _published(collector, 3)
    assert [(one.opt_out, one.ip, one.index, one.at - hits[0].at) for one in hits] == [
        ("", "203.0.113.0", 0, 0), ("consent", "", 1, 1), ("", "203.0.113.0", 2, 2)
    ]  # fmt: skip
    assert [json.loads(bytes(one.body)).get("user_id") for one in hits] == ["one", None, "three"]


async def test_of_a_batch_only_the_events_that_opt_out_are_dropped(start: Start, schema: Path) -> None:
    schema.write_text(schema.read_text().replace("privacy: {", "privacy: {signals: {consent: drop}, "))
    collector = await _running(start, schema)
    events = [{"n": 0, "consent": "denied"}, {"n": 1}, {"n": 2, "consent": "denied"}, {"n": 3}]
    assert await _send(collector, ("POST", "/events", json.dumps(events).encode(), {}), {}) == (204, "")
    hits, _ = _published(collector, 2)
    assert [(one.index, json.loads(bytes(one.body))) for one in hits] == [(1, {"n": 1}), (3, {"n": 3})]
    assert collector.metric('pixelpipe_collector_hits_total{method="POST"}') == 2


@pytest.mark.parametrize("path", ["/pixel.gif", "/events"])
@pytest.mark.parametrize(
    ("lines", "signal"),
    [
        ([b"sec-gpc: 1"], "gpc"),
        ([b"SEC-GPC:1"], "gpc"),
        ([b"Sec-GPC: \t1 "], "gpc"),
        ([b"Sec-GPC: 0"], ""),
        ([b"Sec-GPC: true"], ""),
        ([b"Sec-GPC: 11"], ""),
        ([b"Sec-GPC: \xff"], ""),
        ([b"Sec-GPC:"], ""),
        ([b"Sec-GPC: 0", b"Sec-GPC: 1"], "gpc"),
        ([b"Sec-GPC: 1", b"sec-gpc: 1"], "gpc"),
        ([b"DNT: 1", b"Sec-GPC: 1"], "gpc"),
        ([b"Sec-GPC: 0", b"DNT: 1"], "dnt"),
        ([b"DNT: 0"], ""),
        ([b"X-Sec-GPC: 1"], ""),
    ],
    ids=lambda value: value if isinstance(value, str) else b"+".join(value).hex()[:40],
)
async def test_a_header_counts_in_any_spelling_and_no_other_value(
    start: Start, schema: Path, path: str, lines: Sequence[bytes], signal: str
) -> None:
    """The fast path and aiohttp agree."""
    collector = await _running(start, schema)
    request = post(b'{"n":1}', *lines) if path == "/events" else get(path.encode(), *lines)
    await exchange(collector.port, request, replies=1)
    (one,), _ = _published(collector, 1)
    assert (one.opt_out, one.anonymized) == (signal, bool(signal))


async def test_a_spooled_pack_and_its_folder_hold_no_more(start: Start, schema: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    collector = await _running(start, schema, spool=str(spool), hits_topic="nowhere", publish_timeout_seconds=0.2)
    sent = carriers({})
    for posted in sent.values():
        await _send(collector, posted, {"Sec-GPC": "1"})
    await until(lambda: collector.metric("pixelpipe_collector_spool_hits") == len(sent) + 2, "spooled hits")
    content = b"\n".join(zstd_frame.decompress(file.read_bytes()) for file in spool.glob("*.zst"))
    assert content.count(b'"opt_out":"gpc"') == len(sent) + 2
    assert _lines_with(content, IP, SECRET, USER, EMAIL, AGENT) == []


async def test_no_log_line_and_no_metric_holds_what_was_removed(
    start: Start, schema: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collector = await _running(start, schema, log_level="debug")
    for posted in carriers({"shoe_size": SECRET}).values():
        await _send(collector, posted, {"DNT": "1"})
        method, path, body, own = posted
        await _send(collector, (method, path + "&broken=%zz", b"\xff" + body[:-3], own), {"Content-Encoding": "gzip"})
    said = "".join(capsys.readouterr()) + generate_latest(collector.registry).decode()
    assert _lines_with(said.encode(), IP, SECRET, USER, EMAIL, AGENT) == []
    assert _count(collector, "values_removed_total", name="shoe_size") >= 10, "an own name of the list is a label"


@pytest.mark.parametrize(("preset", "status"), [("strict", 200), ("balanced", 200), ("off", 404)])
async def test_support_of_gpc_is_declared_where_it_is_obeyed(start: Start, preset: str, status: int) -> None:
    collector = await start(privacy=preset)
    async with collector.http.get(collector.url + "/.well-known/gpc.json") as reply:
        assert reply.status == status
        if status == 200:
            assert reply.content_type == "application/json"
            assert await reply.json() == {"gpc": True, "lastUpdate": "2026-11-29"}


COOKIE = "privacy: {cookie: {origins: ['https://shop.example.com'], same_site: None}}"
OURS = {"Origin": "https://shop.example.com"}


@pytest.fixture
async def with_cookie(start: Start, tmp_path: Path) -> Running:
    file = tmp_path / "schema.yaml"
    file.write_text(SCHEMA_FILE.read_text() + "\n" + COOKIE + "\n")
    return await _running(start, file)


async def _visit(
    collector: Running, name: str, headers: Mapping[str, str], said: Mapping[str, str] | None = None
) -> str:
    """The Set-Cookie of the reply, or ""."""
    method, path, body, own = carriers(said or {})[name]
    async with collector.http.request(
        method, collector.url + path, data=body or None, headers={**HEADERS, **headers, **own}, allow_redirects=False
    ) as reply:
        return reply.headers.get("Set-Cookie", "")


@pytest.mark.parametrize("name", ["pixel", "slow pixel", "event", "form", "batch", "uncut", "redirect"])
async def test_a_visitor_gets_a_cookie_once_and_is_known_by_it(with_cookie: Running, name: str) -> None:
    issued = await _visit(with_cookie, name, OURS)
    pair, *rest = issued.split("; ")
    assert pair.startswith("pp_visitor=v1.") and {"Secure", "HttpOnly", "SameSite=None", "Path=/"} < set(rest)
    assert await _visit(with_cookie, name, {**OURS, "Cookie": f"a=b; {pair}"}) == ""
    hits, content = _published(with_cookie, 2)
    assert hits[0].visitor_id == hits[1].visitor_id == pair.split(".")[1]
    assert "pp_visitor" not in content.decode(), "of the cookie only the id is kept"


async def test_pages_of_others_get_no_cookie(with_cookie: Running) -> None:
    assert await _visit(with_cookie, "pixel", {"Origin": "https://other.example", "Referer": ""}) == ""
    assert [one.visitor_id for one in _published(with_cookie, 1)[0]] == [""]


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("name", ["pixel", "event"])
async def test_there_is_no_cookie_under_an_opt_out(with_cookie: Running, name: str, signal: str) -> None:
    headers, said = SIGNALLING[signal]
    assert await _visit(with_cookie, name, {**OURS, **headers}, said) == ""
    issued = (await _visit(with_cookie, name, OURS)).partition(";")[0]
    deleted = await _visit(with_cookie, name, {**OURS, **headers, "Cookie": issued}, said)
    assert deleted.startswith("pp_visitor=; Max-Age=0;")
    hits, _ = _published(with_cookie, 3)
    assert [bool(one.visitor_id) for one in hits] == [False, True, False]


KEYS = b"k2:" + b"22" * 32 + b"\nk1:" + b"11" * 32 + b"\n"


def _hashing(tmp_path: Path, keys: bytes | None, mode: int = 0o400) -> tuple[Path, str]:
    schema, file = tmp_path / "schema.yaml", tmp_path / "keys"
    schema.write_text(SCHEMA_FILE.read_text() + "\nprivacy: {hash: {email: [trim, lower]}}\n")
    if keys is None:
        return schema, ""
    file.write_bytes(keys)
    file.chmod(mode)
    return schema, str(file)


async def test_hashed_values_are_alike_everywhere_and_what_was_hashed_is_nowhere(start: Start, tmp_path: Path) -> None:
    schema, keys = _hashing(tmp_path, KEYS)
    collector = await _running(start, schema, hash_key_file=keys)
    for name, posted in carriers({}).items():
        if name != "uncut":  # of which no more is known than that it holds addresses
            await _send(collector, posted, {})
    hits, content = _published(collector, len(carriers({})) + 1)
    assert _lines_with(content, EMAIL) == []
    wanted = "k2:" + hmac.new(b"\x22" * 32, EMAIL.encode(), sha256).hexdigest()
    lines = [line for line in content.splitlines() if line.startswith(b'{"id"')]
    assert len(lines) == len(hits)
    for line in lines:
        assert wanted in unquote(line.decode()), line


@pytest.mark.parametrize(
    ("keys", "mode", "said"),
    [
        (None, 0, "PIPE_HASH_KEY_FILE"),
        (b"", 0o400, "PIPE_HASH_KEY_FILE"),
        (b"k1:00ff\n", 0o400, "line 1"),
        (KEYS, 0o404, "every user may read"),
        (KEYS + b"k0:" + b"33" * 32, 0o400, "3 keys"),
    ],
    ids=["missing", "empty", "short", "world-readable", "three"],
)
async def test_keys_that_cannot_be_used_end_the_start(
    start: Start, tmp_path: Path, keys: bytes | None, mode: int, said: str
) -> None:
    schema, file = _hashing(tmp_path, keys, mode)
    with pytest.raises(ConfigError) as error:
        await _running(start, schema, hash_key_file=file)
    assert said in str(error.value) and "PIPE_HASH_KEY_FILE" in str(error.value)
    assert "22" * 16 not in str(error.value)


@pytest.mark.parametrize("header", ["Cookie", "authorization", "X-Api-Key", "x-shoe-size"])
async def test_a_header_that_is_never_kept_ends_the_start(start: Start, schema: Path, header: str) -> None:
    with pytest.raises(ConfigError) as error:
        await _running(start, schema, headers=("user-agent", header), privacy="off")
    assert str(error.value).startswith(f"PIPE_HEADERS={header.lower()}: ")


async def test_hashes_do_not_make_a_small_request_a_large_one(start: Start, tmp_path: Path) -> None:
    """Each item carries the query string, and each hash in it is many times as long as what was hashed."""
    schema, keys = _hashing(tmp_path, KEYS)
    collector = await _running(start, schema, hash_key_file=keys)
    query = "&".join(f"mail={number}" for number in range(3_000))
    statuses = {}
    for items in (10, 1_000):
        batch = json.dumps({"batch": [SEGMENT] * items}).encode()
        async with collector.http.post(f"{collector.url}/v1/batch?{query}", data=batch) as reply:
            statuses[items] = reply.status
    assert statuses == {10: 200, 1_000: 413}
    _published(collector, 10)
