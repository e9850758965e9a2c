"""`python -m services.ops cost`: the model is held to the wire formats, the chart and the collector."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import random
import socket
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import yaml

from services.ops import cost_model, designs, load_events, prices
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
            event.query,
            {
                "user-agent": chosen.choice(AGENTS),
                "referer": "https://shop.example.com/products/",
                "accept-language": "en-GB,en;q=0.9",
                "host": "track.example.com",
            },
            ".".join(str(chosen.randrange(256)) for _ in range(4)),
        )
        for number, event in enumerate(load_events.make(count, 0, 0))
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
    assert event_bytes == pytest.approx(cost_model.EVENT_BYTES, rel=0.05)
    found = message_bytes(hit.pack(lines, identity.uuid7(NOW)))
    assert cost_model.hits_pack_bytes(count, event_bytes) == pytest.approx(found, rel=0.2)

    parsed = [parser.parse(one, NOW) for one in made]
    values = [one.values for one in parsed if isinstance(one, Row)]
    assert len(values) == count
    columns = [pa.array(column, field.type) for column, field in zip(zip(*values, strict=True), arrow, strict=True)]
    batch = pa.RecordBatch.from_arrays(columns, schema=arrow)
    found = message_bytes(rows.pack(batch, "events", identity.uuid7(NOW)))
    assert cost_model.rows_pack_bytes(count, event_bytes) == pytest.approx(found, rel=0.2)
    assert batch.nbytes / count == pytest.approx(cost_model.STORED * event_bytes, rel=0.2)


def test_a_reply_is_no_larger_than_the_model_says(pipeline: Pipeline) -> None:
    with pipeline.collector() as url:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(b"GET /pixel.gif?user_id=ada HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            reply = b"".join(iter(lambda: connection.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 200 ")
    assert 0.7 * cost_model.REPLY_BYTES <= len(reply) <= cost_model.REPLY_BYTES


@pytest.mark.parametrize(("name", "file"), [("default", "values.yaml"), ("small", "values-small.yaml")])
def test_pods_are_those_of_the_chart(name: str, file: str) -> None:
    values = yaml.safe_load((ROOT / "charts" / "pixelpipe" / file).read_text())
    for service, pods in cost_model.PODS[name].items():
        requests, scaling = values[service]["resources"]["requests"], values[service]["autoscaling"]
        assert requests == {"cpu": f"{pods.cpu * 1000:.0f}m", "memory": f"{pods.gib * 1024:.0f}Mi"}
        assert (scaling["min"], scaling["cpu"]) == (pods.fewest, round(pods.target * 100))


def test_a_bill_by_hand() -> None:
    """Ten hits a second and hardly any linger: a pack is a hit, and every request is Pub/Sub's smallest."""
    bill = cost_model.estimate(10, event_bytes=500, linger_seconds=1e-9)
    month = 10 * 730 * 3600
    assert bill.pubsub == pytest.approx((month * 4 * 1000 - 10 * 2**30) / 2**40 * 40)
    assert (bill.bigquery_write, bill.bigquery_storage, bill.cluster) == (0, 0, 0)
    assert bill.load_balancer == pytest.approx(0.025 * 730 + month * 1235 / 2**30 * 0.008)
    assert bill.replies == pytest.approx(month * 235 / 2**30 * 0.12)
    # 2 x 0.25 + 0.35 + 0.2 CPUs; Autopilot gives a pod no less memory than a GiB a CPU.
    assert bill.pods == pytest.approx(730 * (1.05 * 0.0445 + (2 * 0.25 + 0.35 + 0.25) * 0.0049225))
    cheaper = cost_model.estimate(10, event_bytes=500, linger_seconds=1e-9, tier="standard", hits_per_request=5)
    assert cheaper.replies == pytest.approx(month / 5 * 235 / 2**30 * 0.085)
    assert cheaper.load_balancer < bill.load_balancer and cheaper.pubsub == bill.pubsub


def test_what_is_promised_of_a_month() -> None:
    """The figures that docs/cost.md is there for; whoever makes a month dearer sees it here."""
    assert cost_model.estimate(10, values="small").total < 40
    million = 1_000 * prices.HOURS * 3600 / 1e6
    assert cost_model.estimate(1_000).total / million < 0.076
    assert cost_model.estimate(1_000, tier="standard").total / million < 0.068
    assert cost_model.estimate(1_000, tier="standard", hits_per_request=5).total / million < 0.048


def test_the_small_values_hold_what_they_are_for() -> None:
    assert {name: pods.count(50) for name, pods in cost_model.PODS["small"].items()} == {
        name: pods.fewest for name, pods in cost_model.PODS["small"].items()
    }


def test_another_design_by_hand() -> None:
    """The BigQuery subscription at ten events a second of 500 bytes: each is a message of a thousand at the least."""
    (found,) = (one for one in designs.estimate(10, 500) if one.name.startswith("BigQuery subscription"))
    month = 10 * 730 * 3600
    tib = month * 1000 / 2**40
    assert found.parts["Pub/Sub"] == pytest.approx((tib - 10 / 1024) * 40 + tib * 90)
    assert found.parts["collector"] == pytest.approx((month - 2e6) / 1e6 * 0.4)
    assert found.parts["replies"] == pytest.approx(month * 235 / 2**30 * 0.12)
    assert found.parts["storage"] == 0
    assert found.total == pytest.approx(sum(found.parts.values()))


def test_every_design_costs_more_where_more_arrives() -> None:
    few, many = designs.estimate(10), designs.estimate(1_000)
    assert [one.name for one in few] == [one.name for one in many]
    assert all(one.total < other.total for one, other in zip(few, many, strict=True))
    found = command("--hits-per-second", "1000", "--compare")["other_designs"]
    assert found == {one.name: round(one.total, 2) for one in many}


def test_larger_packs_cost_less_and_more_hits_cost_more() -> None:
    long, short = (cost_model.estimate(1_000, linger_seconds=seconds).pubsub for seconds in (0.05, 0.01))
    assert long < short / 2
    totals = [cost_model.estimate(rate).total for rate in (1, 10, 100, 1_000, 10_000, 100_000)]
    assert totals == sorted(totals)
    a_million = [total / rate for total, rate in zip(totals, (1, 10, 100, 1_000, 10_000, 100_000), strict=True)]
    # A whole pod more may cost a hit a little, never much.
    assert all(more < 1.02 * fewer for fewer, more in itertools.pairwise(a_million))
    assert cost_model.pack_hits(1e9, 1) == hit.MAX_HITS


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
