"""The page's API on a real stack: what it shows, finds, explains, refuses."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests import process
from tests.local import page_client
from tests.local.page_client import Page, new_id
from tests.local.run_stack import Stack


@pytest.fixture
def page(stack: Stack) -> Page:
    return page_client.of(stack)


def post(stack: Stack, path: str, body: Any, media: str = "application/json") -> int:
    url = f"{stack.url('collector')}{path}"
    return requests.post(url, data=json.dumps(body), headers={"Content-Type": media}, timeout=60).status_code


def arrived(page: Page, event_id: str) -> dict[str, Any]:
    (found,) = page.get("/api/events", event_id=event_id, wait=30)["items"]
    return found


def step(story: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in story["steps"] if one["name"] == name)


def test_an_event_is_waited_for_and_found_by_what_it_is(stack: Stack, page: Page) -> None:
    one, user = new_id(), new_id("u")
    assert stack.fire(f"event_id={one}&user_id={user}&type=view&colour=red") == 200
    found = page.get("/api/events", event_id=one, wait=30)
    (event,) = found["items"]
    assert (found["complete"], found["waited"] < 30) == (True, True)
    assert (event["id"], event["table"], event["kind"], event["type"], event["who"]) == (
        one, "events", "event", "view", user,
    )  # fmt: skip
    assert json.loads(event["row"]["params"]) == {"colour": "red"}
    assert page.get("/api/events", user_id=user, type="view")["items"] == [event]
    assert page.get("/api/events", user_id=user, type="click")["items"] == []
    assert page.get("/api/rejects", event_id=one)["items"] == []


def test_an_id_that_does_not_exist_is_waited_for_and_no_error(page: Page) -> None:
    found = page.get("/api/events", event_id=new_id(), wait=0.4)
    assert (found["items"], found["complete"]) == ([], False)
    assert 0.4 <= found["waited"] < 30


def test_a_reject_says_why_and_what_was_sent(stack: Stack, page: Page) -> None:
    one = new_id()
    stack.fire(f"event_id={one}&type=nobody")
    (reject,) = page.get("/api/rejects", event_id=one, wait=30)["items"]
    assert (reject["kind"], reject["reason"], reject["column"]) == ("reject", "missing", "user_id")
    assert json.loads(reject["row"]["hit"])["query"] == f"event_id={one}&type=nobody"
    assert page.get("/api/rejects", event_id=one, reason="missing", table="events")["items"] == [reject]
    story = page.get("/api/story", event_id=one)
    assert (story["outcome"], story["table"], step(story, "request")["path"]) == ("reject", "rejects", "/pixel.gif")
    assert story["refused"][0]["reason"] == "missing"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("wait=soon", "wait='soon': use a number from 0 to 30"),
        ("wait=31", "wait='31': use a number from 0 to 30"),
        ("limit=nan", "limit='nan'"),
        ("limit=100000", "limit='100000': use a number from 0 to 1000"),
        ("event_id=a%00b", "event_id: nothing can be looked for by a null byte"),
        ("event=1", "'event' is not a parameter here; use some of event_id,"),
        ("table=nope", "no table 'nope'; it has events"),
    ],
)
def test_a_wrong_parameter_is_named(page: Page, query: str, said: str) -> None:
    status, error = page.refused(f"/api/events?{query}", method="GET")
    assert status == 400
    assert error["message"].startswith(said)


def test_after_a_reset_only_what_is_received_later_is_shown(stack: Stack, page: Page) -> None:
    user, one, two = new_id("u"), new_id(), new_id()
    stack.fire(f"event_id={one}&user_id={user}")
    arrived(page, one)
    since = page.post("/api/reset")["since"]
    assert page.get("/api/events", user_id=user)["items"] == []
    assert page.state()["since"] == since
    stack.fire(f"event_id={two}&user_id={user}")
    assert [item["id"] for item in page.get("/api/events", user_id=user, wait=30)["items"]] == [two]
    assert page.get("/api/story", event_id=one)["event_id"] == one  # nothing was deleted


def test_the_story_goes_from_the_raw_request_to_the_row(stack: Stack, page: Page) -> None:
    one = new_id("order-")
    call = {"type": "track", "event": "Order", "messageId": one, "userId": "ada", "properties": {"total": 42.5}}
    assert post(stack, "/v1/batch", {"batch": [call], "writeKey": "KEY"}) == 200
    arrived(page, one)
    story = page.get("/api/story", event_id=one)
    assert [one["name"] for one in story["steps"]] == ["request", "protocol", "parameters", "columns", "row"]
    request, parameters = step(story, "request"), step(story, "parameters")["values"]
    assert (request["method"], request["path"]) == ("POST", "/v1/batch")
    assert json.loads(request["body"]) == call
    assert step(story, "protocol")["protocol"] == "segment.batch"
    assert (parameters["event_id"], parameters["user_id"], parameters["type"]) == (one, "ada", "Order")
    columns = {value["column"]: value for value in step(story, "columns")["values"]}
    assert (columns["user_id"]["from"], columns["user_id"]["value"]) == ("param.user_id", "ada")
    assert step(story, "row")["stored"] is True and step(story, "row")["row"]["event_id"] == one
    assert story["unknown"] == ["properties.total"] and story["kept_in"] == "params"
    assert page.get("/api/story", event_id=request["id"]) == story  # by the id of its hit
    # What it says to send is the same event, and counts once.
    assert "KEY" not in story["curl"]
    sent = subprocess.run(story["curl"], shell=True, capture_output=True, text=True, timeout=60)  # noqa: S602
    assert "200" in sent.stdout.splitlines()[0], sent.stderr
    assert page.get("/api/events", event_id=one, count=2, wait=1)["complete"] is False


def test_an_unknown_event_has_no_story(page: Page) -> None:
    said = "no event 'nope' among the rows and rejects of the last 8 days, and none is on its way"
    assert page.refused("/api/story?event_id=nope", method="GET") == (404, {"message": said})
    assert page.refused("/api/story?event_id=%00", method="GET")[0] == 400


def test_a_request_is_explained_and_not_sent(page: Page) -> None:
    one = new_id()
    said = page.post("/api/explain", {"url": f"https://t.example.com/i?event_id={one}&user_id=ada&password=x&n=1"})
    assert (said["outcome"], said["event_id"], said["table"], said["reply"]["status"]) == ("row", one, "events", 200)
    assert (said["secrets"], said["unknown"]) == ({"password": 1}, ["n"])
    assert said["privacy"]["changed"] == ["hit.ip"]
    assert step(said, "row")["stored"] is False
    assert page.get("/api/events", event_id=one)["items"] == []


def test_a_payload_is_explained_by_the_protocol_that_it_looks_like(page: Page) -> None:
    batch = [{"event_type": "a", "user_id": "ada"}, {"event_type": "b"}, "odd"]
    said = page.post("/api/explain", {"request": json.dumps({"api_key": "K", "events": batch})})
    assert (said["guessed"], said["protocol"]) == ("amplitude", "amplitude")
    assert [one["outcome"] for one in (said, *said["others"])] == ["row", "reject", "reject"]
    named = page.post("/api/explain", {"request": '{"user_id": "ada"}', "protocol": "native"})
    assert (named["outcome"], named["guessed"]) == ("row", None)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, 'post {"url": "…"} or {"request": "…"}'),
        ({"request": "  "}, "there is nothing to read"),
        ({"request": "{", "protocol": None}, "this begins like JSON but is not"),
        ({"request": "[" * 100_000}, "this JSON is nested too deeply to be read"),
        ({"request": "{}", "protocol": "morse"}, "protocol 'morse': use one of amplitude, "),
        ({"url": "https://t.example.com/nowhere"}, None),
    ],
)
def test_what_cannot_be_explained_is_answered_in_one_line(page: Page, body: dict[str, Any], said: str | None) -> None:
    if said is None:
        assert page.post("/api/explain", body)["note"].startswith("the collector answers 404 and keeps nothing")
        return
    status, error = page.refused("/api/explain", body)
    assert (status, error["message"][: len(said)]) == (400, said)


def test_sql_is_asked_with_its_types_and_bounded(page: Page) -> None:
    sql = "SELECT 9007199254740993 AS whole, 0.5 AS half, [1, 2] AS list, NULL AS nothing, '<b>' AS text"
    said = page.post("/api/query", {"sql": sql})
    assert [(one["name"], one["type"]) for one in said["columns"]] == [
        ("whole", "INT64"), ("half", "FLOAT64"), ("list", "ARRAY<INT64>"), ("nothing", "INT64"), ("text", "STRING"),
    ]  # fmt: skip
    assert said["rows"] == [["9007199254740993", 0.5, "[1, 2]", None, "<b>"]]
    thousand = "UNNEST(GENERATE_ARRAY(1, 1000))"
    million = f"SELECT 1000 * (a - 1) + b AS n FROM {thousand} AS a, {thousand} AS b"
    said = page.post("/api/query", {"sql": f"{million} ORDER BY n DESC;", "limit": 3})
    assert (said["rows"], said["truncated"]) == ([["1000000"], ["999999"], ["999998"]], True)
    assert page.post("/api/query", {"sql": "SELECT 1 LIMIT 1 -- one"})["truncated"] is False


THOUSAND = "UNNEST(GENERATE_ARRAY(1, 1000))"
LONG = (
    f"SELECT COUNT(*) AS n FROM {THOUSAND} AS a, {THOUSAND} AS b, {THOUSAND} AS c, {THOUSAND} AS d WHERE a * b = c + d"
)


@pytest.mark.slow
def test_sql_whose_asker_has_left_is_stopped_and_nobody_waits_for_it(stack: Stack, page: Page) -> None:
    client = bigquery.Client("local", AnonymousCredentials(), client_options={"api_endpoint": stack.url("bigquery")})

    def asked() -> Any:
        return next((job for job in client.list_jobs(state_filter="running") if "1000" in (job.query or "")), None)

    with ThreadPoolExecutor() as threads:
        for _ in range(3):  # more than are answered at once
            threads.submit(left, page, LONG)
        job = process.wait_for(asked, 60, "BigQuery to have the question")
        one = new_id()
        stack.fire(f"event_id={one}&user_id=ada")
        arrived(page, one)
    process.wait_for(lambda: job.done(), 60, "it to be stopped")
    assert job.error_result["reason"] == "stopped"
    assert page.post("/api/query", {"sql": "SELECT 1 AS n"})["rows"] == [["1"]]


def left(page: Page, sql: str) -> None:
    with pytest.raises(requests.Timeout):
        requests.post(f"{page.url}/api/query", json={"sql": sql}, timeout=3)


@pytest.mark.parametrize(
    ("sql", "said", "place"),
    [
        ("SELECT user_id,\n  typ\nFROM pixelpipe.events", "Unrecognized name: typ", (2, 3)),
        ("SELECT 1 FROM\n pixelpipe.nothing", "Table local:pixelpipe.nothing was not found", (2, 12)),
        ("SELECT 1 AS\nsome", "Unexpected keyword SOME", (2, 1)),
        ("SELEC 1", "Syntax error", (1, 7)),
        ("SELECT * FROM pixelpipe.events WHERE", "Syntax error: something is missing here", (1, 36)),
        ("DELETE FROM pixelpipe.events_log WHERE TRUE", "this box only reads: use SELECT, not DELETE", None),
        (" ", "the SQL is empty; try SELECT user_id, type FROM pixelpipe.events", None),
    ],
)
def test_sql_that_fails_says_where(page: Page, sql: str, said: str, place: tuple[int, int] | None) -> None:
    status, error = page.refused("/api/query", {"sql": sql})
    assert status == 400
    assert said in error["message"] and "\n" not in error["message"]
    assert not re.match("[a-z]+[A-Z]", error["message"])  # no code before the words
    assert (error.get("line"), error.get("column")) == (place or (None, None))


def test_the_schema_and_the_examples_fit_each_other(page: Page) -> None:
    found = page.get("/api/schema")
    tables = {table["name"]: table for table in found["tables"]}
    assert [table["name"] for table in found["tables"]][:2] == ["events", "rejects"]
    assert (tables["events"]["kind"], tables["events_log"]["kind"]) == ("view", "log")
    column = next(one for one in tables["events_log"]["columns"] if one["name"] == "user_id")
    assert (column["type"], column["mode"], column["description"]) == ("STRING", "REQUIRED", "Who did it")
    assert len(found["examples"]) >= 4
    for example in found["examples"]:
        page.post("/api/query", {"sql": example["sql"]})


@pytest.mark.slow
def test_what_every_snippet_fires_becomes_an_event_that_is_found(stack: Stack, page: Page) -> None:
    found = page.get("/api/snippets")
    assert len({(one["name"], one["language"]) for one in found}) == len(found)  # no two have the same name
    fired = {one["protocol"]: one["fires"] for one in found}
    assert set(fired) == {
        "pixel", "post", "form", "snowplow", "segment", "rudderstack", "jitsu", "posthog", "mixpanel", "amplitude",
        "matomo", "plausible", "umami", "ga4", "gtag", "cloudevents",
    }  # fmt: skip
    for protocol, fires in fired.items():
        assert fires["url"].startswith(f"{stack.url('collector')}/")
        old, new = fires["marker"], str(uuid.uuid4())  # one answer has one marker for all
        fires |= {name: text.replace(old, new) for name, text in fires.items() if isinstance(text, str)}
        reply = requests.request(
            fires["method"], fires["url"], headers=fires["headers"], data=fires["body"], timeout=60
        )
        assert reply.ok, (fires, reply.status_code)
        given = page.get("/api/snippets/fired", marker=fires["marker"], wait=30)["event_id"]
        assert fires["event_id"] in (None, given), protocol
        fires["event_id"] = given
    for protocol, fires in fired.items():
        # Plausible names no user, which the tests' schema file requires.
        kind = "rejects" if protocol == "plausible" else "events"
        (item,) = page.get(f"/api/{kind}", event_id=fires["event_id"], wait=30)["items"]
        assert fires["marker"] in json.dumps(item["row"]), item
        story = page.get("/api/story", event_id=fires["event_id"])
        assert fires["marker"] in json.dumps(step(story, "request")), story


def test_snippets_have_the_address_that_is_asked_for(stack: Stack, page: Page) -> None:
    found = page.get("/api/snippets", collector="t.shop.example")
    assert not any("127.0.0.1" in one["text"] for one in found)
    assert "https://t.shop.example/pixel.gif" in found[0]["text"]
    assert all(one["fires"]["url"].startswith(stack.url("collector")) for one in found)
    status, error = page.refused("/api/snippets?collector=https://t'.example", method="GET")
    assert (status, "use one such as https://" in error["message"]) == (400, True)


def test_what_nobody_fired_is_not_found(page: Page) -> None:
    assert page.get("/api/snippets/fired", marker=str(uuid.uuid4())) == {"event_id": None}
    status, error = page.refused("/api/snippets/fired?marker=ada", method="GET")
    assert (status, error["message"].partition(":")[0]) == (400, "marker")


def test_the_cost_is_that_of_the_bytes_measured_here(stack: Stack, page: Page) -> None:
    stack.fire(f"user_id={new_id('u')}")

    def measured() -> dict[str, Any] | None:
        found = page.get("/api/cost", rate=1000)
        return found if found["measured"]["events"] else None

    found = process.wait_for(measured, 60, "an event to be measured")
    assert 50 < found["measured"]["bytes_per_event"] < 2_000
    assert found["month"]["events_per_second"] == 1000
    assert sum(part["dollars_a_month"] for part in found["parts"]) == pytest.approx(found["total_month"], abs=0.1)
    millions = found["month"]["million_events"]
    assert found["per_million"] == pytest.approx(found["total_month"] / millions, rel=0.01)
    for rate in ("-1", "0", "1e7"):
        status, error = page.refused(f"/api/cost?rate={rate}", method="GET")
        assert (status, error["message"]) == (400, f"rate='{rate}': use a number from 0.01 to 1,000,000")


def test_the_proof_closes_hour_by_hour(stack: Stack, page: Page) -> None:
    one = new_id()
    stack.fire(f"event_id={one}&user_id=ada")
    arrived(page, one)

    def closed() -> dict[str, Any] | None:
        found = page.get("/api/proof", hours=2)
        return found if all(hour["difference"] == 0 == hour["in_flight"] for hour in found["hours"]) else None

    found = process.wait_for(closed, 60, "the proof to close")
    for hour in found["hours"]:
        assert hour["collected"] + hour["untold"] == hour["loaded"] + hour["rejected"] + hour["dead"]
    assert sum(hour["loaded"] for hour in found["hours"]) > 0
    (told,) = stack.rows("SELECT SUM(loaded) AS loaded, SUM(rejected) AS rejected FROM pixelpipe.reconciliation")
    assert told == {name: sum(hour[name] for hour in found["hours"]) for name in told}
    assert found["text"].startswith("Nothing is missing")


def test_the_state_says_what_runs_and_how_it_flows(stack: Stack, page: Page) -> None:
    state = page.well()
    parts = {part["name"]: part for part in state["parts"]}
    assert list(parts) == ["collector", "processor", "loader", "pubsub", "bigquery"]
    pids = stack.pids()
    assert {name: part["pid"] for name, part in parts.items()} == {name: pids[name] for name in parts}
    assert [parts[name]["can"] for name in ("loader", "bigquery", "pubsub")] == [["kill", "stop"]] * 2 + [[]]
    assert [(flow["from"], flow["to"]) for flow in state["flows"]] == [
        ("collector", "hits"), ("hits", "processor"), ("processor", "rows"), ("rows", "loader"), ("loader", "bigquery"),
    ]  # fmt: skip
    assert (state["read_only"], state["collector"], state["page"]) == (False, stack.url("collector"), page.url)
    assert state["queues"]["spool"]["files"] == 0


def test_the_stream_gives_what_came_and_resumes_where_it_was_left(stack: Stack, page: Page) -> None:
    user, markup = new_id("u"), "<script>alert(1)</script>\n\ndata: x"
    stack.fire(f"user_id={user}&type={requests.utils.quote(markup)}")  # type: ignore[attr-defined]

    def item(events: Any) -> tuple[str, dict[str, Any]]:
        for name, number, data in events:
            if name == "items":
                for one in data["items"]:
                    if one["who"] == user:
                        return number, one
        raise AssertionError("the stream ended")

    with page_client.stream(page) as events:
        number, one = item(events)
        assert one["type"] == markup
        state = next(data for name, _, data in events if name == "state")
        assert state["parts"][0]["name"] == "collector"
    with page_client.stream(page, after=number) as events:
        name, _, data = next(events)
        assert name == "state" or all(one["who"] != user for one in data["items"])


def test_a_reset_is_an_event_of_the_stream(page: Page) -> None:
    with page_client.stream(page) as events:
        assert next(name for name, _, _ in events if name == "state")
        since = page.post("/api/reset")["since"]
        assert next(data for name, _, data in events if name == "reset") == {"since": since}


FOREIGN = {"Host": "attacker.example"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/state", FOREIGN, 421),
        ("GET", "/", FOREIGN, 421),
        ("GET", "/api/events", {"Origin": "https://attacker.example"}, 403),
        ("GET", "/api/stream", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/api/reset", {"Origin": "https://attacker.example"}, 403),
        ("POST", "/api/services/loader/kill", {"Origin": "null"}, 403),
        ("POST", "/api/query", {"Content-Type": "text/plain"}, 415),
        ("POST", "/api/query", {"Content-Type": "application/json"}, 400),
        ("DELETE", "/api/faults", {"Sec-Fetch-Site": "same-site"}, 403),
        ("PUT", "/api/faults", {}, 405),
        ("GET", "/api/nothing", {}, 404),
    ],
)
def test_other_sites_are_kept_out(page: Page, method: str, path: str, headers: dict[str, str], status: int) -> None:
    body = "no json" if "Content-Type" in headers else None
    reply = requests.request(method, page.url + path, headers=headers, data=body, timeout=60)
    assert reply.status_code == status
    assert reply.json()["error"]["message"]
    assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert reply.headers["Cache-Control"] == "no-store"


def test_a_request_that_is_too_large_is_refused(page: Page) -> None:
    status, error = page.refused("/api/query", {"sql": "x" * 1_100_000})
    assert (status, error["message"]) == (413, "a request has at most 1048576 bytes")
    assert page.refused("/api/query", {"sql": 5})[0] == 400
    assert page.refused("/api/query", {"sql": "SELECT 1", "limit": 10**9})[0] == 400
    assert page.refused("/api/query", ["SELECT 1"])[1]["message"] == "the body is not a JSON object"
