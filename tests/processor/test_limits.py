"""Values at the limits of Python, JSON and BigQuery, from a pack to Arrow: each costs its own hit at most."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.processor.metrics import Metrics
from services.processor.partition import DAY_US
from services.processor.worker import Topics, Worker
from services.shared import hit, identity, rows, schema_file
from services.shared.hit import Hit
from tests.deliveries import handled
from tests.processor.test_enrichment import ENRICHED
from tests.processor.test_worker import _counted, _now

PARTITIONED = ENRICHED.replace(
    "  events:\n    partition: day",
    "  by_day:\n    when: {param.by: day}\n    partition: d\n    columns:\n"
    + (needed := ENRICHED[ENRICHED.index("      day:") : ENRICHED.index("      x:")])
    + "      d: {type: DATE, mode: REQUIRED, from: param.d}\n"
    "  by_time:\n    when: {param.by: time}\n    partition: t\n    columns:\n"
    + needed
    + "      t: {type: TIMESTAMP, mode: REQUIRED, from: param.t}\n"
    "  events:\n    partition: day",
)
TABLES = schema_file.parse(PARTITIONED)
COLUMNS = ("n", "f", "b", "t", "d", "m", "j", "event_id", "type", "by", "other", "url", "referrer", "utm_source", "")

NUMBERS = [
    *("9" * 5000, "-" + "9" * 5000, "9" * 4300, "-0", "9223372036854775808"),
    *(f"{digits}{e}{exponent}" for digits in ("1", "-1.5", "0") for e in ("e", "E-") for exponent in ("9" * 10, "400")),
    *("1e" + "9" * 5000, "0." + "0" * 5000 + "1", "1." + "9" * 5000, "9" * 29 + ".9999999999", "3.3000000000000003"),
    *("1732800000.1234567", "1.7328e9", "1732800000000.1e-999999999", "9999999999999999", "99999999999999999999"),
]
TEXTS = [
    *("0" * 5000, "0" * 5000 + "1", "-" + "0" * 5000 + "1", "0" * 5000 + ".5", "1e" + "0" * 5000),
    *(
        "",
        " ",
        "\0",
        "\ufeff",
        "\U0010ffff",
        "a" * 100_000,
        "%",
        "%zz",
        "%ud83d",
        "\\ud83d",
        "\\",
        '"',
        "+",
        "&&",
        "==",
    ),
    *("null", "true", "NaN", "Infinity", "[]", "{}", "[" * 400 + "]" * 400, "[" * 5000, '{"":' * 400 + "1" + "}" * 400),
    *("0000-01-01", "10013-01-01", "9999-12-31", "2026-02-30", "+010013-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"),
    *("9999-12-31T23:59:59.9999999Z", "1970-01-01T00:00:00Z", "2026-01-01T00:00:00." + "9" * 5000 + "Z"),
    *("day", "time", "http://[::1", "http://" + "a." * 5000, "//" * 5000, "ff" * 24 + "-7", "\U0001f600" * 1000),
    identity.uuid7(2**62),
]
JSON = [
    *NUMBERS,
    *("null", "true", "[]", "{}", '""', "[" * 400 + "]" * 400, "[" * 489 + "]" * 489, '{"":' * 400 + "1" + "}" * 400),
    *('"\\u0000"', '"\\ud83d\\ude00"', '"\\uffff"', "[" + "[]," * 1000 + "{}]", "[" + "9" * 5000 + "]"),
    *(msgspec.json.encode(text).decode() for text in TEXTS),
]


class _Kept:
    """Keeps what is published: rows by topic and table."""

    def __init__(self) -> None:
        self.topics: Counter[str] = Counter()
        self.batches: list[tuple[str, pa.RecordBatch]] = []

    async def publish(self, topic: str, data: bytes, attributes: dict[str, str]) -> str:
        self.topics[topic] += 1
        if topic == "rows":
            batch = rows.unpack(data, attributes)
            batch.validate(full=True)
            self.batches.append((attributes["table"], batch))
        return ""


def _neighbours_live(hits: list[Hit]) -> None:
    """Each of the hits is a row or a reject with a reason that was foreseen, and one among them that is good a row."""
    now = _now()
    good = Hit("good", now, "GET", "/i", "n=42&f=1.5")
    lines = [hit.encode(one) for one in (*hits, good)]
    kept, _ = _taken(*hit.pack(lines, identity.uuid7(now)))
    assert set(kept.topics) == {"rows"}
    assert sum(batch.num_rows for _, batch in kept.batches) == len(lines)
    assert (
        sum("good" in batch.column("event_id").to_pylist() for table, batch in kept.batches if table == "events") == 1
    )


def _taken(data: bytes, attributes: dict[str, str]) -> tuple[_Kept, CollectorRegistry]:
    """What was published of a message, which is acknowledged, and what was counted."""
    publisher: Any = (kept := _Kept())
    registry = CollectorRegistry()
    worker = Worker(TABLES, publisher, Topics("rows", "dead"), Metrics(registry, TABLES.tables), max_bytes=10**9)
    assert asyncio.run(handled(worker, (data, attributes))) == ["ack"]
    return kept, registry


def _handled(data: bytes, attributes: dict[str, str]) -> _Kept:
    """What became of a message: it is acknowledged, met no fault, and its rows are ones that BigQuery takes."""
    kept, registry = _taken(data, attributes)
    assert _counted(registry, "rejects").keys() <= {("missing",), ("wrong_type",), ("out_of_range",), ("bad_body",)}
    today = _now() // DAY_US
    for table, batch in kept.batches:
        days = batch.column(TABLES.tables[table].partition).cast(pa.timestamp("us")).cast(pa.int64()).to_pylist()
        assert all(today - 5 * 365 <= us // DAY_US <= today + 365 for us in days if us is not None), table
    return kept


def _hit(query: str = "", body: str = "", **fields: Any) -> Hit:
    raw = msgspec.Raw(body.encode()) if body else hit.NO_BODY
    return Hit(
        **{"id": identity.uuid7(_now()), "at": _now(), "method": "GET", "path": "/i", **fields}, query=query, body=raw
    )


@pytest.mark.parametrize("column", COLUMNS)
def test_in_a_query_string(column: str) -> None:
    kind = {"d": "by=day&", "t": "by=time&"}.get(column, "")
    values = (*TEXTS, *NUMBERS, *(quote(text) for text in TEXTS))
    _neighbours_live([_hit(f"{before}{column}={value}") for value in values for before in {"", kind}])


@pytest.mark.parametrize("column", COLUMNS)
def test_in_a_body(column: str) -> None:
    kind = {"d": '"by":"day",', "t": '"by":"time",'}.get(column, "")
    _neighbours_live([_hit(body=f'{{{before}"{column}":{value}}}') for value in JSON for before in {"", kind}])


def test_as_the_body_itself() -> None:
    _neighbours_live([_hit(body=value) for value in JSON])


@pytest.mark.parametrize("name", ["id", "method", "path", "ip"])
def test_in_a_field_of_the_hit(name: str) -> None:
    _neighbours_live([_hit(**{name: text}) for text in TEXTS])


def test_in_a_header() -> None:
    names = ("user-agent", "referer", "x-client-geo-location", "x-position", "")
    _neighbours_live([_hit(headers={name: text}) for name in names for text in TEXTS])


@pytest.mark.parametrize("at", [-62_135_596_800_000_000, -1, 0, 1, 2**53, 253_402_300_799_999_999])
def test_as_the_time_of_receipt(at: int) -> None:
    _neighbours_live([_hit(at=at), _hit(at=at, id=identity.uuid7(at))])


@pytest.mark.parametrize("name", ["requestUrl", "requestMethod", "userAgent", "referer", "remoteIp", "status"])
def test_in_a_request_of_a_log_entry(name: str) -> None:
    members = [*(f'"{name}":{value}' for value in JSON), '"requestUrl":"/i?n=42"']
    time = datetime.now(UTC).isoformat()
    parts = [f'{{"timestamp":"{time}","httpRequest":{{"requestUrl":"/i",{member}}}}}' for member in members]
    kept = _handled(f"[{','.join(parts)}]".encode(), {})
    assert any(42 in batch.column("n").to_pylist() for table, batch in kept.batches if table == "events")


@pytest.mark.parametrize("name", ["timestamp", "insertId", "logName", "resource"])
def test_in_a_log_entry(name: str) -> None:
    parts = [f'{{"httpRequest":{{"requestUrl":"/i"}},"{name}":{value}}}' for value in JSON]
    kept = _handled(f"[{','.join(parts)}]".encode(), {})
    texts = sum(value.startswith('"') for value in JSON)
    found = sum(batch.num_rows for _, batch in kept.batches)
    assert found + kept.topics["dead"] == len(parts)
    assert found >= texts


PAIRS = st.tuples(st.sampled_from(COLUMNS), st.sampled_from([*TEXTS, *NUMBERS]))
MEMBERS = st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from(JSON), max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(PAIRS, max_size=6), st.none() | MEMBERS), max_size=10))
def test_together(hits: list[tuple[list[tuple[str, str]], dict[str, str] | None]]) -> None:
    _neighbours_live(
        [
            _hit(
                "&".join(f"{name}={value}" for name, value in pairs),
                "" if members is None else "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}",
            )
            for pairs, members in hits
        ]
    )
