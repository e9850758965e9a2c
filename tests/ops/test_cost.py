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
import requests
import yaml

from local import stack
from services.ops import capacity_model, cost_model, designs, load_events, prices
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
    assert bill.replies == 0  # the Standard Tier's first 200 GiB
    # 2 x 0.2 + 0.32 + 0.18 CPUs; Autopilot gives a pod no less memory than a GiB a CPU.
    assert bill.pods == pytest.approx(730 * (0.9 * 0.0445 + (2 * 0.2 + 0.32 + 0.25) * 0.0049225))
    # Two collectors, a processor and a loader, each scraped once a minute.
    assert bill.metrics == pytest.approx((2 * 160 + 100 + 100) * 60 * 730 / 1e6 * 0.06)
    premium = cost_model.estimate(10, event_bytes=500, linger_seconds=1e-9, tier="premium")
    assert premium.replies == pytest.approx((month * 235 / 2**30 - 1) * 0.12)


def test_a_large_release_by_hand() -> None:
    """At 10,000 hits/s four collectors of a core each, as `capacity` names them: their packs are of 126 hits."""
    bill = cost_model.estimate(10_000)
    hits = 10_000 * 730 * 3600
    size = 1 + 10_000 / 4 * 0.05
    pack = (564 * (0.74 + (size - 1) * 0.09) + 110) + (700 + size * 564 * 0.12 + 135)
    assert bill.pubsub == pytest.approx((hits / size * 2 * pack - 10 * 2**30) / 2**40 * 40)
    assert bill.bigquery_write == pytest.approx((hits * 564 * 0.6 - 2 * 2**40) / 2**30 * 0.025)
    pods = 4 * (1.0 * 0.0445 + 1.0 * 0.0049225)  # half a GiB is raised to one a CPU
    pods += 10 * (0.32 * 0.0445 + 0.32 * 0.0049225) + 10 * (0.18 * 0.0445 + 0.25 * 0.0049225)
    assert bill.pods == pytest.approx(730 * pods)
    assert command("--hits-per-second", "10000")["pods"] == {"collector": 4, "processor": 10, "loader": 10}


@pytest.mark.parametrize("rate", [10, 1_000, 20_000, 1_000_000])
def test_the_pods_that_are_priced_are_those_that_capacity_names(rate: float) -> None:
    named = {name: one.on_average for name, one in capacity_model.plan(rate).services.items()}
    assert command("--hits-per-second", str(rate))["pods"] == named


def test_pods_have_no_more_series_than_are_priced(pipeline: Pipeline) -> None:
    """All that a scrape finds after hits of each kind; Google may count a histogram as fewer."""
    with pipeline.stack() as ports:
        url = f"http://127.0.0.1:{ports.collector}"
        assert requests.get(f"{url}/pixel.gif?user_id=ada&event_id=s1&type=view", timeout=60).ok
        assert requests.post(f"{url}/events", json={"user_id": "ada", "type": "view"}, timeout=60).ok
        assert requests.post(f"{url}/v1/batch", json={"batch": [{"type": "page", "userId": "a"}]}, timeout=60).ok
        pipeline.until("SELECT COUNT(*) FROM pixelpipe.events WHERE event_id = 's1'", 1)
        for name, address in stack.admin_urls(ports).items():
            text = requests.get(f"{address}/metrics", timeout=60).text
            found = sum(not line.startswith("#") for line in text.splitlines())
            assert 0.7 * cost_model.SERIES[name] <= found <= cost_model.SERIES[name], name


def test_metrics_are_read_as_often_as_the_installation_has_it() -> None:
    values = yaml.safe_load((ROOT / "charts" / "pixelpipe" / "values-gke.yaml").read_text())
    assert values["podMonitoring"] == {"enabled": True, "interval": f"{prices.SCRAPE_SECONDS}s"}


def test_batches_and_new_connections_by_hand() -> None:
    hits = 1_000 * 730 * 3600
    single, batched = (cost_model.estimate(1_000, hits_per_request=some) for some in (1, 5))
    assert single.replies == pytest.approx((hits * 235 / 2**30 - 200) * 0.085)
    assert batched.replies == 0 and batched.pubsub == single.pubsub
    assert batched.load_balancer < single.load_balancer
    greeted = cost_model.estimate(1_000, hits_per_connection=5)
    assert greeted.replies - single.replies == pytest.approx(hits / 5 * 5100 / 2**30 * 0.085)
    assert greeted.load_balancer - single.load_balancer == pytest.approx(hits / 5 * 5700 / 2**30 * 0.008)
    asked = command("--hits-per-second", "1000", "--hits-per-connection", "5")["usd_a_month"]
    assert asked["replies"] == round(greeted.replies, 2)


def test_what_is_promised_of_a_month() -> None:
    """The figures that docs/cost.md is there for; whoever makes a month dearer sees it here."""
    assert cost_model.estimate(10, values="small").total < 32
    assert cost_model.estimate(50, values="small").total < 40  # the highest rate that these values are for
    million = 1_000 * prices.HOURS * 3600 / 1e6
    assert cost_model.estimate(1_000).total / million <= 0.06
    assert cost_model.estimate(1_000, tier="premium").total / million <= 0.075
    assert cost_model.estimate(1_000, hits_per_request=5).total / million <= 0.042
    assert cost_model.estimate(10_000).total / (10 * million) <= 0.063


