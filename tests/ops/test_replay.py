from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from services.loader import reject_rows
from services.ops import reconstruct
from services.ops.reconstruct import NotReplayable
from services.ops.rejects import Reject, Rejects, Wanted
from services.processor.parse import Parser
from services.processor.parse import Reject as Refusal
from services.shared import hit, identity, resource_names, rows, schema_file, zstd_frame
from services.shared.hit import Hit
from tests.ops import schemas
from tests.ops.conftest import Pipeline
from tests.ops.schemas import LEAN_REJECTS, NOON

EVENTS = "SELECT COUNT(*) FROM pixelpipe.events"
REJECTS = "SELECT COUNT(*) FROM pixelpipe.rejects"
NOW = time.time_ns() // 1000


def refused(name: str, *, at: int = NOW, body: bytes = b"", query: str | None = None) -> Hit:
    """A hit that a numeric column `n` refuses."""
    text = f"user_id={name}&n=many" if query is None else query
    return Hit(
        identity.uuid7(at),
        at,
        "GET",
        "/i",
        text,
        {"referer": "http://x/ü"},
        "192.0.2.1",
        msgspec.Raw(body) if body else hit.NO_BODY,
    )


def send(pipeline: Pipeline, *hits: Hit) -> None:
    pipeline.topics.publish(
        resource_names.HITS_TOPIC, *hit.pack([hit.encode(one) for one in hits], identity.uuid7(NOW))
    )


def rejected(pipeline: Pipeline, *hits: Hit) -> None:
    """Append what the processor makes of the hits, all of which it refuses, to the rejects."""
    parser = Parser(pipeline.schema)
    arrow = rows.arrow_schema(pipeline.schema.rejects)
    made = []
    for one in hits:
        outcome = parser.parse(one, NOW)
        assert isinstance(outcome, Refusal)
        made.append(parser.reject_row(one, outcome, NOW).values)
    columns = [pa.array(column, field.type) for column, field in zip(zip(*made, strict=True), arrow, strict=True)]
    found = pa.RecordBatch.from_arrays(columns, schema=arrow).to_pylist()
    for row in found:
        row["hit"] = json.loads(row["hit"])
    pipeline.load("rejects", json.loads(json.dumps(found, default=str)))


@pytest.mark.slow
def test_replaying_twice_counts_once(pipeline: Pipeline) -> None:
    """Refused by the schema of today, repaired, replayed, replayed again: each event is in the view once."""
    hits = [refused(f"user-{number}") for number in range(30)]
    own = refused("own", query="user_id=own&n=many&event_id=my-own")
    posted = refused("posted", query="", body='{"user_id": "posted", "n": "ü", "price": [2.5, null]}'.encode())
    good = refused("good", query="user_id=good&n=1")
    with pipeline.services("processor", "loader"):
        send(pipeline, *hits, own, posted, good)
        pipeline.until(REJECTS, 32)
        pipeline.until(EVENTS, 1)
    repaired = schemas.text(number="n_text: {type: STRING, from: param.n}")
    pipeline.provision(repaired.replace("[user_id, n]", "[user_id]"))
    with pipeline.services("processor", "loader"):
        plan = pipeline.ops("replay", "--dry-run").json
        assert (plan["found"], plan["skipped"], plan["to_publish"]) == (32, 0, 32)
        assert plan["rejects"] == [
            {"stage": "processor", "table": "events", "reason": "wrong_type", "rejects": 32, "loaded": 0}
        ]
        done = pipeline.ops("replay")
        assert done.json == {"found": 32, "published": 32, "skipped": 0, "failed": 0, "left": 0}
        assert done.err == ""
        pipeline.until(EVENTS, 33)
        assert pipeline.ops("replay").json == {"found": 32, "published": 0, "skipped": 32, "failed": 0, "left": 0}
        assert pipeline.ops("replay", "--all").json["published"] == 32
        pipeline.until("SELECT COUNT(*) FROM pixelpipe.events_log", 65)
    assert pipeline.number(EVENTS) == 33
    assert pipeline.number(REJECTS) == 32  # they are history
    found = {row["event_id"]: row for row in pipeline.rows("SELECT * FROM pixelpipe.events")}
    assert set(found) == {one.id for one in (*hits, posted, good)} | {"my-own"}
    assert (found[posted.id]["n_text"], found[posted.id]["params"]) == ("ü", {"price": [2.5, None]})
    assert {found[one.id]["n_text"] for one in hits} == {"many"}


