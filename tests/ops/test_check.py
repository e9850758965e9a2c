"""`python -m services.ops check`: the file, the tables as they are, what a sample becomes, which rejects would pass."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from services.collector.routes import PROTOCOLS
from services.ops import sample
from services.ops.__main__ import main
from services.ops.rejects import Reject
from services.ops.rejects_again import Judge
from services.processor.parse import Parser
from services.shared import hit, schema_file
from tests.ops import schemas
from tests.ops.conftest import Pipeline
from tests.ops.test_replay import refused, rejected
from tests.processor import mmdb
from tests.processor.enrich.test_geo_database import PLACES

COLUMNS = (
    "n: {type: INT64, from: [param.properties.n, param.n]}",
    "email: {type: STRING, from: param.email, transform: [trim, lower]}",
    "seen_at: {type: TIMESTAMP, from: param.seen_at, transform: [{time_zone: Europe/Berlin}]}",
    "cart: {type: STRUCT, mode: REPEATED, from: param.cart, fields: {sku: {type: STRING}, price: {type: NUMERIC}}}",
    "ip: {type: STRING, from: hit.ip}",
    "agent: {type: STRING, from: header.user-agent}",
    "problems: {type: JSON, from: event.problems}",
)


def text(*columns: str, number: str = COLUMNS[0], table: str = "partition: day") -> str:
    return schemas.text(*COLUMNS[1:], *columns, number=number, table=table)


class Checked:
    """What `check` says of a schema file, in this process; it asks for nothing outside it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self._capsys = folder / "schema.yaml", capsys
        self.file.write_text(text())

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        found = main(["check", str(self.file), *arguments])
        said = self._capsys.readouterr()
        assert found == code, said
        return said.out, said.err

    def read(self) -> Any:
        return self._capsys.readouterr()

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code)[0])

    def sample(self, *arguments: str, code: int = 0) -> Any:
        return self.json(*arguments, code=code)["sample"]

    def posted(self, body: Any, *arguments: str, code: int = 0) -> Any:
        file = self.file.with_name("body")
        file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        return self.sample("--body", str(file), *arguments, code=code)


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Checked:
    return Checked(tmp_path, capsys)


def test_a_file_that_is_right_is_said_to_be(checked: Checked) -> None:
    out, err = checked.run()
    assert out == f"{checked.file} is right: events (12 columns), rejects (8 columns)\n" and err == ""


def test_a_file_that_is_wrong_is_refused_with_line_and_column_as_services_do(checked: Checked) -> None:
    checked.file.write_text(
        text().replace("agent: {type: STRING", "agent: {type: TEXTS").replace("param.email", "parm.email")
    )
    out, err = checked.run(code=2)
    lines = err.splitlines()
    assert out == "" and len(lines) == 2
    assert lines[0].startswith(f"check: {checked.file}:11:35: column events.email: from: 'parm.email' starts with none")
    assert lines[1].startswith(f"{checked.file}:15:21: column events.agent: type: 'TEXTS' is none of ")


def test_a_pixel_becomes_the_row_that_it_would_be(checked: Checked) -> None:
    url = (
        "https://t.example.com/i?user_id=ada&n=%2B7&email=%20ADA@x.org&password=hunter2&seen_at=2026-07-01 12:00:00&x=1"
    )
    found = checked.sample("--url", url, "--header", "User-Agent: curl/8")
    assert found["reply"]["status"] == 200 and found["secrets"] == {"password": 1}
    (event,) = found["events"]
    row = event["row"]
    assert event["outcome"] == "row" and event["table"] == "events"
    assert (row["user_id"], row["n"], row["email"], row["agent"]) == ("ada", 7, "ada@x.org", "curl/8")
    assert row["seen_at"] == "2026-07-01T10:00:00Z" and row["params"] == {"x": "1"}
    assert event["privacy"] == {"removed": [], "changed": ["hit.ip"]} and row["ip"] == "192.0.2.0"
    assert event["unknown"] == ["x"] and event["kept_in"] == "params"
    assert event["from"] == {"n": "param.n"}
    assert event["changed"] == {"n": "+7", "email": " ADA@x.org", "seen_at": "2026-07-01 12:00:00"}
    assert "hunter2" not in json.dumps(found["events"])


