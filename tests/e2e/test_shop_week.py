"""A week in a shop, through the whole stack: each view says exactly what the generator counted."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests.e2e.conftest import Stack, start_stack
from tests.process import wait_for
from tests.provision import schemas, shop_answers
from tests.provision.shop_answers import ANSWERS
from tests.provision.shop_week import HOST, PATHS, Happened, ShopWeek
from tests.provision.test_analyst_views import SHOP

COLUMNS = (
    *SHOP,
    "price: {type: NUMERIC, from: param.price}",
    "size: {type: INT64, from: param.size, on_error: reject}",
    "agent_class: {type: STRING, from: agent.class}",
)
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
BROWSER = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/129.0.0.0 Safari/537.36"
MACHINES = {
    "bot": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "ai_crawler": f"Mozilla/5.0 {WEBKIT}; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "ai_assistant": f"Mozilla/5.0 {WEBKIT}; compatible; ChatGPT-User/1.0)",
    "mail_proxy": "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
}
PROJECT = "local"  # that of `make run`
REJECTS, OTHER = 7, "other"  # and the tenant of what is no part of the week

pytestmark = pytest.mark.slow  # a stack of its own, with every view


class Traffic:
    """Sends the week to a collector, as browsers, crawlers and mail readers would."""

    def __init__(self, url: str) -> None:
        now = datetime.now(UTC) + timedelta(minutes=10)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        # It lies within the 7 days for which an event is of the day that it says, and its last visits are over.
        self.start = midnight - timedelta(days=6)
        self.week = ShopWeek(20260302, self.start, days=6 if now.hour >= 3 else 5)
        self.machines: Counter[str] = Counter()
        self.rejected: Counter[date] = Counter()
        self._url = url

    def send(self) -> None:
        happened = {one.id: one for one in self.week.events}
        strangers = {one.id for one in self.week.strangers}
        for number, one in enumerate(happened.values()):
            if number % 2:
                one.id = str(_uuid7(one.at, number))
        hidden, open_ = [], []
        for row in self.week.rows:
            one = happened[row["event_id"]]
            event = {**row.pop("params"), **row, "event_id": one.id, "event_time": one.at.isoformat()}
            if event.pop("problems", None):
                event["price"] = "cheap"
            del event["day"], event["received_at"]
            (hidden if row["event_id"] in strangers else open_).append(event)
        self.post(open_)
        # Who opted out is sent with ids that nobody may find afterwards.
        self.post([{**event, "anonymous_id": "hidden"} for event in hidden], {"Sec-GPC": "1"})
        self._send_machines()
        self.post([self._reject(number) for number in range(REJECTS)])
        now = [{"event_id": f"live-{kind}", "type": kind, "tenant": OTHER} for kind in ("view", "click", "order")]
        self.post([{**event, "anonymous_id": "b"} for event in now])

    def post(self, events: list[dict[str, Any]], headers: dict[str, str] | None = None) -> None:
        for start in range(0, len(events), 100):
            body = json.dumps(events[start : start + 100]).encode()
            named = {"Content-Type": "application/json", "User-Agent": BROWSER, **(headers or {})}
            with urlopen(Request(f"{self._url}/events", body, named), timeout=60) as reply:
                assert reply.status == 204

    def _send_machines(self) -> None:
        """Crawlers look at pages, and mail readers load the image of a mail: nobody's events, and counted as such."""
        for number in range(40):
            kind = [*MACHINES][number % len(MACHINES)]
            at, page = self.start + timedelta(hours=3 * number), PATHS[number % len(PATHS)]
            mail = kind == "mail_proxy"
            one = Happened(f"machine-{number}", at, "north", None, None, None, None if mail else page, f"{HOST}{page}")
            self.week.strangers.append(one)
            self.machines[kind] += 1
            what = {"type": "email_open"} if mail else {"type": "page_view", "url": one.url}
            query = urlencode({**what, "event_id": one.id, "event_time": at.isoformat(), "tenant": one.tenant})
            request = Request(f"{self._url}/pixel.gif?{query}", headers={"User-Agent": MACHINES[kind]})
            with urlopen(request, timeout=60) as reply:
                assert reply.status == 200

    def _reject(self, number: int) -> dict[str, Any]:
        at = self.start + timedelta(hours=20 * number)
        self.rejected[at.date()] += 1
        return self.sized(number, at, "large")

    def sized(self, number: int, at: datetime, size: str) -> dict[str, Any]:
        return {"event_id": f"sized-{number}", "event_time": at.isoformat(), "size": size, "tenant": OTHER}