def test_an_event_refused_again_stays_one_reject(pipeline: Pipeline) -> None:
    with pipeline.services("processor", "loader"):
        send(pipeline, refused("ada"), refused("bob"))
        pipeline.until(REJECTS, 2)
        assert pipeline.ops("replay").json["published"] == 2
        pipeline.until("SELECT COUNT(*) FROM pixelpipe.rejects_log", 4)
    assert pipeline.number(REJECTS) == 2
    assert pipeline.number(EVENTS) == 0


def test_a_copy_says_nothing_of_the_table_that_refused_the_row_nor_this_of_it(pipeline: Pipeline) -> None:
    copy = schemas.text(table="partition: day\ncopy: true", rejects="").replace("  events:", "  orders:")
    pipeline.provision(copy.removesuffix("views: none\n") + schemas.text().removeprefix("tables:\n"))
    refusals = ("lost", "events"), ("copied", "orders"), ("both", "events")
    for name, stored in (("events", ("copied", "both")), ("orders", ("lost", "both"))):
        pipeline.load(name, [schemas.row(one) for one in stored])
    found_bad = [schemas.row(one, stage="loader", table=table, reason="bigquery") for one, table in refusals]
    pipeline.load("rejects", found_bad)
    found = pipeline.ops("replay", "--dry-run").json
    assert (found["found"], found["skipped"]) == (3, 1)
    assert {(one["table"], one["rejects"], one["loaded"]) for one in found["rejects"]} == {
        ("events", 2, 1), ("orders", 1, 0),
    }  # fmt: skip


def test_rows_the_loader_refused_become_rows_again(pipeline: Pipeline) -> None:
    table = pipeline.schema.tables["events"]
    row = {
        "day": schemas.DAY,
        "event_id": "e1",
        "received_at": NOON,
        "user_id": "zoë",
        "n": 2**53 + 1,
        "params": '{"a": "1.10"}',
    }
    batch = pa.RecordBatch.from_pylist([row, {**row, "event_id": "e2", "n": None}], rows.arrow_schema(table))
    made = reject_rows.build(batch, table, pipeline.schema.rejects, "bigquery", ["no partition"] * 2)
    pipeline.topics.publish(resource_names.ROWS_TOPIC, *rows.pack(made, "rejects", identity.uuid7(NOW)))
    with pipeline.services("loader"):
        pipeline.until(REJECTS, 2)
        assert pipeline.ops("replay", "--stage", "loader", "--table", "events").json["published"] == 2
        pipeline.until(EVENTS, 2)
    found = {one["event_id"]: one for one in pipeline.rows("SELECT * FROM pixelpipe.events")}
    assert found["e1"] == {**row, "params": {"a": "1.10"}}
    assert (found["e2"]["n"], found["e2"]["user_id"]) == (None, "zoë")


def test_only_what_is_asked_for(pipeline: Pipeline) -> None:
    day = 86_400_000_000
    rejected(
        pipeline,
        refused("old", at=NOW - 3 * day),
        refused("new"),
        refused("none", query="user_id=none&event_id=%7B%7D&n=99999999999999999999"),
    )
    by_reason = {
        row["reason"]: row["event_id"] for row in pipeline.rows("SELECT reason, event_id FROM pixelpipe.rejects")
    }
    assert set(by_reason) == {"wrong_type", "out_of_range"}
    since = datetime.fromtimestamp(NOW / 1e6, UTC) - timedelta(days=1)

    def found(**wanted: Any) -> int:
        rejects = Rejects(
            pipeline.client, pipeline.project, "pixelpipe", pipeline.schema, Wanted(**wanted), pending=True
        )
        pages = [reject for page in rejects.pages() for reject in page]
        assert sum(count.rejects for count in rejects.counts()) == len(pages)
        return len(pages)

    assert found() == 3
    assert found(reasons=("out_of_range",)) == 1
    assert found(reasons=("out_of_range", "wrong_type")) == 3
    assert found(since=since) == 2
    assert found(until=since, stages=("processor",), tables=("events",)) == 1
    assert found(event_ids=(by_reason["out_of_range"],), reasons=("wrong_type",)) == 0
    arguments = ("--since", since.isoformat(), "--reason", "wrong_type", "--stage", "processor", "--table", "events")
    assert pipeline.ops("replay", "--dry-run", *arguments).json["found"] == 1
    assert pipeline.ops("replay", "--stage", "loader").json["found"] == 0
    assert "use a time" in pipeline.ops("replay", "--since", "soon", code=2).err