def test_the_text_says_it_in_a_line_each(checked: Checked) -> None:
    out, _ = checked.run("--url", "?user_id=ada&n=many&a.b=1&email=A@x.org")
    lines = out.splitlines()
    assert "event 0 (native): a row of events" in lines
    assert "  email        a@x.org   (sent as A@x.org)" in lines
    assert "  does not fit: n: wrong_type: not a whole number, it was many" in lines
    assert "  no column for: a.b (kept in params)" in lines


MANY = """
  orders:
    copy: true
    when: {param.type: order}
    partition: day
    columns:
      day: {type: DATE, mode: REQUIRED, from: event.day}
      event_id: {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      order_id: {type: STRING, mode: REQUIRED, from: param.order_id}
      net: {type: NUMERIC, from: param.net}
      gross: {type: NUMERIC, expression: net * 2}
  rejects:"""


def test_copies_samples_and_what_the_view_computes_are_said(checked: Checked) -> None:
    given = text(
        "total: {type: STRING, from: param.total, required_if: {param.type: sale}}", table="partition: day\nsample: 0.5"
    )
    checked.file.write_text(given.replace("\n  rejects:", MANY))
    out, _ = checked.run("--url", "?user_id=u2&type=order&order_id=7&net=4")  # u2 is in, u1 is not
    lines = out.splitlines()
    assert "event 0 (native): a row of events" in lines and "  and a copy: a row of orders" in lines
    said = [" ".join(line.split()) for line in lines]
    assert "gross the view computes it: net * 2" in said and any(line.startswith("net 4") for line in said)
    found = checked.sample("--url", "?user_id=u1&type=order")
    (event,) = found["events"]
    assert event["sampled_out"] and event["copies"][0]["reject"]["column"] == "order_id"
    out, _ = checked.run("--url", "?user_id=u1&type=order")
    assert "event 0 (native): left out of events by its sample" in out.splitlines()
    assert "  no copy in orders: order_id: missing: no value in param.order_id" in out.splitlines()
    out, _ = checked.run("--url", "?user_id=u2&type=sale", code=1)
    assert "missing of events.total: no value in param.total, which is required if param.type is sale" in out


def test_a_reject_says_why_and_what_was_sent(checked: Checked) -> None:
    checked.file.write_text(text(number=schemas.NUMBER))
    found = checked.sample("--url", "/i?user_id=ada&n=many&x=1", code=1)
    (event,) = found["events"]
    reject = event["reject"]
    assert event["outcome"] == "reject" and event["unknown"] == ["x"]
    assert {name: reject[name] for name in ("reason", "table", "column", "value")} == {
        "reason": "wrong_type",
        "table": "events",
        "column": "n",
        "value": "many",
    }
    assert event["row"]["reason"] == "wrong_type" and event["row"]["hit"]["query"] == "user_id=ada&n=many&x=1"
    out, _ = checked.run("--url", "/i?user_id=ada&n=many", code=1)
    assert "event 0 (native): a reject, wrong_type of events.n: not a whole number\n  it was many\n" in out


def test_each_event_of_a_body_is_explained_by_its_protocol(checked: Checked) -> None:
    batch = {
        "batch": [
            {
                "type": "track",
                "event": "Buy",
                "userId": "u1",
                "messageId": "m1",
                "properties": {"n": 3, "deep": {"a": 1}},
            },
            {"type": "page", "userId": "u2", "messageId": "m2"},
            7,
        ]
    }
    found = checked.posted(batch, "--protocol", "segment", code=1)
    assert found["request"] == "POST /v1/batch" and found["reply"]["text"] == '{"success":true}'
    first, second, third = found["events"]
    assert (first["row"]["n"], first["from"]["n"]) == (3, "param.properties.n")
    assert {"properties.deep.a", "type"} <= set(first["unknown"])
    assert (second["row"]["user_id"], second["row"]["event_id"]) == ("u2", "m2")
    assert (third["outcome"], third["reject"]["reason"]) == ("reject", "bad_body")


def test_each_protocol_has_a_path_where_its_events_are_taken(checked: Checked) -> None:
    event = {"specversion": "1.0", "id": "e1", "source": "/x", "type": "made", "data": {"user_id": "ada"}}
    (found,) = checked.posted(event, "--protocol", "cloudevents")["events"]
    assert (found["protocol"], found["row"]["event_id"]) == ("cloudevents", "/x#e1")
    event = {"event": "x", "properties": {"token": "t", "distinct_id": "u"}}
    (found,) = checked.posted(event, "--protocol", "mixpanel")["events"]
    assert found["protocol"] == "mixpanel"
    for protocol in PROTOCOLS:
        assert protocol in sample.protocols()


