"""`python -m services.ops cost`: the model is held to the wire formats, the chart, the collector and docs/cost.md."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import socket
from dataclasses import asdict
from typing import Any
from urllib.parse import urlencode, urlsplit

import pyarrow as pa
import pytest
import yaml

from services.ops import cost, load, prices
from services.ops.__main__ import main
from services.processor.parse import Parser, Row
from services.shared import hit, identity, rows
from services.shared.hit import Hit
from tests.ops.conftest import Pipeline
from tests.process import ROOT
from tests.schemas import SCHEMA

NOW = 1_790_000_000_000_000
AGENTS = [
    f"Mozilla/5.0 ({machine}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
    for machine in ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "Linux; Android 14; Pixel 8")
    for version in range(120, 131)
]


def command(*arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["cost", *arguments]) == 0
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def hits(count: int) -> list[Hit]:
    """What `load` fires, with a browser's headers."""
    chosen = random.Random(7)
    return [
        Hit(
            identity.uuid7(NOW + 1000 * number),
            NOW + 1000 * number,
            "GET",
            "/pixel.gif",
            urlencode(event.parameters),
            {
                "user-agent": chosen.choice(AGENTS),
                "referer": "https://shop.example.com/products/",
                "accept-language": "en-GB,en;q=0.9",
                "host": "track.example.com",
            },
            ".".join(str(chosen.randrange(256)) for _ in range(4)),
        )
        for number, event in enumerate(load.make(count, 0, 0))
    ]


def message_bytes(packed: tuple[bytes, dict[str, str]]) -> int:
    """As Pub/Sub counts one: data, attributes, the time and an id of 16 digits."""
    data, attributes = packed
    return len(data) + sum(len(key) + len(value) for key, value in attributes.items()) + 20 + 16


@pytest.mark.parametrize("count", [1, 2, 6, 26, 100, 1_000])
def test_packs_are_as_large_as_the_model_says(count: int) -> None:
    table = SCHEMA.tables["events"]
    parser, arrow = Parser(SCHEMA), rows.arrow_schema(table)
    made = hits(count)
    lines = [hit.encode(one) for one in made]
    event_bytes = sum(map(len, lines)) / count
    assert event_bytes == pytest.approx(cost.EVENT_BYTES, rel=0.05)
    found = message_bytes(hit.pack(lines, identity.uuid7(NOW)))
    assert cost.hits_pack_bytes(count, event_bytes) == pytest.approx(found, rel=0.2)

    parsed = [parser.parse(one, NOW) for one in made]
    values = [one.values for one in parsed if isinstance(one, Row)]
    assert len(values) == count
    columns = [pa.array(column, field.type) for column, field in zip(zip(*values, strict=True), arrow, strict=True)]
    batch = pa.RecordBatch.from_arrays(columns, schema=arrow)
    found = message_bytes(rows.pack(batch, "events", identity.uuid7(NOW)))
    assert cost.rows_pack_bytes(count, event_bytes) == pytest.approx(found, rel=0.2)
    assert batch.nbytes / count == pytest.approx(cost.STORED * event_bytes, rel=0.2)


def test_a_reply_is_no_larger_than_the_model_says(pipeline: Pipeline) -> None:
    with pipeline.collector() as url:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(b"GET /pixel.gif?user_id=ada HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            reply = b"".join(iter(lambda: connection.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert 0.7 * cost.REPLY_BYTES <= len(reply) <= cost.REPLY_BYTES


def test_pods_are_those_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "charts" / "pixelpipe" / "values.yaml").read_text())
    for name, pods in cost.PODS.items():
        requests, scaling = values[name]["resources"]["requests"], values[name]["autoscaling"]
        assert requests == {"cpu": f"{pods.cpu * 1000:.0f}m", "memory": f"{pods.gib * 1024:.0f}Mi"}
        assert (scaling["min"], scaling["cpu"]) == (pods.fewest, round(pods.target * 100))