SHOP = "tenant: {type: STRING, from: param.tenant}"
KIND = "type: {type: STRING, from: param.type}"


def test_an_order_of_one_shop_does_not_pass_for_that_of_another(pipeline: Pipeline) -> None:
    """The event of the same number that is in a table is another one, if its tenant or type is."""
    own = schemas.REJECTS.replace("    columns:", f"    columns:\n      {SHOP}\n      {KIND}")
    pipeline.provision(schemas.text(SHOP, KIND, rejects=own))
    at = datetime.fromtimestamp(NOW / 1e6, UTC)
    loaded = {"day": str(at.date()), "event_id": "1001", "received_at": at.isoformat()}
    pipeline.load("events", [{**loaded, "tenant": "a", "type": "order"}, {**loaded, "type": "order"}])
    orders = ("tenant=a&type=order", "tenant=b&type=order", "tenant=a&type=refund", "type=order", "")
    rejected(pipeline, *(refused("", query=f"user_id=u&n=many&event_id=1001&{order}") for order in orders))
    assert pipeline.number(REJECTS) == len(orders)
    counts = pipeline.ops("replay", "--dry-run").json
    assert (counts["found"], counts["skipped"], counts["to_publish"]) == (5, 2, 3)
    assert pipeline.ops("replay").json == {"found": 5, "published": 3, "skipped": 2, "failed": 0, "left": 0}
    (message,) = pipeline.topics.pull(resource_names.HITS_SUBSCRIPTION, 1)
    published = [one.query for one in hit.unpack(message.data, dict(message.attributes))]
    assert sorted(query.partition("1001&")[2] for query in published) == sorted(orders[i] for i in (1, 2, 4))


def test_tables_of_different_keys_are_each_looked_through_by_their_own(pipeline: Pipeline) -> None:
    """A table without tenants holds an event whatever the tenant of its reject."""
    own = schemas.REJECTS.replace("    columns:", f"    columns:\n      {SHOP}\n      {KIND}")
    other = schemas.text(table="partition: day\nwhen: {param.to: other}").partition("  rejects:")[0]
    text = schemas.text(SHOP, KIND, rejects=own)
    pipeline.provision(text.replace("  events:", other.replace("tables:\n  events:", "  other:") + "  events:", 1))
    at = datetime.fromtimestamp(NOW / 1e6, UTC)
    pipeline.load("other", [{"day": str(at.date()), "event_id": "1001", "received_at": at.isoformat()}])
    pipeline.load("events", [{"day": str(at.date()), "event_id": "1002", "received_at": at.isoformat(), "tenant": "a"}])
    for order, skipped in (("1001&tenant=a", 1), ("1002&tenant=a", 2), ("1002&tenant=b", 2), ("1003", 2)):
        rejected(pipeline, refused("", query=f"user_id=u&n=many&event_id={order}"))
        assert pipeline.ops("replay", "--dry-run").json["skipped"] == skipped


def test_no_more_than_the_limit(pipeline: Pipeline) -> None:
    rejected(pipeline, *(refused(f"user-{number}") for number in range(5)))
    assert pipeline.ops("replay", "--dry-run", "--limit", "2").json["to_publish"] == 2
    done = pipeline.ops("replay", "--limit", "2").json
    assert done == {"found": 5, "published": 2, "skipped": 0, "failed": 0, "left": 3}
    (message,) = pipeline.topics.pull(resource_names.HITS_SUBSCRIPTION, 1)
    assert len(hit.unpack(message.data, dict(message.attributes))) == 2


