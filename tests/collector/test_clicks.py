"""`/r?to=…` over the wire: a click is safe before its visitor is sent on, and nobody else decides where to."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from services.collector.config import Config
from services.collector.endpoints import read
from services.collector.redirect import sign
from services.shared import identity
from services.shared.config import ConfigError
from tests.collector.conftest import Running, Start
from tests.collector.wire import exchange, get

HOSTS = ("shop.example.com", "*.Example.org")
ORIGIN = {"Origin": "https://mail.example"}


@pytest.fixture
async def clicks(start: Start) -> Running:
    return await start(redirect_hosts=HOSTS)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_bytes(b"old\nnew\n")
    file.chmod(0o440)
    return file


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_click_is_a_hit_and_goes_where_it_says(clicks: Running, method: str) -> None:
    query = "to=https://shop.example.com/a?b%3Dc%23d&type=click&user_id=u"
    async with clicks.http.request(method, f"{clicks.url}/r?{query}", allow_redirects=False, headers=ORIGIN) as reply:
        assert (reply.status, reply.headers["Location"]) == (302, "https://shop.example.com/a?b=c#d")
        assert (reply.headers["Cache-Control"], reply.headers["Content-Length"]) == ("no-store", "0")
        assert reply.headers["Access-Control-Allow-Origin"] == "https://mail.example"
    (hit,) = clicks.hits(1)
    assert (hit.method, hit.path, hit.query, hit.via, hit.ip) == (method, "/r", query, "", "127.0.0.0")
    assert identity.time_of(hit.id) == hit.at // 1000


@pytest.mark.parametrize(
    "query",
    [
        "",
        "to=",
        "to",
        "to=https://evil.example",
        "to=//shop.example.com",
        "to=https:%5C%5Cshop.example.com",
        "to=https://shop.example.com%5C@evil.example",
        "to=https://evil.example%5C.shop.example.com",
        "to=https://shop.example.com@evil.example",
        "to=https://shop.example.com:80@evil.example",
        "to=https://shop.example.com%0d%0aSet-Cookie:%20a=b",
        "to=https://shop.example.com/%0d%0a%0d%0a<script>",
        "to=https://shop.example.com/%00",
        "to=https://shop.example.com/%09a",
        "to=https://shop.example.com%E3%80%82evil.example",
        "to=https://shop.example.com.evil.example",
        "to=https://evilexample.org",
        "to=https://evil.example?.example.org",
        "to=https://evil.example%23.example.org",
        "to=https://evil.example%2f.example.org",
        "to=%20https://shop.example.com",
        "to=javascript:alert(1)//shop.example.com",
        "to=data:text/html,shop.example.com",
        "to=https://evil.example&to=https://shop.example.com",
        "to=https://shop.example.com/" + "a" * 2_048,
        "TO=https://shop.example.com",
        "x=1;to=https://shop.example.com",
        "to=https://evil.example&sig=" + "0" * 64,
    ],
)
async def test_a_click_goes_nowhere_else_and_is_not_counted(clicks: Running, query: str) -> None:
    asked = [get(f"/r?{query}".encode()), get(b"/r?to=https://shop.example.com&n=1", b"Connection: close")]
    refused, sent = await exchange(clicks.port, *asked)
    assert (refused.status, refused.headers["content-type"]) == (400, "text/plain")
    assert refused.body == b"this address is not one that links may lead to\n"
    assert set(refused.headers) == {"content-type", "cache-control", "content-length", "date"}
    assert sent.status == 302
    (hit,) = clicks.hits(1)
    assert hit.query.endswith("n=1")


async def test_bytes_that_are_no_ascii_are_encoded_in_the_location(clicks: Running) -> None:
    asked = '/r?to=https://shop.example.com/caf\u00e9/%C3%A9"<>'.encode()
    (reply,) = await exchange(clicks.port, get(asked, b"Connection: close"))
    assert reply.headers["location"] == "https://shop.example.com/caf%C3%A9/%C3%A9%22%3C%3E"


async def test_a_signed_address_may_be_anywhere(start: Start, key_file: Path) -> None:
    clicks = await start(redirect_key_file=str(key_file), paths=("/go=redirect",))
    to = "https://anywhere.example/a?b=c"
    for path in ("/r", "/go", "/r/"):
        for key in (b"old", b"new"):
            asked = f"{clicks.url}{path}?to={quote(to, safe='')}&sig={sign(key, to.encode())}"
            async with clicks.http.get(asked, allow_redirects=False) as reply:
                assert (reply.status, reply.headers["Location"]) == (302, to)
    assert len(clicks.hits(6)) == 6
    async with clicks.http.get(f"{clicks.url}/r?to={to}&sig={sign(b'x', to.encode())}", allow_redirects=False) as reply:
        assert reply.status == 400


async def test_without_hosts_and_keys_there_is_no_such_path(collector: Running) -> None:
    async with collector.http.get(collector.url + "/r?to=https://shop.example.com") as reply:
        assert (reply.status, await reply.text()) == (404, "no such path\n")


async def test_a_click_that_is_not_safe_is_not_sent_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    clicks = await start(redirect_hosts=HOSTS, publish_timeout_seconds=0.1)
    async with clicks.http.get(clicks.url + "/r?to=https://shop.example.com", allow_redirects=False) as reply:
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        assert "Location" not in reply.headers


async def test_other_methods_are_refused(clicks: Running) -> None:
    async with clicks.http.post(clicks.url + "/r?to=https://shop.example.com", allow_redirects=False) as reply:
        assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
    async with clicks.http.options(clicks.url + "/r", headers=ORIGIN) as reply:
        assert reply.status == 204


def _refused(**settings: object) -> str:
    with pytest.raises(ConfigError) as error:
        read(Config(project="p", **settings))  # type: ignore[arg-type]
    return str(error.value)


def test_hosts_and_keys_that_cannot_be_used_are_named_all_at_once(tmp_path: Path) -> None:
    none = tmp_path / "none"
    lines = _refused(redirect_hosts=("shop.example.com", "https://a.b", "com"), redirect_key_file=str(none)).split("\n")
    assert lines == [
        "PIPE_REDIRECT_HOSTS='https://a.b': use host names such as shop.example.com, or *.example.com for all below it",
        "PIPE_REDIRECT_HOSTS='com': use host names such as shop.example.com, or *.example.com for all below it",
        f"PIPE_REDIRECT_KEY_FILE={str(none)!r}: {none} cannot be read: No such file or directory;"
        " mount it, readable for this user",
    ]


def test_a_key_file_is_for_us_alone_and_holds_keys(key_file: Path) -> None:
    key_file.chmod(0o444)
    assert f"every user may read {key_file}; make its mode 0400 or 0440" in _refused(redirect_key_file=str(key_file))
    key_file.chmod(0o600)
    key_file.write_bytes(b" \n")
    assert "the file holds no key" in _refused(redirect_key_file=str(key_file))
    key_file.write_bytes(b"x" * 65_537)
    assert f"{key_file} is over 65536 bytes" in _refused(redirect_key_file=str(key_file))


def test_a_path_for_clicks_needs_somewhere_to_go() -> None:
    needed = "'/go=redirect' needs PIPE_REDIRECT_HOSTS or PIPE_REDIRECT_KEY_FILE"
    assert needed in _refused(paths=("/go=redirect",))