def _uuid7(at: datetime, number: int) -> uuid.UUID:
    milliseconds = round(at.timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number)


class Loaded:
    def __init__(self, stack: Stack) -> None:
        self.traffic = Traffic(stack.collector)
        self.client = bigquery.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": stack.bigquery})
        self.traffic.send()
        wanted = (len(self.traffic.week.events) + 3, REJECTS)
        wait_for(lambda: self._counted() == wanted, 60, f"{wanted} events and rejects")

    def _counted(self) -> tuple[int, ...]:
        return tuple(self.rows(f"SELECT COUNT(*) FROM pixelpipe.{name}")[0][0] for name in ("events", "rejects"))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.client.query_and_wait(sql)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("week")
    schema = folder / "schema.yaml"
    schema.write_text(schemas.text(*COLUMNS, views="all"))
    stack = start_stack(folder / "stack", {"PIPE_SCHEMA": str(schema)})
    try:
        yield Loaded(stack)
    finally:
        ended = stack.stop()
    assert ended == 0, stack.process.output()


@pytest.mark.parametrize("view", ANSWERS)
def test_a_view_gives_what_the_generator_counted(loaded: Loaded, view: str) -> None:
    found = loaded.rows(f"SELECT {ANSWERS[view].columns} FROM pixelpipe.{view} WHERE tenant != '{OTHER}'")
    assert sorted(found, key=repr) == sorted(ANSWERS[view].rows(loaded.traffic.week), key=repr) != []


def test_the_funnel(loaded: Loaded) -> None:
    week, steps = loaded.traffic.week, ("page_view", "add_to_cart", "order")
    first, last = (loaded.traffic.start.date() + timedelta(days=days) for days in (0, 4))
    call = f"pixelpipe.funnel({list(steps)}, 60, DATE '{first}', DATE '{last}')"
    found = loaded.rows(
        f"SELECT tenant, step, name, visitors, from_previous, from_first FROM {call} ORDER BY tenant, step"
    )
    assert found == shop_answers.funnel(week, steps, 60, first, last)
    assert all(one[3] > 0 for one in found)


def test_machines_are_known_for_what_they_are(loaded: Loaded) -> None:
    found = dict(
        loaded.rows(
            f"SELECT agent_class, COUNT(*) FROM pixelpipe.events WHERE tenant != '{OTHER}' GROUP BY agent_class"
        )
    )
    machines = loaded.traffic.machines
    assert found == {"human": len(loaded.traffic.week.events) - machines.total(), **machines}
    assert all(machines.values())


def test_who_opted_out_cannot_be_found(loaded: Loaded) -> None:
    assert loaded.rows("SELECT COUNT(*) FROM pixelpipe.events WHERE TO_JSON_STRING(params) LIKE '%hidden%'") == [(0,)]
    assert loaded.rows("SELECT COUNT(*) FROM pixelpipe.visitors WHERE visitor = 'hidden'") == [(0,)]


def test_problems_and_rejects(loaded: Loaded) -> None:
    problems = loaded.rows("SELECT day, `column`, problems, example FROM pixelpipe.problems_by_column")
    days = Counter[date]()
    for (day, _, _), number in loaded.traffic.week.problems.items():
        days[day] += number
    assert Counter({day: sum(one[2] for one in problems if one[0] == day) for day in days}) == days
    assert {(column, example) for _, column, _, example in problems} == {("price", "cheap")}
    rejects = loaded.rows("SELECT day, rejects FROM pixelpipe.rejects_by_reason")
    assert dict(rejects) == dict(loaded.traffic.rejected)


def test_a_reject_that_is_sent_again_is_in_a_table_by_now(loaded: Loaded) -> None:
    asked = "SELECT event_id FROM pixelpipe.reject_status WHERE stored_in {} ORDER BY event_id"
    assert loaded.rows(asked.format("IS NULL")) == [(f"sized-{number}",) for number in range(REJECTS)]
    loaded.traffic.post([loaded.traffic.sized(0, loaded.traffic.start, "42")])
    wait_for(lambda: loaded.rows(asked.format("= 'events'")) == [("sized-0",)], 30, "the event in its table")
    assert len(loaded.rows(asked.format("IS NULL"))) == REJECTS - 1


def test_live_is_what_happened_just_now(loaded: Loaded) -> None:
    """The week is over, however lately it was received."""
    found = loaded.rows(
        "SELECT tenant, SUM(events), SUM(pages), SUM(orders), MAX(visitors) FROM pixelpipe.live GROUP BY 1"
    )
    assert found == [(OTHER, 3, 1, 1, 1)]