def test_many_rejects_become_few_packs(pipeline: Pipeline) -> None:
    hits = [refused(f"user-{number}") for number in range(2_500)]
    rejected(pipeline, *hits)
    assert pipeline.ops("replay").json["published"] == 2_500
    packs = pipeline.topics.pull(resource_names.HITS_SUBSCRIPTION, 3)
    assert len(packs) == 3
    assert {pack.attributes["replayed"] for pack in packs} == {"rejects"}  # the archive has them already
    again = [one for pack in packs for one in hit.unpack(pack.data, dict(pack.attributes))]
    assert sorted(again, key=lambda one: one.id) == sorted(hits, key=lambda one: one.id)


def test_packs_keep_their_limit_of_bytes(pipeline: Pipeline) -> None:
    hits = [refused(f"user-{number}", query=f"user_id=u&n={number}x&pad={'y' * 30_000}") for number in range(150)]
    rejected(pipeline, *hits)
    assert pipeline.ops("replay").json["published"] == 150
    packs = pipeline.topics.pull(resource_names.HITS_SUBSCRIPTION, 3)
    assert max(len(zstd_frame.decompress(pack.data)) for pack in packs) <= hit.MAX_PACK_BYTES
    assert sum(len(hit.unpack(pack.data, dict(pack.attributes))) for pack in packs) == 150


def test_what_cannot_be_replayed_is_told_and_the_rest_is_published(pipeline: Pipeline) -> None:
    rejected(pipeline, refused("ada"))
    known = {"day": "2026-03-01", "received_at": NOON.isoformat(), "reason": "r"}
    pipeline.load(
        "rejects",
        [
            {**known, "event_id": "lost", "stage": "processor"},
            {**known, "event_id": "gone", "stage": "loader", "table": "sales", "hit": {"day": "2026-03-01"}},
        ],
    )
    done = pipeline.ops("replay", code=1)
    assert done.json == {"found": 3, "published": 1, "skipped": 0, "failed": 2, "left": 0}
    assert "lost: the reject holds no original" in done.err
    assert "gone: the schema file has no table 'sales'" in done.err


def test_nothing_is_counted_as_published_that_pubsub_has_not_confirmed(pipeline: Pipeline) -> None:
    rejected(pipeline, refused("ada"))
    done = pipeline.ops("replay", "--hits-topic", "no-such-topic", code=1)
    assert done.json == {"found": 1, "published": 0, "skipped": 0, "failed": 1, "left": 0}
    assert "not confirmed" in done.err


def test_other_columns_of_rejects_do(bare: Pipeline) -> None:
    bare.provision(schemas.text(rejects=LEAN_REJECTS, table="partition: day\nrequire_partition_filter: true"))
    one = refused("ada")
    rejected(bare, one)
    assert "reject.stage" in bare.ops("replay", "--stage", "loader", code=1).err
    assert bare.ops("replay", "--reason", "wrong_type").json["published"] == 1
    (message,) = bare.topics.pull(resource_names.HITS_SUBSCRIPTION, 1)
    assert hit.unpack(message.data, dict(message.attributes)) == [one]


def test_a_dataset_that_is_not_there_is_a_line(bare: Pipeline) -> None:
    bare.file.write_text(schemas.text())
    failed = bare.ops("replay", code=1)
    assert len(failed.err.splitlines()) == 1 and "pixelpipe" in failed.err
    bare.file.write_text("tables: 7")
    assert "schema.yaml:1" in bare.ops("replay", code=2).err


SCHEMA = schema_file.parse(
    schemas.text(
        "f: {type: FLOAT64, from: param.f}",
        "ok: {type: BOOL, from: param.ok}",
        "amount: {type: NUMERIC, from: param.amount}",
        "at: {type: TIMESTAMP, from: param.at}",
    )
)


def of_processor(one: Hit, reason: str = "") -> Reject:
    """The reject that the parser makes of a hit, its JSON as BigQuery gives it back."""
    parser = Parser(SCHEMA)
    outcome = parser.parse(one, NOW)
    assert isinstance(outcome, Refusal)
    assert not reason or outcome.reason == reason
    values = parser.reject_row(one, outcome, NOW).values
    fields = dict(zip([column.name for column in SCHEMA.rejects.columns], values, strict=True))
    return Reject(
        fields["event_id"], fields["stage"], fields["table"], fields["reason"], fields["detail"], fields["hit"], False
    )


