"""`pixelpipe reconcile`, and the view it asks: what was acknowledged against what arrived, by hour and protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from services.provision import reconciliation
from services.shared import hit, identity, rows, tally_rows
from services.shared.hit import Hit
from services.shared.tally import HOUR_US
from services.shared.tally_table import TABLE
from tests.emulators.bigquery import oracle
from tests.ops.conftest import AN_HOUR, DEAD_SUBSCRIPTION, WAIT, Done, Pipeline, within_one
from tests.process import ROOT
from tests.waiting import until

HOUR = (datetime.now(UTC) - timedelta(hours=10)).replace(minute=0, second=0, microsecond=0)


def reconcile(pipeline: Pipeline, *arguments: str, code: int = 0) -> Done:
    return pipeline.ops("reconcile", "--subscription", DEAD_SUBSCRIPTION, *WAIT, "--json", *arguments, code=code)


def tally(id: str, outcome: str, hits: int, **others: Any) -> dict[str, Any]:
    """A row of tallies_log, of HOUR unless `others` say more."""
    source = "collector" if outcome in ("acknowledged", "dropped", "refused") else "loader"
    hour = others.pop("hour", HOUR)
    row = {
        "day": hour.date().isoformat(),
        "tally_id": id,
        "received_at": (hour + timedelta(minutes=5)).isoformat(),
        "source": source,
        "sequence": 1,
        "final": False,
        "hour": hour.isoformat(),
        "protocol": "native",
        "outcome": outcome,
        "hits": hits,
    }
    return row | others


def last(id: str, hour: datetime = HOUR) -> dict[str, Any]:
    """A collector's last tally, without hits."""
    at = (hour + timedelta(minutes=50)).isoformat()
    return tally(id, "acknowledged", 0, final=True, sequence=99, hour=hour, received_at=at) | {
        "hour": None,
        "outcome": None,
        "protocol": None,
    }


def test_the_view_is_googlesql() -> None:
    table = oracle.Table("p.d.tallies_log", {column.name: column.type for column in TABLE.columns})
    oracle.oracle().analyze(reconciliation.sql("p", "d"), [table])


def test_totals_of_all_collectors_and_first_receipts_count_once(pipeline: Pipeline) -> None:
    later = (HOUR + timedelta(hours=2)).isoformat()
    told = [
        tally("a", "acknowledged", 5),
        tally("a", "acknowledged", 8, sequence=2),
        tally("a", "acknowledged", 8, sequence=2),  # delivered twice
        tally("a", "acknowledged", 3, protocol="segment", tenant="shop"),
        tally("a", "dropped", 2),
        tally("a", "refused", 1),
        tally("b", "acknowledged", 4),  # another collector, or the same after a restart
        last("a"),
        last("b"),
        tally("p1", "loaded", 9),
        tally("p1", "loaded", 8, received_at=later),  # loaded again, when a new schema file made a reject of one
        tally("p1", "rejected", 1, received_at=later),
        tally("p2", "loaded", 1, received_at=later),  # waited two hours in a spool
        tally("p3", "rejected", 2),
        tally("p4", "loaded", 3, protocol="segment"),
        tally("p5", "ingested", 7),
    ]
    pipeline.load("tallies", told)
    report = reconcile(pipeline, "--since", HOUR.isoformat()).json
    native, segment = report["hours"]
    rest = ("in_flight", "difference", "unfinished_collectors", "dead_lettered", "sampled_out")
    nothing = dict.fromkeys(rest, 0)
    assert native == nothing | {
        "hour": HOUR.isoformat().replace("+00:00", "Z"),
        "protocol": "native",
        "acknowledged": 12,
        "loaded": 10,
        "rejected": 2,
        "dropped": 2,
        "refused": 1,
        "ingested": 7,
    }
    assert (segment["protocol"], segment["acknowledged"], segment["loaded"]) == ("segment", 3, 3)
    assert report["text"].startswith(f"pixelpipe since {native['hour']}: nothing is missing as of ")
    assert "(15 acknowledged, " in report["text"]


