"""Every parser of the processor that strangers reach takes time that grows with its input and with nothing else."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from services.processor import convert, log_entry, query, url
from services.processor.enrich import geo, language, page, referrer, user_agent, utm
from services.processor.parse import Parser, Reject
from services.shared import hit, schema_file, zstd_frame
from services.shared.errors import Poison
from services.shared.hit import Hit
from tests.growth import assert_linear
from tests.processor.parsing import NOW, a_hit
from tests.processor.test_enrichment import ENRICHED

pytestmark = pytest.mark.slow

QUERY, LARGE = 65_536, 262_144  # bytes: of what may be as long as a request line, and as a body or a pack
HEADERS = ("user-agent", "referer", geo.HEADER)
PARSER = Parser(schema_file.parse(ENRICHED))
PAGE = "https://user@www.example.com:8080/a/b?utm_source=x&q=red+shoes#top"
AGENT = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Mobile"

TEXTS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "query": (query.pairs, ("a=1&b=%C3%A9+x&c=", "&d=%", "=2")),
    "host": (url.host, ("https://", "user@", "host.example", ":80/path?x#y")),
    "query of a page": (url.query, ("https://host.example/path?", "a=1", "#y")),
    "agent": (lambda text: user_agent.read({"user-agent": text}, {}), (AGENT[:40], AGENT[40:])),
    "geo": (lambda text: geo.read({geo.HEADER: text}, {}), ("US,", "USCA,", "Mountain View")),
    "referrer": (
        lambda text: referrer.read({"referer": text}, {"referrer": text, "url": text}),
        ("https://www.google.", "com/search?q=", "x"),
    ),
    "campaign": (lambda text: utm.read({}, {"url": text}), (PAGE[:30], PAGE[30:])),
    "page": (lambda text: page.read({}, {"url": text}), (PAGE[:30], PAGE[30:])),
    "language": (lambda text: language.read({"accept-language": text}, {}), ("de-CH,", "de;q=0.9,", " - ")),
    "claims": (
        lambda text: user_agent.read(
            {"user-agent": AGENT, "signature-agent": text, "sec-ch-ua": text, "purpose": text}, {}
        ),
        ('"https://a.', '"A";v="1", ', "prefetc"),
    ),
    "campaign of the event": (lambda text: utm.read({}, {"utm_source": text, "gclid": text}), ("x",)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name: str) -> None:
    work, frame_ = TEXTS[name]
    assert_linear(work, *frame_)


VALUES = {
    "STRING": ("text",),
    "INT64": ("-", "1", "234"),
    "FLOAT64": ("-", "1", ".5", "e1", "0"),
    "BOOL": ("tr", "ue"),
    "TIMESTAMP": ("2026-01-01T", "00:00:00", ".12", "+02:00"),
    "DATE": ("2026-", "01-01"),
    "NUMERIC": ("-", "1", ".5", "e1", "0"),
    "JSON": ('{"a":', "[", "1", "]", "}"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_of_a_query(kind: str) -> None:
    converter = convert.json_from_text if kind == "JSON" else convert.CONVERTERS[kind]
    assert_linear(converter, *VALUES[kind], refused=convert.Invalid)


@pytest.mark.parametrize("kind", VALUES)
def test_values_of_a_body(kind: str) -> None:
    def work(text: str) -> None:
        convert.CONVERTERS[kind](convert.decode_json(text))

    assert_linear(work, '"2026-01-01', 'T00:00:00Z"', refused=convert.Invalid)
    assert_linear(work, "1", ".5", "e1", refused=convert.Invalid)
    assert_linear(work, '{"a":["', '",1', "]}", refused=convert.Invalid)


def _everything(one: Hit) -> None:
    found = PARSER.parse(one, NOW)
    if isinstance(found, Reject):
        PARSER.reject_row(one, found, NOW)


@pytest.mark.parametrize(
    ("of", "size", "frames"),
    [
        (lambda text: a_hit(text), QUERY, [("n=1&", "f=", "1&t=", "2026-01-01T00:00:00Z")]),
        (lambda text: a_hit(path=text), QUERY, [("/i",)]),
        (lambda text: a_hit(id=text, ip=text), QUERY, [("01a1f874-3e4b-753c-9d2e-", "f921edd11c2e")]),
        (lambda text: a_hit("event_id=" + text), QUERY, [("01a1f874-3e4b-753c-9d2e-", "f921edd11c2e")]),
        (lambda text: a_hit(headers=dict.fromkeys(HEADERS, text)), QUERY, [("x",)]),
        (lambda text: a_hit("", text.encode("latin-1")), LARGE, [('{"j":{"a":["', '",1', "]}}"), ('{"n":1', "}")]),
    ],
    ids=["query", "path", "id", "event id", "headers", "body"],
)
def test_a_hit_as_a_whole(of: Callable[[str], Any], size: int, frames: list[tuple[str, ...]]) -> None:
    for one in frames:
        assert_linear(lambda text: _everything(of(text)), *one, size=size)


LINE = hit.encode(Hit("a", NOW, "GET", "/i", "x=1", {"referer": "x"}))


def test_a_pack() -> None:
    def work(lines: bytes) -> None:
        hit.read(zstd_frame.compress(lines), {"schema": "hit/1", "encoding": "zstd", "count": "3"})

    assert_linear(work, LINE + b"\n" + LINE[:40], LINE[40:] + b"\n", LINE, size=LARGE, refused=Poison)


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_log_entry(array: bool, compressed: bool) -> None:
    def work(data: bytes) -> None:
        log_entry.decode(gzip.compress(data, 1) if compressed else data, "m", 1)

    request = {"requestUrl": "URL", "remoteIp": "IP", "userAgent": "x", "referer": "x"}
    text = json.dumps({"httpRequest": request, "timestamp": "TIME", "insertId": "1"})
    for key, value in (
        ("URL", "https://a.example/p?x=1"),
        ("IP", "[2001:db8::1]:443"),
        ("TIME", "2026-01-01T00:00:00Z"),
    ):
        before, after = text.replace(key, value).split(value)
        half = len(value) // 2
        parts = (before + value[:half], value[half:] + after)
        parts = ("[" + parts[0], parts[1] + "," + text + "]") if array else parts
        assert_linear(work, *(part.encode() for part in parts), refused=Poison)


def test_what_is_after_a_compressed_message() -> None:
    assert_linear(lambda data: log_entry.decode(data, "m", 1), gzip.compress(b"{}"), refused=Poison)
    empty = gzip.compress(b"")
    assert_linear(lambda data: log_entry.decode(data, "m", 1), empty, runs=[empty], refused=Poison)