def test_what_the_document_says_of_zones_logs_metrics_and_free_amounts_is_what_the_model_says() -> None:
    text = " ".join((ROOT / "docs" / "cost.md").read_text().split())
    both_ways = (cost_model.REQUEST_BYTES + cost_model.REPLY_BYTES) / prices.GIB
    assert f"exchanges {round(50 * prices.HOURS * 3600 * both_ways, -1):.0f} GiB a month" in text
    entries = 1_000 * prices.HOURS * 3600 * designs.LOG_ENTRY_BYTES / prices.GIB
    assert f"would be {round((entries - 50) / 2, -2):,.0f} a month at 1,000 hits/s" in text
    assert f"**Metrics** are {cost_model.estimate(10).metrics:.2f} for four pods" in text
    free = prices.INTERNET_FREE_GIB["standard"] * prices.INTERNET_GIB["standard"]
    free += prices.WRITE_FREE / prices.GIB * prices.WRITE_GIB + prices.PUBSUB_FREE / prices.TIB * prices.PUBSUB_TIB
    free += prices.STORAGE_FREE / prices.GIB * prices.STORAGE_GIB
    assert f"free amounts, worth {free:.0f} dollars a month, are {free / 2628 * 100:.1f} cents" in text


def test_the_installation_that_is_described_is_the_one_that_is_promised() -> None:
    """A regional load balancer with an address of the Standard Tier, as the model has it by default."""
    steps = (ROOT / "docs" / "gke.md").read_text().partition("\n## ")[0]
    assert "--set gateway.className=gke-l7-regional-external-managed" in steps
    assert "--network-tier STANDARD" in steps and "--global" not in steps


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
    assert found.parts["replies"] == pytest.approx((month * 235 / 2**30 - 1) * 0.12)
    assert found.parts["storage"] == 0
    assert found.total == pytest.approx(sum(found.parts.values()))


def test_a_collector_on_cloud_run_is_billed_by_whichever_way_is_cheaper() -> None:
    """By the request at ten a second; at 1,000 by the instance, two of them, without a price for requests."""
    (found,) = (one for one in designs.estimate(1_000) if one.name.startswith("BigQuery subscription"))
    seconds = 2 * 730 * 3600
    assert found.parts["collector"] == pytest.approx(
        (seconds - 240_000) * 0.000018 + (seconds / 2 - 450_000) * 0.000002
    )
    (servers,) = (one for one in designs.estimate(10) if one.name == "server-side Tag Manager")
    assert servers.parts["servers"] == pytest.approx(
        (3 * 730 * 3600 - 240_000) * 0.000018 + (3 * 730 * 3600 / 2 - 450_000) * 0.000002
    )


def test_an_engine_on_the_same_cluster_by_hand() -> None:
    """Flink at 3,000 events a second of 1,000 bytes: a job manager and two task managers of one CPU and 2 GiB each."""
    (found,) = (one for one in designs.estimate(3_000, 1_000) if one.name == "Flink on GKE")
    month = 3_000 * 730 * 3600
    assert found.parts["pods"] == pytest.approx(3 * (0.0445 + 2 * 0.0049225) * 730)
    assert found.parts["Pub/Sub"] == pytest.approx((month * 2 * 1000 - 10 * 2**30) / 2**40 * 40)
    assert found.parts["Storage Write API"] == pytest.approx((month * 600 - 2 * 2**40) / 2**30 * 0.025)
    alone = {one.name: one.total for one in designs.estimate(0.001)}
    assert alone["Flink on GKE"] == pytest.approx(2 * (0.0445 + 2 * 0.0049225) * 730, abs=0.01)


def test_every_design_costs_more_where_more_arrives() -> None:
    few, many = designs.estimate(10), designs.estimate(1_000)
    assert [one.name for one in few] == [one.name for one in many]
    assert all(one.total < other.total for one, other in zip(few, many, strict=True))
    found = command("--hits-per-second", "1000", "--compare")["other_designs"]
    assert found == {one.name: round(one.total, 2) for one in many}


def test_larger_packs_cost_less_and_more_hits_cost_more() -> None:
    long, short = (cost_model.estimate(1_000, linger_seconds=seconds).pubsub for seconds in (0.05, 0.01))
    assert long < short / 2
    rates = (1, 10, 100, 1_000, 10_000, 100_000)
    # Of the tier that has hardly anything for free, which is much of a month at 1,000 and little at 10,000.
    totals = [cost_model.estimate(rate, tier="premium").total for rate in rates]
    assert totals == sorted(totals)
    a_million = [total / rate for total, rate in zip(totals, rates, strict=True)]
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


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(f"--hits-per-second={rate}", f"'{rate}': use a number") for rate in ("0", "-1", "nan", "inf", "many")]
    + [
        ("--event-bytes=0", "'0': use a number from 1 up"),
        ("--linger-seconds=2", "'2': use a number from 0 to 1"),
        ("--hits-per-request=0.5", "'0.5': use a number from 1 up"),
        ("--hits-per-connection=none", "'none': use a number from 1 up"),
        ("--network-tier=gold", "invalid choice: 'gold'"),
        ("--compare=all", "ignored explicit argument 'all'"),
    ],
)
def test_what_no_month_can_have_is_refused_in_one_line(
    wrong: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["cost", "--hits-per-second=10", wrong])
    assert refused.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert wrong.partition("=")[0] in last and said in last