def test_what_is_missing_is_named_and_the_exit_code_says_so(pipeline: Pipeline) -> None:
    surplus = HOUR + timedelta(hours=1)
    pipeline.load(
        "tallies",
        [
            tally("a", "acknowledged", 5),
            tally("a", "acknowledged", 5, protocol="segment"),
            last("a"),
            tally("p1", "loaded", 3),
            tally("p2", "loaded", 7, protocol="segment"),  # a surplus there does not hide what is missing here
            tally("killed", "acknowledged", 4, hour=surplus, received_at=(surplus + timedelta(minutes=59)).isoformat()),
            tally("p3", "loaded", 6, hour=surplus),
            tally("p4", "loaded", 1, hour=surplus + timedelta(hours=1)),
        ],
    )
    report = reconcile(pipeline, "--since", HOUR.isoformat(), code=1).json
    first = HOUR.isoformat().replace("+00:00", "Z")
    assert report["missing"] == 2
    assert report["missing_by_hour"] == [{"hour": first, "hits": 2, "collectors": ["a"]}]
    assert [one["difference"] for one in report["hours"]] == [2, -2, -2, -1]
    # Killed a minute before the hour: what it had not told may be of the next.
    assert [one["unfinished_collectors"] for one in report["hours"]] == [0, 0, 1, 1]
    text = pipeline.ops("reconcile", "--no-dead", "--since", HOUR.isoformat(), code=1).out
    assert f"{first}: 2 missing, of collectors a" in text
    assert "2 hits are missing" in text.splitlines()[-1]


def test_what_anyone_may_have_written_controls_no_terminal(pipeline: Pipeline) -> None:
    """Whoever may publish can make a tally."""
    told = tally("\x1b]0;id\x07", "acknowledged", 5, protocol="\x1b[31mred\nline")
    pipeline.load("tallies", [told])
    text = pipeline.ops("reconcile", "--no-dead", "--since", HOUR.isoformat(), code=1).out
    assert "\\x1b[31mred\\nline" in text and "5 missing, of collectors \\x1b]0;id\\x07" in text
    assert text.replace("\n", "").isprintable()