def test_a_bill_by_hand() -> None:
    """Ten hits a second and hardly any linger: a pack is a hit, and every request is Pub/Sub's smallest."""
    bill = cost.estimate(10, event_bytes=500, linger_seconds=1e-9)
    month = 10 * 730 * 3600
    assert bill.pubsub == pytest.approx((month * 4 * 1000 - 10 * 2**30) / 2**40 * 40)
    assert (bill.bigquery_write, bill.bigquery_storage, bill.cluster) == (0, 0, 0)
    assert bill.load_balancer == pytest.approx(0.025 * 730 + month * 1300 / 2**30 * 0.008)
    assert bill.replies == pytest.approx(month * 300 / 2**30 * 0.12)
    # 2 x 0.5 + 0.5 + 0.25 CPUs; three pods of 0.5 GiB, since Autopilot gives no less, and one of 0.375.
    assert bill.pods == pytest.approx(730 * (1.75 * 0.0445 + 1.875 * 0.0049225))


def test_larger_packs_cost_less_and_more_hits_cost_more() -> None:
    assert cost.estimate(1_000, linger_seconds=0.05).pubsub < cost.estimate(1_000, linger_seconds=0.01).pubsub / 2
    totals = [cost.estimate(rate).total for rate in (1, 10, 100, 1_000, 10_000, 100_000)]
    assert totals == sorted(totals)
    a_million = [total / rate for total, rate in zip(totals, (1, 10, 100, 1_000, 10_000, 100_000), strict=True)]
    assert a_million == sorted(a_million, reverse=True)
    assert cost.pack_hits(1e9, 1) == hit.MAX_HITS


def test_the_command_prints_the_sum_of_its_parts() -> None:
    found = command("--hits-per-second", "100", "--event-bytes", "800")
    assert found["total"] == pytest.approx(sum(found["usd_a_month"].values()), abs=0.05)
    assert found["total_a_million_hits"] == pytest.approx(found["total"] / (100 * 730 * 3600) * 1e6, rel=0.01)
    assert found["prices_read"] == prices.READ.isoformat()
    assert found["pods"] == {"collector": 2, "processor": 1, "loader": 1}
    assert (
        command("--hits-per-second", "100", "--event-bytes", "800", "--linger-seconds", "0.1")["total"] < found["total"]
    )


def test_the_example_in_the_documents_is_what_the_command_prints() -> None:
    example = (ROOT / "services" / "ops" / "README.md").read_text().partition('{"hits_per_second": 100.0')[2]
    found = command("--hits-per-second", "100")
    for part in (f'"pubsub": {found["usd_a_month"]["pubsub"]},', f'"total": {found["total"]},'):
        assert part in example.partition("\n")[0]


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "many"])
def test_a_rate_that_is_none_is_refused(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["cost", f"--hits-per-second={rate}"])
    assert refused.value.code == 2
    assert f"{rate!r} is not a number above 0" in capsys.readouterr().err


def test_the_documents_table_is_what_the_command_says() -> None:
    text = (ROOT / "docs" / "cost.md").read_text()
    wanted = []
    for rate in (10, 100, 1_000):
        bill = cost.estimate(rate)
        parts = {key: round(value) for key, value in asdict(bill).items()}
        bigquery, cells = parts.pop("bigquery_write") + parts.pop("bigquery_storage"), parts
        hits_a_month = f"{rate * prices.HOURS * 3600 / 1e6:,.0f} million"
        shown = (cells["pubsub"], bigquery, cells["load_balancer"], cells["replies"], cells["pods"] + cells["cluster"])
        wanted.append(f"| {rate:,} | {hits_a_month} | {' | '.join(map(str, shown))} | **{bill.total:.0f}** |")
    assert re.findall(r"^\| [0-9,]+ \| [0-9,]+ million \|.*$", text, re.MULTILINE) == wanted, "\n" + "\n".join(wanted)
    assert f"prices read on {prices.READ}" in " ".join(text.split())
