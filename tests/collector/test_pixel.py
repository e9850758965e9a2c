from __future__ import annotations

import struct
import zlib

import pytest

from services.collector import pixel
from services.shared import identity
from tests.collector.conftest import Running, Start


@pytest.mark.parametrize(
    ("path", "kind", "image"),
    [("/pixel.gif", "image/gif", pixel.GIF), ("/pixel.png", "image/png", pixel.PNG), ("/i", "image/gif", pixel.GIF)],
)
async def test_a_pixel_is_an_image_that_nobody_caches(collector: Running, path: str, kind: str, image: bytes) -> None:
    async with collector.http.get(collector.url + path + "?user_id=1") as reply:
        assert (reply.status, reply.headers["Content-Type"], await reply.read()) == (200, kind, image)
        assert reply.headers["Cache-Control"] == "no-store"
        assert len(reply.headers) <= 7
    (hit,) = collector.hits(1)
    assert (hit.method, hit.path, hit.query, hit.ip) == ("GET", path, "user_id=1", "127.0.0.0")
    assert identity.time_of(hit.id) == hit.at // 1000


def test_the_gif_is_small_transparent_and_one_pixel() -> None:
    assert len(pixel.GIF) <= 43
    assert pixel.GIF[:6] == b"GIF89a"
    assert struct.unpack("<HH", pixel.GIF[6:10]) == (1, 1)
    control = pixel.GIF.index(b"\x21\xf9")
    assert pixel.GIF[control + 3] & 1  # the transparent colour is set
    assert pixel.GIF.endswith(b"\x3b")


def test_the_png_is_transparent_and_one_pixel() -> None:
    assert pixel.PNG[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(pixel.PNG):
        size, kind = struct.unpack(">I4s", pixel.PNG[at : at + 8])
        content = pixel.PNG[at + 8 : at + 8 + size]
        (crc,) = struct.unpack(">I", pixel.PNG[at + 8 + size : at + 12 + size])
        assert crc == zlib.crc32(kind + content), kind
        chunks[kind] = content
        at += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (width, height, depth) == (1, 1, 8)
    assert colour in (4, 6)
    assert zlib.decompress(chunks[b"IDAT"])[-1] == 0  # alpha


async def test_head_answers_without_a_body_and_is_captured(collector: Running) -> None:
    async with collector.http.head(collector.url + "/pixel.gif?user_id=1") as reply:
        assert (reply.status, reply.headers["Content-Length"], await reply.read()) == (200, str(len(pixel.GIF)), b"")
    (hit,) = collector.hits(1)
    assert hit.method == "HEAD"


async def test_paths_of_the_settings_serve_the_pixel_too(start: Start) -> None:
    collector = await start(paths=("/open.png", "/o/x"))
    for path, image in (("/open.png", pixel.PNG), ("/o/x", pixel.GIF)):
        async with collector.http.get(collector.url + path) as reply:
            assert await reply.read() == image
    assert {hit.path for hit in collector.hits(2)} == {"/open.png", "/o/x"}


async def test_what_is_no_pixel_is_not_captured(collector: Running) -> None:
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/pixel.gif/x", 404),
        ("GET", "/PIXEL.GIF", 404),
        ("POST", "/pixel.gif", 405),
        ("GET", "/events", 405),
        ("DELETE", "/events", 405),
        ("GET", "/metrics", 404),
        ("GET", "/readyz", 404),
    ):
        async with collector.http.request(method, collector.url + path) as reply:
            assert reply.status == status, (method, path)
    async with collector.http.get(collector.url + "/robots.txt") as reply:
        assert (reply.status, await reply.text()) == (200, "User-agent: *\nDisallow: /\n")
    assert collector.topics.pull("work") == []


async def test_chosen_headers_are_kept_and_no_others(start: Start) -> None:
    collector = await start(headers=("User-Agent", "x-shop"))
    headers = {"User-Agent": "test/1", "X-Shop": "7", "Cookie": "secret", "Referer": "https://a"}
    async with collector.http.get(collector.url + "/i", headers=headers):
        pass
    (hit,) = collector.hits(1)
    assert hit.headers == {"user-agent": "test/1", "x-shop": "7"}


@pytest.mark.parametrize(
    ("settings", "forwarded", "ip"),
    [
        ({}, "6.6.6.6", "127.0.0.0"),
        ({"privacy": "off", "trusted_proxies": 1}, "6.6.6.6, 203.0.113.77", "203.0.113.77"),
        ({"privacy": "off", "trusted_proxies": 2}, "6.6.6.6, 203.0.113.77, 35.191.0.1", "203.0.113.77"),
        ({"privacy": "off", "trusted_proxies": 2}, "203.0.113.77", "127.0.0.1"),
        ({"trusted_proxies": 2, "privacy": "balanced"}, "203.0.113.77,35.191.0.1", "203.0.113.0"),
        ({"trusted_proxies": 1}, "2001:db8:1:2:3::4", "2001:db8:1::"),
        ({"trusted_proxies": 1}, "not-an-address", ""),
        ({"privacy": "strict"}, "6.6.6.6", ""),
    ],
)
async def test_the_clients_address(start: Start, settings: dict[str, object], forwarded: str, ip: str) -> None:
    collector = await start(**settings)
    async with collector.http.get(collector.url + "/i", headers={"X-Forwarded-For": forwarded}):
        pass
    (hit,) = collector.hits(1)
    assert hit.ip == ip