def test_lists_of_objects_and_what_does_not_fit_in_them(checked: Checked) -> None:
    body = {"user_id": "ada", "cart": [{"sku": "a", "price": 1.5}, None, {"sku": "b", "price": "dear"}]}
    (event,) = checked.posted(body)["events"]
    assert event["row"]["cart"] == [{"sku": "a", "price": "1.500000000"}, {"sku": "b", "price": None}]
    assert [(one["column"], one["reason"]) for one in event["problems"]] == [
        ("cart[1]", "null_element"),
        ("cart.price", "wrong_type"),
    ]


def test_what_the_collector_refuses_is_shown_with_its_reply(checked: Checked) -> None:
    found = checked.posted(b'{"a": ', code=1)
    assert found["reply"]["status"] == 400 and "not JSON" in found["reply"]["text"] and found["events"] == []
    found = checked.posted({"a": 1}, "--content-type", "application/xml", code=1)
    assert found["reply"]["status"] == 415
    found = checked.posted({"a": 1}, "--header", "content-type: application/xml", code=1)
    assert found["reply"]["status"] == 415
    assert checked.sample("--url", "https://t.example.com/nowhere?a=1", code=1)["reply"]["status"] == 404
    assert checked.sample("--url", "https://t.example.com/robots.txt", code=1)["events"] == []


@pytest.mark.parametrize(("preset", "stored"), [("off", 1), ("balanced", 1), ("strict", 0)])
def test_an_opt_out_is_treated_as_the_preset_says(checked: Checked, preset: str, stored: int) -> None:
    sent = ("--url", "/i?user_id=ada", "--header", "Sec-GPC: 1", "--privacy", preset)
    found = checked.sample(*sent, code=0 if stored else 1)
    action = {"off": "record", "balanced": "anonymize", "strict": "drop"}[preset]
    assert found["opt_outs"] == {"gpc": action}
    assert [one["row"].get("user_id") for one in found["events"]] == ["ada" if preset == "off" else None] * stored


def test_what_privacy_takes_and_changes_is_named(checked: Checked, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"k1:{'ab' * 32}\n")
    keys.chmod(0o600)
    checked.file.write_text("privacy: {hash: {email: [trim, lower]}, ids: [loyalty_id]}\n" + text())
    body = {
        "user_id": "ada",
        "email": "A@x.org",
        "loyalty_id": "9",
        "properties": {"sessionId": "s", "n": 1},
        "consent": "denied",
    }
    (event,) = checked.posted(body, "--hash-key-file", str(keys), "--header", "User-Agent: Mozilla/5.0 (iPhone)")[
        "events"
    ]
    assert event["opt_out"] == "consent" and event["privacy"] == {
        "removed": ["hit.ip", "param.email", "param.loyalty_id", "param.properties.sessionId", "param.user_id"],
        "changed": ["header.user-agent"],
    }
    (event,) = checked.posted({"email": "A@x.org", "token": "t"}, "--hash-key-file", str(keys))["events"]
    assert event["privacy"] == {"removed": [], "changed": ["hit.ip", "param.email"]}
    assert event["row"]["email"].startswith("k1:")
    assert "PIPE_HASH_KEY_FILE='': " in checked.run("--url", "/i", code=2)[1]


def test_whose_event_it_is_is_found_as_the_collector_does(checked: Checked) -> None:
    tenants = "tenants: {list: {north: {hosts: [n.example.com]}, south: {hosts: [s.example.com]}}}\n"
    checked.file.write_text(tenants + text("tenant: {type: STRING, from: hit.tenant}"))
    (event,) = checked.sample("--url", "https://s.example.com/i?user_id=ada")["events"]
    assert event["row"]["tenant"] == event["tenant"] == "south"
    (event,) = checked.sample("--url", "https://x.example.com/i?user_id=ada", code=1)["events"]
    assert event["reject"]["reason"] == "unknown_tenant"