def test_an_hour_that_has_just_ended_is_in_flight(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    told = tally("a", "acknowledged", 5, hour=hour, received_at=now.isoformat())
    pipeline.load("tallies", [told, tally("p", "loaded", 3, hour=hour)])
    (found,) = reconcile(pipeline).json["hours"]
    assert (found["in_flight"], found["difference"]) == (2, 0)


def test_it_says_until_when_it_can_tell(pipeline: Pipeline) -> None:
    """Tallies go the way of the hits: where that is blocked, the tables know of neither."""
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    heard = now - timedelta(minutes=20)

    def asked(code: int) -> dict[str, Any]:
        done = pipeline.ops("reconcile", "--no-dead", "--json", code=code)
        return dict(done.json)

    found = asked(1)
    assert (found["as_of"], found["stale"], found["missing"]) == (None, True, 0)
    assert "no collector has told its counts" in found["text"]
    told = tally("a", "acknowledged", 5, hour=hour, received_at=heard.isoformat())
    other = tally("b", "acknowledged", 7, hour=hour, received_at=heard.isoformat(), protocol="segment")
    before = heard.replace(minute=0, second=0, microsecond=0)  # the same hour, or the one before
    then = tally("b", "acknowledged", 1, hour=before, received_at=heard.isoformat(), protocol="mixpanel")
    arrived = [tally("p", "loaded", 8, hour=hour), tally("q", "loaded", 1, hour=before, protocol="mixpanel")]
    pipeline.load("tallies", [told, other, then, *arrived])
    found = asked(1)
    assert datetime.fromisoformat(found["as_of"]) == heard and found["stale"]
    assert "what happened since" in found["text"] and "nothing is missing" not in found["text"]
    assert "collectors ended without their last tally" in found["text"]
    # What arrived before its tally hides none of what waits.
    assert (found["sums"]["in_flight"], found["sums"]["untold"]) == (7, 3)
    pipeline.load("tallies", [told | {"received_at": now.isoformat(), "sequence": 2, "hits": 8}])
    found = asked(0)
    assert datetime.fromisoformat(found["as_of"]) == now and not found["stale"]
    assert f"nothing is known to be missing as of {now:%Y-%m-%d %H:%M}" in found["text"]
    assert (found["sums"]["in_flight"], found["sums"]["untold"]) == (7, 0)


def test_dead_letters_are_counted_readable_or_not(pipeline: Pipeline) -> None:
    at = int(HOUR.timestamp() * 1e6) + 5
    lines = [
        hit.encode(Hit(identity.uuid7(at), at + n, "GET", "/i", via=via)) for n, via in enumerate(("", "segment.t"))
    ]
    data, attributes = hit.pack(lines, identity.uuid7(at))
    first = pipeline.bury(data, attributes | {"dead_reason": "a bug"})
    damaged, attributes = hit.pack(lines, identity.uuid7(at))
    pipeline.bury(damaged[:-4], attributes)
    replayed, attributes = hit.pack(lines, identity.uuid7(at))
    pipeline.bury(replayed, attributes | {hit.REPLAYED: hit.FROM_REJECTS})  # was counted when it was rejected
    pipeline.load(
        "tallies", [tally("a", "acknowledged", 3), tally("a", "acknowledged", 1, protocol="segment"), last("a")]
    )
    report = reconcile(pipeline).json
    assert [(one["protocol"], one["dead_lettered"], one["difference"]) for one in report["hours"]] == [
        (None, 2, -2),
        ("native", 1, 2),
        ("segment", 1, 0),
    ]
    assert report["dead_letters"]["hits"] == 4 and len(report["dead_letters"]["first_event_ids"]) == 2
    pipeline.dead("drop", first, "--yes")
    report = reconcile(pipeline, code=1).json
    assert report["missing"] == 2  # one native hit and one of segment are gone for good


def test_no_dead_letter_can_stop_the_count(pipeline: Pipeline) -> None:
    """Of an hour that no TIMESTAMP has: a pack's id is what its sender made it."""
    now = datetime.now(UTC)
    pipeline.bury(b"odd", {"schema": hit.SCHEMA, "pack": "ffffffff-ffff-7fff-bfff-ffffffffffff", "count": "2"})
    (group,) = pipeline.dead("count").json["counts"]
    assert (group["protocol"], group["hits"]) == (None, 2)
    assert abs(datetime.fromisoformat(group["hour"]) - now) < timedelta(hours=2)


def test_dead_rows_are_counted_and_named_by_ids_that_name_nobody(pipeline: Pipeline) -> None:
    """`dead count` writes the count that the view has from then on."""
    at = int(HOUR.timestamp() * 1e6)
    made, own = identity.uuid7(at), {"day": HOUR.date(), "received_at": HOUR}
    batch = pa.RecordBatch.from_pylist(
        [{**own, "event_id": made}, {**own, "event_id": "ada@example.com"}],
        rows.arrow_schema(pipeline.schema.tables["events"]),
    )
    batch = tally_rows.mark(batch, [(at // HOUR_US, "native")] * 2, identity.uuid7(at), collected=True)
    pipeline.bury(*rows.pack(batch, "events", identity.uuid7(at)))
    pipeline.load("tallies", [tally("a", "acknowledged", 2), last("a")])
    missing = pipeline.ops("reconcile", "--no-dead", "--since", HOUR.isoformat(), "--json", code=1).json
    assert missing["missing"] == 2
    counted = pipeline.dead("count").json
    (group,) = counted["counts"]
    assert (counted["hits"], group["protocol"], group["hits"]) == (2, "native", 2)
    assert datetime.fromisoformat(group["hour"]) == HOUR
    assert counted["first_event_ids"] == [made]
    after = pipeline.ops("reconcile", "--no-dead", "--since", HOUR.isoformat(), "--json").json
    assert (after["missing"], after["sums"]["dead_lettered"]) == (0, 2)
    report = reconcile(pipeline, "--since", HOUR.isoformat())
    assert report.json["dead_letters"] == {"hits": 2, "hits_before": 2, "first_event_ids": [made]}
    assert "ada@" not in report.out


def test_without_the_table_it_says_what_to_do(bare: Pipeline) -> None:
    bare.file.write_text("tables: {}\n")
    done = bare.ops("reconcile", "--no-dead", code=1)
    assert done.err.startswith("reconcile: ")
    assert len(done.err.splitlines()) == 1


async def test_what_is_sent_arrives_and_is_counted_by_protocol(pipeline: Pipeline) -> None:
    segment = json.dumps({"type": "track", "event": "buy", "userId": "u", "tally": {"id": "x", "source": "collector"}})
    within_one(AN_HOUR)
    with pipeline.services("processor", "loader"):
        with pipeline.collector() as url:
            for number in (1, 2, 2):  # the sender's repeat is acknowledged and loaded, and one event of the view
                _get(f"{url}/pixel.gif?user_id=u{number}&type=view&event_id=e{number}")
            _get(f"{url}/pixel.gif?user_id=u&n=many")  # a reject
            assert _post(f"{url}/v1/track", segment) == 200
            assert _post(f"{url}/tally", segment) == 404

        async def closed() -> bool:
            sql = "SELECT IFNULL(SUM(acknowledged), 0) + 1000 * IFNULL(SUM(in_flight), 9) FROM pixelpipe.reconciliation"
            return bool(pipeline.number(sql) == 5)

        await until(closed, "the tallies to close", 60)
    report = reconcile(pipeline).json
    assert report["sums"]["loaded"] + report["sums"]["rejected"] == report["sums"]["acknowledged"] == 5
    assert {one["protocol"]: one["acknowledged"] for one in report["hours"]} == {"native": 4, "segment": 1}
    # A first and a last one: nothing a stranger sends becomes one, and none of them is a hit.
    assert pipeline.number("SELECT COUNT(DISTINCT tally_id) FROM pixelpipe.tallies WHERE source = 'collector'") == 1
    assert pipeline.number("SELECT COUNT(*) FROM pixelpipe.tallies WHERE final") >= 1
    hours = pipeline.rows("SELECT DISTINCT hour FROM pixelpipe.tallies WHERE hour IS NOT NULL")
    now = time.time_ns() // 1000
    assert all(now // HOUR_US - one["hour"].timestamp() // 3600 <= 1 for one in hours)


def _get(url: str) -> None:
    with urllib.request.urlopen(url, timeout=20) as reply:
        assert reply.status == 200


def _post(url: str, body: str) -> int:
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_clock_of_whoever_counts_dead_letters_decides_nothing(pipeline: Pipeline) -> None:
    """A count from the future would have held until then, whatever was replayed or dropped."""
    at = int(HOUR.timestamp() * 1e6)
    lines = [hit.encode(Hit(identity.uuid7(at), at, "GET", "/i"))]
    letter = pipeline.bury(*hit.pack(lines, identity.uuid7(at)))
    pipeline.load("tallies", [tally("a", "acknowledged", 1), last("a")])
    script = """
import datetime, sys
class Ahead(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(days=3)
datetime.datetime = Ahead
from services.ops.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
    command = [
        sys.executable,
        "-c",
        script,
        "reconcile",
        "--subscription",
        DEAD_SUBSCRIPTION,
        *WAIT,
        "--json",
    ]
    env = {**os.environ, **pipeline.env, "PIPE_PROJECT": pipeline.project, "PIPE_SCHEMA": str(pipeline.file)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout)
    assert (found["sums"]["dead_lettered"], found["missing"], found["sums"]["acknowledged"]) == (1, 0, 1)
    pipeline.dead("drop", letter, "--yes")
    assert reconcile(pipeline, code=1).json["missing"] == 1


def test_a_collector_whose_clock_is_ahead_does_not_speak_for_the_others(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    heard, ahead = now - timedelta(minutes=40), now + timedelta(hours=20)
    pipeline.load(
        "tallies",
        [tally(name, "acknowledged", 1, received_at=at.isoformat()) for name, at in (("a", heard), ("b", ahead))],
    )
    found = pipeline.ops("reconcile", "--no-dead", "--json", code=1).json
    assert (datetime.fromisoformat(found["as_of"]), found["stale"]) == (heard, True)


def test_where_more_arrived_than_was_told_it_does_not_swear(pipeline: Pipeline) -> None:
    """As many missing hits would not show, nor what a killed collector took with its spool."""
    now = datetime.now(UTC)
    arguments = ("--no-dead", "--since", HOUR.isoformat())
    heard = tally("b", "acknowledged", 1, hour=now, received_at=now.isoformat())
    pipeline.load("tallies", [tally("a", "acknowledged", 3), tally("p", "loaded", 5), heard, last("a")])
    found = pipeline.ops("reconcile", "--json", *arguments).json
    assert (found["missing"], found["sums"]["surplus"]) == (0, 2)
    assert "nothing is known to be missing as of " in found["text"]
    assert "2 more arrived than were acknowledged" in found["text"]
    other = HOUR + timedelta(hours=1)
    pipeline.load("tallies", [tally("c", "acknowledged", 1, hour=other, received_at=other.isoformat())])
    pipeline.load("tallies", [tally("a", "acknowledged", 5, sequence=2), tally("q", "loaded", 1, hour=other)])
    found = pipeline.ops("reconcile", "--json", *arguments).json
    assert (found["sums"]["surplus"], found["unfinished_collectors"]) == (0, 1)
    assert "nothing is known to be missing as of " in found["text"] and "more arrived" not in found["text"]


def test_dead_letters_that_somebody_holds_are_thought_of(pipeline: Pipeline) -> None:
    """They are delivered again after up to ten minutes, and missing until then."""
    at = int(HOUR.timestamp() * 1e6)
    pipeline.bury(*hit.pack([hit.encode(Hit(identity.uuid7(at), at, "GET", "/i"))] * 2, identity.uuid7(at)))
    pipeline.load("tallies", [tally("a", "acknowledged", 2), last("a")])
    assert reconcile(pipeline).json["dead_letters"]["hits"] == 2
    pipeline.left(1)  # as if somebody held it
    arguments = ("reconcile", "--subscription", DEAD_SUBSCRIPTION, *WAIT, "--since", HOUR.isoformat())
    said = pipeline.ops(*arguments, code=1).out
    assert "2 hits are missing" in said
    assert "dead letters hold 2 hits fewer than when they were last counted" in said
