"""Webhooks over the wire: who may post, and what of it is kept."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import time
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector import cut, hook
from services.collector.config import Config
from services.collector.endpoints import read
from services.processor.protocols import hook as reader
from services.shared.config import ConfigError
from tests.collector.conftest import Running, Start

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
EVENT = b'{"id":"evt_1","type":"order.paid","data":{"object":{"amount":1250}}}'


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_bytes(b"secret\n")
    file.chmod(0o400)
    return file


@pytest.fixture
async def hooks(start: Start, key_file: Path) -> Running:
    sources = (
        "open",
        f"gh=github:{key_file}",
        f"pay=stripe:{key_file}",
        f"shop=shopify:{key_file}",
        "own;id=header.x-id",
    )
    return await start(hooks=sources, paths=("/x/h=hook.gh",))


async def _post(
    collector: Running, path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str]]:
    async with collector.http.post(collector.url + path, data=body, headers=headers) as reply:
        content = await reply.read()
        if content:
            assert reply.headers["Content-Type"] in ("application/json", "text/plain")
        return reply.status, json.loads(content) if content[:1] == b"{" else {}


def _github(body: bytes, key: bytes = b"secret") -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(key, body, sha256).hexdigest()}


def _stripe(body: bytes, at: float) -> dict[str, str]:
    signature = hmac.new(b"secret", f"{at:.0f}.".encode() + body, sha256).hexdigest()
    return {"Stripe-Signature": f"t={at:.0f},v1={signature}"}


def _shopify(body: bytes) -> dict[str, str]:
    return {"X-Shopify-Hmac-Sha256": base64.b64encode(hmac.new(b"secret", body, sha256).digest()).decode()}


def _count(collector: Running, hook: str, outcome: str) -> float:
    labels = {"hook": hook, "outcome": outcome}
    return collector.registry.get_sample_value("pixelpipe_collector_hook_requests_total", labels) or 0.0


async def test_a_signed_call_is_a_hit_with_what_its_reader_needs(hooks: Running) -> None:
    sent = {**_github(EVENT), "X-GitHub-Event": "push", "X-GitHub-Delivery": "d-1", "Content-Type": "text/x-any"}
    assert await _post(hooks, "/hook/gh?token=secret", EVENT, sent) == (204, {})
    (hit,) = hooks.hits(1)
    assert (hit.via, hit.method, hit.path, hit.query, bytes(hit.body)) == ("hook.gh", "POST", "/hook/gh", "", EVENT)
    assert json.loads(bytes(hit.envelope)) == {
        "type_from": "header.x-github-event",
        "id_from": "header.x-github-delivery",
    }
    assert (hit.headers["x-github-event"], hit.headers["x-github-delivery"]) == ("push", "d-1")
    assert "x-hub-signature-256" not in hit.headers
    found = reader.read(hit)
    assert (found["type"], found["event_id"], found["anonymous_id"]) == ("push", "gh#d-1", "hook.gh")
    assert found["properties"] == json.loads(EVENT)
    assert _count(hooks, "gh", "captured") == 1


async def test_stripe_and_shopify_sign_in_their_own_ways(hooks: Running) -> None:
    assert (await _post(hooks, "/hook/pay", EVENT, _stripe(EVENT, time.time())))[0] == 204
    assert (await _post(hooks, "/hook/shop/", EVENT, _shopify(EVENT) | {"X-Shopify-Topic": "orders/paid"}))[0] == 204
    pay, shop = hooks.hits(2)
    assert (reader.read(pay)["type"], reader.read(pay)["event_id"]) == ("order.paid", "pay#evt_1")
    assert reader.read(shop)["type"] == "orders/paid"


@pytest.mark.parametrize(
    ("path", "headers", "why"),
    [
        ("/hook/gh", {}, "the signature is missing"),
        ("/hook/gh", _github(EVENT, b"other"), "the signature is wrong"),
        ("/hook/gh", _github(EVENT + b" "), "the signature is wrong"),
        ("/x/h", {"X-Hub-Signature-256": "sha256=\u00fc"}, "the signature is wrong"),
        ("/hook/gh", {"X-Hub-Signature-256": "sha1=0"}, "the signature is missing"),
        ("/hook/pay", _stripe(EVENT, 1_000), "the signature is more than 300 seconds old"),
        ("/hook/pay", {"Stripe-Signature": "v1=0"}, "the signature is missing"),
        ("/hook/shop", {"X-Shopify-Hmac-Sha256": "?"}, "the signature is missing"),
    ],
)
async def test_a_call_of_somebody_else_is_refused(hooks: Running, path: str, headers: dict[str, str], why: str) -> None:
    assert await _post(hooks, path, EVENT, headers) == (401, {"error": why})
    assert sum(_count(hooks, name, "unsigned") for name in ("gh", "pay", "shop")) == 1
    assert hooks.registry.get_sample_value("pixelpipe_collector_hits_total", {"method": "POST"}) == 0


async def test_the_signature_is_over_the_body_as_it_was_sent(hooks: Running) -> None:
    packed = gzip.compress(EVENT, mtime=0)
    encoded = {"Content-Encoding": "gzip"}
    assert (await _post(hooks, "/hook/gh", packed, {**_github(packed), **encoded}))[0] == 204
    assert (await _post(hooks, "/hook/gh", packed, {**_github(EVENT), **encoded}))[0] == 401
    (hit,) = hooks.hits(1)
    assert bytes(hit.body) == EVENT


@pytest.mark.parametrize(
    ("body", "headers", "kept"),
    [
        (b' {"a":\r\n1} \n', {}, b'{"a":  1}'),
        (b"[1,2]", {"Content-Type": "application/json"}, b"[1,2]"),
        (b'"text"', FORM, b'"text"'),
        (b"a=1&b=%20", FORM, "a=1&b=%20"),
        (b"payload=%7B%22a%22%3A1%7D", FORM, "payload=%7B%22a%22%3A1%7D"),
        ("plain \u00fc".encode(), {"Content-Type": "text/plain"}, "plain \u00fc"),
        (b"<a/>", {"Content-Type": "application/xml"}, "<a/>"),
        (b'{"cut', {"Content-Type": "application/json"}, '{"cut'),
        (b'{"a":"\\ud83d"}', {}, b'{"a":"\\ufffd"}'),
        (b"\xff\xfe", {}, "\u00ff\u00fe"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--',
            {"Content-Type": "multipart/form-data; boundary=x"},
            "a=1",
        ),
    ],
)
async def test_any_body_is_kept(hooks: Running, body: bytes, headers: dict[str, str], kept: bytes | str) -> None:
    assert (await _post(hooks, "/hook/open", body, headers))[0] == 204
    (hit,) = hooks.hits(1)
    assert (bytes(hit.body), hit.text) == ((kept, "") if isinstance(kept, bytes) else (b"", kept))
    assert reader.read(hit)["type"] == "hook.open"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b" \n", {}, 400),
        (b"x", {"Content-Encoding": "br"}, 415),
        (b"x", {"Content-Encoding": "gzip"}, 400),
        (b"x" * 300_000, {}, 413),
        (b'"' + b"x" * 1_100_000 + b'"', {}, 413),
        (b"x", {"Content-Type": "multipart/form-data; boundary=x"}, 400),
    ],
)
async def test_a_body_that_cannot_be_kept_is_refused(
    hooks: Running, body: bytes, headers: dict[str, str], status: int
) -> None:
    found, reply = await _post(hooks, "/hook/open", body, headers)
    assert found == status
    assert reply["error"]
    assert _count(hooks, "open", "malformed") == 1


@pytest.mark.parametrize("path", ["/hook", "/hook/", "/hook/none", "/hook/OPEN", "/hook/open/x", "/hook/%2e%2e/open2"])
async def test_a_source_that_is_not_configured_is_not_there(hooks: Running, path: str) -> None:
    assert (await _post(hooks, path, EVENT))[0] == 404


async def test_only_posts_are_taken(hooks: Running) -> None:
    async with hooks.http.get(hooks.url + "/hook/open") as reply:
        assert (reply.status, reply.headers["Allow"]) == (405, "POST, OPTIONS")


async def test_a_call_that_is_not_safe_is_answered_503(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    collector = await start(hooks=("open",), publish_timeout_seconds=0.1)
    assert (await _post(collector, "/hook/open", EVENT))[0] == 503
    assert _count(collector, "open", "unsafe") == 1


async def test_by_default_there_is_no_hook(collector: Running) -> None:
    assert (await _post(collector, "/hook/open", EVENT))[0] == 404


KINDS = ("", "application/json", "text/x", FORM["Content-Type"], "multipart/form-data; boundary=x")


@settings(deadline=None)
@given(
    st.binary() | st.text().map(str.encode) | st.just(b"[" * 1_000),
    st.sampled_from(KINDS),
    st.sampled_from(["", "gzip"]),
)
def test_any_call_is_one_item_or_refused(body: bytes, kind: str, encoding: str) -> None:
    source = hook.parse("open")
    found = cut.cut(source.route, body, query="token=1", headers={"content-type": kind, "content-encoding": encoding})
    if found.refused is None:
        assert (len(found.items), found.query, found.envelope) == (1, "", source.envelope)
    else:
        assert found.refused.status in (400, 413, 415)


def _refused(*hooks: str, paths: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as error:
        read(Config(project="p", hooks=hooks, paths=paths))
    return str(error.value)


def test_what_is_wrong_is_named_with_its_fix(key_file: Path) -> None:
    key_file.chmod(0o604)
    wrong = (f"a=github:{key_file}", "b=github:/none/key", "C", "d", "d")
    first, second, third, fourth = _refused(*wrong).split("\n")
    assert first.startswith(f"PIPE_HOOKS='a=github:{key_file}"[:60])
    assert f"every user may read {key_file}; make its mode 0400 or 0440" in first
    assert "b=github:/none/key': /none/key cannot be read: No such file or directory; mount it" in second
    assert third == "PIPE_HOOKS='C': a hook's name has small letters, digits, - and _, such as stripe"
    assert fourth == "PIPE_HOOKS='d': d is there twice; give each source a name of its own"


def test_a_path_of_a_source_that_is_not_there_is_refused() -> None:
    assert "'/a=hook.gh' needs its source in PIPE_HOOKS" in _refused("open", paths=("/a=hook.gh",))