def test_paths_and_headers_are_as_the_collectors_settings_say(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPE_PATHS", "/x/a=snowplow,/open.gif")
    monkeypatch.setenv("PIPE_HEADERS", "referer")
    (event,) = checked.sample("--url", "/open.gif?user_id=ada", "--header", "User-Agent: curl")["events"]
    assert "agent" not in event["row"]
    (event,) = checked.sample("--url", "/x/a?e=pv&p=web&uid=ada&tv=js-3")["events"]
    assert (event["protocol"], event["row"]["user_id"]) == ("snowplow", "ada")
    monkeypatch.setenv("PIPE_PATHS", "x")
    assert "PIPE_PATHS='x': use paths that start with /" in checked.run("--url", "/i", code=2)[1]


def test_a_large_body_is_explained_in_part_and_judged_whole(checked: Checked) -> None:
    found = checked.posted([{"user_id": str(n)} for n in range(250)])
    assert len(found["events"]) == 100 and found["more"] == {"row": 150}
    assert [one["row"]["user_id"] for one in found["events"]] == [str(n) for n in range(100)]


def test_what_a_terminal_would_obey_is_not_printed(checked: Checked) -> None:
    out, _ = checked.run("--url", "?user_id=%1b[2Jada%0a&%1b[31m=1")
    assert "\x1b" not in out and r"\x1b[2Jada\n" in out


ODD = {
    "a length": ("Content-Length: 5",),
    "chunks": ("Transfer-Encoding: chunked",),
    "another host": ("Host: other.example.com",),
    "an upgrade": ("Connection: upgrade", "Upgrade: websocket"),
    "expects": ("Expect: 100-continue",),
    "compressed": ("Content-Encoding: gzip",),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_headers_are_answered_or_refused_in_a_line(checked: Checked, name: str) -> None:
    body = checked.file.with_name("body")
    body.write_text('{"user_id": "ada", "n": 1}')
    headers = [part for one in ODD[name] for part in ("--header", one)]
    main(["check", str(checked.file), "--body", str(body), *headers])
    said = checked.read()
    assert said.out.splitlines()[2].startswith("POST /events") or len(said.err.splitlines()) == 1


WRONG = {
    "since alone": (("--since", "2026-03-01"), "--since goes with --rejects"),
    "protocol alone": (("--protocol", "segment"), "--protocol goes with --body"),
    "type alone": (("--url", "/i", "--content-type", "a/b"), "--content-type goes with --body"),
    "header alone": (("--header", "A: b"), "--header goes with --url or --body"),
    "no project": (("--against", "live"), "name the --project, or set PIPE_PROJECT"),
    "no body": (("--body", "/no/such/file"), "--body /no/such/file: cannot be read: No such file"),
    "no protocol": (("--body", "{file}", "--protocol", "segmnt"), "--protocol 'segmnt': use one of amplitude, "),
    "both": (("--body", "{file}", "--protocol", "segment", "--url", "/i"), "--protocol and --url both say where to"),
    "no url": (("--url", "ftp://x/i"), "--url 'ftp://x/i': use one such as https://t.example.com/i?a=1"),
    "bad url": (("--url", "http://[x/i"), "--url 'http://[x/i': it cannot be read as a URL"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_go_together_is_one_line(checked: Checked, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPE_PROJECT", raising=False)
    arguments, wanted = WRONG[name]
    out, err = checked.run(*(one.replace("{file}", str(checked.file)) for one in arguments), code=2)
    (line,) = err.splitlines()
    assert line.startswith("check: ") and wanted in line and out == ""


def test_the_difference_to_the_tables_is_the_provisioners(pipeline: Pipeline) -> None:
    done = pipeline.ops("check", str(pipeline.file), "--against", "live", "--json").json["live"]
    assert {line.split()[0] for line in done["lines"]} == {"unchanged"} and done["refused"] == []
    pipeline.file.write_text(schemas.text("total: {type: NUMERIC, from: param.total}"))
    out = pipeline.ops("check", str(pipeline.file), "--against", "live").out
    assert "would update table pixelpipe.events_log: new column total NUMERIC" in out
    pipeline.file.write_text(schemas.text(number="n: {type: STRING, from: param.n}"))
    done = pipeline.ops("check", str(pipeline.file), "--against", "live", code=1)
    assert (
        "refused: table pixelpipe.events_log: column n is INT64 in the table and STRING in the schema file" in done.out
    )
    # Nothing was changed by looking.
    assert "total" not in [field.name for field in pipeline.client.get_table("pixelpipe.events_log").schema]


def test_rejects_that_would_pass_now_are_counted_by_reason(pipeline: Pipeline) -> None:
    now = time.time_ns() // 1000
    many = [refused(f"u{n}") for n in range(3)]
    rejected(pipeline, *many, refused("list", body=b"[1]"), refused("old", at=now - 5 * 86_400_000_000))
    before = pipeline.ops("check", str(pipeline.file), "--rejects", "--json").json["rejects"]
    assert (before["rejects"], before["pass"]) == (4, 0)
    assert before["before"] == before["after"] == {"wrong_type": 3, "bad_body": 1}
    pipeline.file.write_text(schemas.text(number="n: {type: INT64, from: param.n}"))
    found = pipeline.ops("check", str(pipeline.file), "--rejects", "--json").json["rejects"]
    assert (found["rejects"], found["pass"], found["after"]) == (4, 3, {"bad_body": 1})
    assert found["tables"] == {"events": 3}
    out = pipeline.ops("check", str(pipeline.file), "--rejects", "--since", "2020-01-01").out
    assert ": 5, of which 4 would be rows" in out and "4  wrong_type     would be a row" in out
    assert "1  bad_body       still a reject" in out


def test_what_only_bigquery_knows_and_what_cannot_be_restored_are_counted_apart() -> None:
    schema = schema_file.parse(schemas.text())
    judge = Judge(schema, Parser(schema), time.time_ns() // 1000)
    row = json.dumps(schemas.row("e", n=1))
    judge.page(
        [
            Reject("a", "loader", "events", "bigquery", None, row, False),
            Reject("b", "loader", "gone", "bigquery", None, row, False),
            Reject("c", "processor", None, "wrong_type", None, None, False),
            Reject("d", "processor", None, "wrong_type", None, '{"id": 1}', False),
        ]
    )
    report = judge.again.report
    assert (report["rejects"], report["pass"], report["of_loader"], report["not_replayable"]) == (4, 0, 1, 3)
    assert (report["before"], report["after"]) == ({"bigquery": 2, "wrong_type": 2}, {})


def test_values_of_a_lookup_are_explained_where_its_file_is_here(checked: Checked, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    lookups = f"lookups: {{products: {{file: {file}, key: sku, by: param.sku}}}}\n"
    checked.file.write_text(lookups + text("product: {type: STRING, from: [lookup.products.name, param.name]}"))
    found = checked.json("--url", "/i?user_id=ada&sku=A1&name=Seat")
    (warning,) = found["warnings"]
    assert warning.startswith(f"lookup products: {file}: No such file or directory; mount")
    assert found["sample"]["events"][0]["row"]["product"] == "Seat"
    file.write_text("sku,name\nA1,Chair\n")
    found = checked.json("--url", "/i?user_id=ada&sku=A1&name=Seat")
    assert found["warnings"] == []
    (event,) = found["sample"]["events"]
    assert (event["row"]["product"], event["from"]["product"]) == ("Chair", "lookup.products.name")


def test_a_source_that_nothing_gives_is_warned_about(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    checked.file.write_text(text("country: {type: STRING, from: geo.country}"))
    out, _ = checked.run()
    assert "\n  warning: geo.* is NULL unless the load balancer adds the header x-client-geo-location" in out
    database = checked.file.with_name("places.mmdb")
    database.write_bytes(mmdb.made(PLACES))
    monkeypatch.setenv("PIPE_GEO_DATABASE", str(database))
    assert checked.json()["warnings"] == []


def test_it_agrees_with_the_processor(checked: Checked) -> None:
    """What `check` prints of a hit is what the parser of production makes of it."""
    url = "/i?user_id=ada&n=5&x=1&cart=" + "%5B%7B%22sku%22%3A1%7D%5D"
    (event,) = checked.sample("--url", url)["events"]
    schema = schema_file.load(checked.file)
    one = hit.Hit(event["id"], time.time_ns() // 1000, "GET", "/i", url.partition("?")[2])
    made = Parser(schema).parse(one, one.at)
    values = dict(zip([column.name for column in schema.tables["events"].columns], made.values, strict=True))  # type: ignore[union-attr]
    assert event["row"]["cart"] == values["cart"] == [{"sku": "1", "price": None}]
    assert json.loads(values["params"]) == event["row"]["params"]
