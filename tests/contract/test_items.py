"""Routes, cut, wire format and processor together: nothing that is sent raises, and every item is one row or reject."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.collector import capture, cut, encode_batch
from services.collector.routes import ANSWERED, DROPPED, PROTOCOLS, ROUTES, Route, Table
from services.processor.parse import Parser
from services.processor.table_batches import Batcher
from services.shared import hit, identity
from tests.contract import strange
from tests.processor.protocols.hits import JSON, NAMES, QUERIES, TEXT, mutations
from tests.processor.test_protocols import SCHEMA

NOW = 1_764_439_200_000_000  # 2025-11-29T18:00:00Z
BATCHER = Batcher(SCHEMA, Parser(SCHEMA))
TABLE = Table()
KEPT = [route for route in ROUTES if route.outcome not in (ANSWERED, DROPPED)]

WAYS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda body: body,
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "base64": base64.b64encode,
    "form": lambda body: b"data=" + quote_plus(base64.b64encode(body)).encode() + b"&verbose=1",
    "form of JSON": lambda body: b"verbose=1&data=" + quote_plus(body).encode(),
    "CESU-8": lambda body: body.replace(b"\\ud83d\\ude42", b"\xed\xa0\xbd\xed\xb9\x82"),
}


def _escaped(text: str) -> str:
    """Text of a request's head as aiohttp reads it: what is not UTF-8 is escaped, byte by byte."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")


HEAD = TEXT.map(_escaped)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from(
            ["application/json", "text/plain", "application/x-www-form-urlencoded", "application/cloudevents+json",
             "application/cloudevents-batch+json", "application/x-ndjson", "multipart/form-data; boundary=x", "",
             "\udcff"]
        ),
        "content-encoding": st.sampled_from(["gzip", "deflate", "br"]),
        "user-agent": st.sampled_from(["Mozilla/5.0", "\udce9", ""]),
        "ce-id": HEAD, "ce-source": HEAD, "ce-type": HEAD, "ce-time": HEAD, "ce-subject": HEAD,
        "x-write-key": HEAD, "sp-anonymous": st.just("*"),
    },
)  # fmt: skip


@st.composite
def bodies(draw: st.DrawFn, route: Route) -> bytes:
    """A body as trackers build it, of real items, mutations of them and any JSON, encoded one way, perhaps cut off."""
    protocol = draw(st.sampled_from([route.protocol, *PROTOCOLS]))
    item = strange.ITEMS.get(protocol, {"user_id": "ada", "text": "\U0001f642"})
    items = draw(st.lists(st.just(item) | mutations(item) | JSON, max_size=5))
    name = draw(st.sampled_from([route.items or "batch", *(other.items for _, other in route.rivals), ""]))
    envelope = draw(st.dictionaries(NAMES, JSON, max_size=3))
    kind = draw(st.sampled_from(["list", "list", "one", "lines", "form", "anything"]))
    if kind == "list":
        body = json.dumps({**envelope, name: items} if name else items).encode()
    elif kind == "one":
        body = json.dumps(items[0] if items else item).encode()
    elif kind == "lines":
        body = b"\n".join(json.dumps(one).encode() for one in items)
    elif kind == "form":
        fields = {str(name): str(value) for name, value in item.items()}
        body = (urlencode(fields) + "&" + draw(QUERIES)).encode("utf-8", "surrogatepass")
    else:
        body = draw(st.binary(max_size=40))
    body = WAYS[draw(st.sampled_from(list(WAYS)))](body)
    if draw(st.integers(0, 3)) == 0:
        body = body[: draw(st.integers(0, len(body)))]
    return body


def _captured(route: Route, body: bytes, query: str, headers: dict[str, str]) -> list[bytes]:
    """The lines of the pack that a request becomes, or none where it is refused."""
    found = cut.cut(route.choose(query, headers), body, query=query, headers=headers)
    if found.refused is not None:
        assert found.items == []
        assert route.own or found.route.splits
        return []
    like = capture.hit(
        method="POST", path=found.route.path, query=query if found.query is None else found.query,
        headers=headers, ip="203.0.113.7", now=NOW, id="",
    )  # fmt: skip
    like = msgspec.structs.replace(
        like, via=found.route.via, envelope=msgspec.Raw(found.envelope) if found.envelope else hit.NO_BODY
    )
    lines = encode_batch.encode([like] * len(found.items), identity.uuid7s(NOW, len(found.items)), found.items)
    assert len(lines) == len(found.items)
    return lines


@settings(max_examples=80, deadline=None)  # on a busy machine any example may wait
@given(st.data())
def test_every_item_that_is_cut_is_one_row_or_reject(data: st.DataObject) -> None:
    wanted = data.draw(st.sampled_from(KEPT))
    found = TABLE.at(strange.path(wanted) + data.draw(st.sampled_from(["", "/"])))
    assert found is not None
    route = found[0]
    body = data.draw(bodies(route))
    query = data.draw(QUERIES.map(_escaped) | HEAD | st.just(urlencode(strange.ITEMS["snowplow"])))
    lines = _captured(route, body, query, data.draw(HEADERS))
    if not lines:
        return
    read = hit.read(*hit.pack(lines, "a pack"))
    assert (len(read.hits), read.unreadable, read.miscount) == (len(lines), [], None)
    made = BATCHER.make(read.hits, NOW)
    assert (made.faults, made.unplaced) == ([], [])
    assert sum(batch.num_rows for batch in made.batches.values()) == len(lines)
    assert len(made.rejects) == (made.batches["rejects"].num_rows if "rejects" in made.batches else 0)
    for batch in made.batches.values():
        batch.validate(full=True)
    for one in made.batches["rejects"].to_pylist() if "rejects" in made.batches else []:
        original: Any = json.loads(one["hit"])
        assert original.get("via", "") in {route.via for route in [*KEPT, *_others()]}


def _others() -> list[Route]:
    return [other for route in KEPT for _, other in (*route.unless, *route.rivals)]