def again(one: Hit, reason: str = "") -> Hit:
    line = reconstruct.hit_of(of_processor(one, reason))
    (found,) = hit.unpack(*hit.pack([line], "pack"))
    return found


def test_a_hit_comes_back_as_it_was() -> None:
    for one in (
        refused("ada"),
        refused("zoë", query="n=x&a=%zz&b=\u20ac&b="),
        refused("posted", body=b'{"n": "x", "deep": [[[1.10]]]}'),
        refused("list", body=b"[1, 2]"),
        refused("text", body=b'"a text with \\"{}\\" in it"'),
        refused("twice encoded", body=b'"{\\"user_id\\": 1}"'),
    ):
        assert again(one) == one


def test_a_body_that_the_processor_took_for_no_json_comes_back() -> None:
    deep = b'{"a":' * 200_000 + b"1" + b"}" * 200_000  # more than any Python reads
    with pytest.raises(NotReplayable, match="never JSON"):
        reconstruct.hit_of(of_processor(refused("deep", body=deep), "bad_body"))
    latin = refused("latin", body=b'{"a":"\xfc"}')
    assert bytes(again(latin, "bad_body").body).decode() == '{"a":"ü"}'


def of_loader(**values: Any) -> Reject:
    table = SCHEMA.tables["events"]
    full = {"day": schemas.DAY, "event_id": "e1", "received_at": NOON, **values}
    batch = pa.RecordBatch.from_pylist([full], rows.arrow_schema(table))
    (made,) = reject_rows.build(batch, table, SCHEMA.rejects, "bigquery", ["why"]).to_pylist()
    return Reject("e1", made["stage"], made["table"], made["reason"], made["detail"], made["hit"], False)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"n": -(2**63), "f": 1.5e300, "ok": False, "user_id": "x" * 300},
        {"f": float("inf"), "params": '{"a": 1.10}', "amount": pa.scalar(None)},
        {"f": float("-inf"), "at": NOON},
    ],
)
def test_a_row_comes_back_as_it_was(values: dict[str, Any]) -> None:
    values = {name: None if isinstance(value, pa.Scalar) else value for name, value in values.items()}
    table, batch = reconstruct.row_of(of_loader(**values), SCHEMA)
    assert table == "events"
    assert batch.schema.equals(rows.arrow_schema(SCHEMA.tables["events"]))
    (row,) = batch.to_pylist()
    assert {name: value for name, value in row.items() if value is not None} == {
        "day": schemas.DAY,
        "event_id": "e1",
        "received_at": NOON,
        **{name: value for name, value in values.items() if value is not None},
    }


def test_a_row_that_is_not_the_original_any_more_is_refused() -> None:
    for reject, why in (
        (of_loader(user_id="x" * 2_000_000), "seems to be cut"),
        (Reject("e", "loader", "events", "r", None, '{"day": "2026-03-01"}', False), "event_id is REQUIRED"),
        (Reject("e", "loader", "events", "r", None, '{"old": 1}', False), "no column 'old'"),
        (Reject("e", "loader", "rejects", "r", None, "{}", False), "no table"),
        (Reject("e", "loader", "events", "r", None, "[]", False), "not a JSON object"),
        (Reject("e", "loader", "events", "r", None, "null", False), "no original"),
    ):
        with pytest.raises(NotReplayable, match=why):
            reconstruct.row_of(reject, SCHEMA)
    with pytest.raises(NotReplayable, match="at: "):
        reconstruct.row_of(of_loader(at=pa.scalar(9_000_000_000_000_000_000, pa.timestamp("us", "UTC"))), SCHEMA)


def test_a_hit_that_would_poison_its_pack_is_refused() -> None:
    for text in ('{"id": "x"}', "7", '{"id": "x", "at": "noon", "method": "GET", "path": "/"}'):
        with pytest.raises(NotReplayable, match="cannot be read"):
            reconstruct.hit_of(Reject("e", "processor", None, "r", None, text, False))
