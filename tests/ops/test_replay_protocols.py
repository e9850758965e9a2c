"""Requests that a processor was too old to read, or refused, are published again as they came: item, text, envelope."""

from __future__ import annotations

import json

import msgspec
import pytest

from services.ops import reconstruct
from services.ops.rejects import Reject
from services.processor.parse import BAD_BODY, Parser
from services.processor.parse import Reject as Refusal
from services.shared import hit, identity, resource_names, schema_file
from services.shared.hit import Hit
from tests.ops import schemas
from tests.ops.conftest import Pipeline
from tests.ops.test_replay import NOW, rejected

UNKNOWN = "this processor does not know the protocol"


def sent(via: str, *, body: bytes = b"", text: str = "", envelope: bytes = b"", index: int = 0) -> Hit:
    return Hit(
        id=identity.uuid7(NOW), at=NOW, method="POST", path="/x", query="v=2", ip="192.0.2.1", via=via, text=text,
        index=index, headers={"user-agent": "é", "ce-id": "1"}, body=msgspec.Raw(body) if body else hit.NO_BODY,
        envelope=msgspec.Raw(envelope) if envelope else hit.NO_BODY,
    )  # fmt: skip


ITEMS = {
    "an object": sent("someday.track", body='{"a":"é\\ud83d\\ude42","n":1e300}'.encode(), envelope=b'{"k":1}', index=3),
    "a text": sent("someday", text="en=a&b=%zz\né", envelope=b'{"uncut":"not JSON","bytes":7}'),
    "nothing": sent("someday"),
    "a string": sent("someday", body=b'"only words"', envelope=b'{"k":1}'),
    "a string that holds JSON": sent("someday", body=b'"42"'),
    "a string of a protocol that is known": sent("segment", body=b'"{}"'),
    "null": sent("segment", body=b"null"),
    "a deep one": sent("someday", body=b"[" * 495 + b"]" * 495),
}  # fmt: skip


@pytest.mark.parametrize("name", ITEMS)
def test_a_reject_of_a_protocol_holds_the_whole_hit(name: str) -> None:
    one = ITEMS[name]
    parser = Parser(schema_file.parse(schemas.text()))
    refused = parser.parse(one, NOW)
    assert isinstance(refused, Refusal)
    assert refused.reason == BAD_BODY
    if one.via.startswith("someday"):
        assert refused.detail == UNKNOWN
    kept = parser.reject_row(one, refused, NOW).values[-1]
    assert json.loads(kept)["via"] == one.via
    found = reconstruct.hit_of(Reject("e", "processor", None, refused.reason, refused.detail, kept, False))
    assert hit.unpack(*hit.pack([found], "a pack")) == [one]


def test_what_an_old_processor_did_not_know_is_published_again(pipeline: Pipeline) -> None:
    hits = [one for one in ITEMS.values() if one.via.startswith("someday")]
    rejected(pipeline, *hits)
    details = pipeline.rows("SELECT DISTINCT reason, detail FROM pixelpipe.rejects")
    assert details == [{"reason": BAD_BODY, "detail": UNKNOWN}]
    done = pipeline.ops("replay", "--reason", BAD_BODY)
    assert done.json == {"found": len(hits), "published": len(hits), "skipped": 0, "failed": 0, "left": 0}
    (message,) = pipeline.topics.pull(resource_names.HITS_SUBSCRIPTION, 1)
    again = hit.unpack(message.data, dict(message.attributes))
    assert {one.id: json.loads(hit.encode(one)) for one in again} == {
        one.id: json.loads(hit.encode(one)) for one in hits
    }
