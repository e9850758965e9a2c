"""Real browser trackers on a page in Chromium, with nothing changed but the host they send to."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from tests.trackers import expected
from tests.trackers.expected import DATA, Row, has
from tests.trackers.pipeline import Pipeline
from tests.trackers.proxy import Proxy
from tests.waiting import until

REFERRER = "https://news.example/a"
TITLE = "Café 🙂"
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"


@dataclass(frozen=True)
class SetUp:
    """A tracker as a site would set it up, and what it is known to do."""

    name: str
    page: str  # pages/NAME.js
    protocol: str
    view: str  # the type of its page views
    identify: str = ""  # the type of the event that says who it is, if it sends one
    options: Mapping[str, Any] = field(default_factory=dict)  # for `start` of the page
    properties: Mapping[str, Any] = field(default_factory=lambda: DATA)
    places: frozenset[str] = frozenset({"url", "referrer"})  # columns that what it tracks has, beside its page views
    knows_user: bool = True
    has_id: bool = True  # or else the collector's id and time
    sends_again: bool = True  # after a 503
    survives_leaving: bool = True  # what is tracked as the page goes is sent, then or from the next page
    keeps_queue: bool = False  # what could not be sent is sent from the next page


ALL = frozenset({"url", "referrer", "title"})
# They have no retry and no queue: a 503 or a lost connection is a lost event.
FORGETFUL: Mapping[str, Any] = {"sends_again": False, "has_id": False}
MATOMO = {"category": "shop", "action": "order_completed", "name": "🙂 ok", "value": 12.5}
SET_UPS = (
    SetUp("snowplow", "snowplow", "snowplow", "page_view", keeps_queue=True),
    SetUp("snowplow by GET", "snowplow", "snowplow", "page_view", options={"get": True}, keeps_queue=True),
    SetUp("snowplow anonymous", "snowplow", "snowplow", "page_view", options={"anonymous": True}, knows_user=False),
    SetUp("segment", "segment", "segment", "page", "identify", places=ALL, keeps_queue=True),
    SetUp("segment in batches", "segment", "segment", "page", "identify", {"batch": True}, places=ALL),
    SetUp("rudderstack", "rudderstack", "segment", "page", "identify", places=ALL, keeps_queue=True),
    SetUp("rudderstack in batches", "rudderstack", "segment", "page", "identify", {"batch": True}, places=ALL),
    SetUp(
        "rudderstack by beacon",
        "rudderstack",
        "rudderstack",
        "page",
        "identify",
        {"beacon": True},
        places=ALL,
        sends_again=False,
    ),
    SetUp("jitsu", "jitsu", "jitsu", "page", "identify", places=ALL, sends_again=False, survives_leaving=False),
    SetUp("posthog", "posthog", "posthog", "$pageview", "$identify"),
    SetUp("posthog uncompressed", "posthog", "posthog", "$pageview", "$identify", {"plain": True}),
    SetUp("mixpanel", "mixpanel", "mixpanel", "$mp_web_page_view", "$identify", keeps_queue=True),
    SetUp(
        "mixpanel as json",
        "mixpanel",
        "mixpanel",
        "$mp_web_page_view",
        "$identify",
        {"api_payload_format": "json"},
        keeps_queue=True,
    ),
    SetUp(
        "mixpanel by GET",
        "mixpanel",
        "mixpanel",
        "$mp_web_page_view",
        "$identify",
        {"api_method": "GET", "batch_requests": False},
        sends_again=False,
        survives_leaving=False,
    ),
    SetUp(
        "amplitude by beacon",
        "amplitude",
        "amplitude",
        "[Amplitude] Page Viewed",
        "$identify",
        {"transport": "beacon"},
        places=frozenset({"url", "title"}),
        sends_again=False,
    ),
    SetUp(
        "amplitude",
        "amplitude",
        "amplitude",
        "[Amplitude] Page Viewed",
        "$identify",
        places=frozenset({"url", "title"}),
        keeps_queue=True,
    ),
    SetUp("plausible", "plausible", "plausible", "pageview", knows_user=False, **FORGETFUL),
    SetUp("matomo's protocol", "matomo", "matomo", "page", properties=MATOMO, places=ALL, **FORGETFUL),
    SetUp(
        "matomo's protocol without cookies",
        "matomo",
        "matomo",
        "page",
        options={"cookieless": True},
        properties=MATOMO,
        places=ALL,
        knows_user=False,
        **FORGETFUL,
    ),
)


QUICK = ("snowplow", "segment")  # in `make test`, the others in `make test-slow`


def each(*set_ups: SetUp) -> Any:
    return pytest.mark.parametrize(
        "set_up",
        [
            pytest.param(one, id=one.name.replace(" ", "-"), marks=() if one.name in QUICK else pytest.mark.slow)
            for one in set_ups
        ],
    )


class Visit:
    """One visitor of the shop, whose pages have the tracker."""

    def __init__(self, set_up: SetUp, page: Page, shop: str, collector: str, mark: str) -> None:
        self._set_up, self._page, self._collector = set_up, page, collector
        self._shop, self._mark = shop, mark
        self.user = f"user-{mark}"
        self.where = f"user_agent LIKE '%{mark}%' OR user_id = '{self.user}' OR url LIKE '%{mark}%'"
        self.called: dict[str, dt.datetime] = {}

    def url(self, number: int) -> str:
        return f"{self._shop}/{self._set_up.page}/?page={number}&mark={self._mark}"

    async def open(self, number: int = 1) -> None:
        await self._page.goto(self.url(number), referer=REFERRER)
        await self._start()

    async def _start(self) -> None:
        await self._page.evaluate(
            "([to, how]) => tracker.start(to, how)", [self._collector, dict(self._set_up.options)]
        )

    async def identify(self) -> None:
        await self._page.evaluate("user => void tracker.identify(user)", self.user)

    async def track(self, name: str) -> None:
        await self._call(name, "tracker.track(name, data)")

    async def view(self) -> None:
        await self._page.evaluate("() => void tracker.page()")

    async def track_and_leave(self, name: str, number: int) -> None:
        """As a click on a link that is tracked does; the next page has the tracker too."""
        async with self._page.expect_navigation(url=self.url(number)):
            await self._call(name, "tracker.track(name, data); location.href = next", self.url(number))
        await self._start()
        await self.view()

    async def track_offline_and_leave(self, name: str) -> None:
        """As in a tunnel."""
        await self._page.context.set_offline(True)
        await self.track(name)
        await self._page.goto("about:blank")
        await self._page.context.set_offline(False)

    async def _call(self, name: str, code: str, following: str = "") -> None:
        script = f"([name, data, next]) => {{ const now = Date.now(); {code}; return now }}"
        at = await self._page.evaluate(script, [name, dict(DATA), following])
        self.called[name] = dt.datetime.fromtimestamp(at / 1_000, dt.UTC)

    async def anonymous(self) -> str | None:
        found: str | None = await self._page.evaluate("() => tracker.anonymous()")
        return found


@asynccontextmanager
async def visiting(set_up: SetUp, chromium: Browser, shop: str, collector: str, mark: str) -> AsyncIterator[Visit]:
    context = await chromium.new_context(user_agent=f"{AGENT} {mark}")
    context.set_default_timeout(60_000)
    try:
        visit = Visit(set_up, await context.new_page(), shop, collector, mark)
        await visit.open()
        yield visit
    finally:
        await context.close()


def check_tracked(set_up: SetUp, row: Row, visit: Visit, anonymous: str | None, said: str) -> None:
    """All that a row of `track` has to have. `said` is what the tracker sent."""
    assert row["protocol"] == set_up.protocol
    assert row["user_id"] == (visit.user if set_up.knows_user else None)
    if set_up.options.get("anonymous"):  # it sends SP-Anonymous, which the default policy obeys
        assert row["anonymous_id"] is None
    else:
        assert row["anonymous_id"] == anonymous if anonymous else row["anonymous_id"]
    wanted = {"url": visit.url(1), "referrer": REFERRER, "title": TITLE}
    assert {name: row[name] for name in set_up.places} == {name: wanted[name] for name in set_up.places}
    expected.check_properties(row, set_up.properties)
    if set_up.has_id:
        expected.check_id(row, said)
        expected.check_time(row, visit.called[row["type"]], said)


@each(*SET_UPS)
async def test_each_event_of_a_visit_is_one_row(
    shop: str, chromium: Browser, pipeline: Pipeline, collector: Proxy, mark: str, set_up: SetUp
) -> None:
    """Identify, track, page view; again with a 503 in between; again while the page goes."""
    async with visiting(set_up, chromium, shop, collector.url, mark) as visit:
        anonymous = await visit.anonymous()
        await visit.identify()
        await visit.track("order_completed")
        await visit.view()
        said_who = [set_up.identify] if set_up.identify else []
        rows = await pipeline.until(visit.where, has("order_completed", set_up.view, *said_who), "events")
        check_tracked(set_up, expected.one(rows, "order_completed"), visit, anonymous, collector.said())
        view = expected.one(rows, set_up.view)
        assert (view["url"], view["referrer"]) == (visit.url(1), REFERRER)
        assert said_who == [] or visit.user in {row["user_id"] for row in rows if row["type"] == set_up.identify}

        collector.refuse()
        await visit.track("order_refused")
        await until(lambda: collector.refused, "the refusal")
        await visit.track("order_later")
        again = ["order_refused"] if set_up.sends_again else []
        rows = await pipeline.until(visit.where, has("order_later", *again), "events after a 503", visit.view)
        for name in ("order_later", *again):
            row = expected.one(rows, name)
            if set_up.has_id:
                expected.check_id(row, collector.said())
                expected.check_time(row, visit.called[name], collector.said())

        await visit.track_and_leave("page_left", 2)
        left = ["page_left"] if set_up.survives_leaving else []
        seen_next = lambda rows: has(*left)(rows) and any(row["url"] == visit.url(2) for row in rows)  # noqa: E731
        rows = await pipeline.until(visit.where, seen_next, "what was tracked while leaving")
        expected.check_unique(rows, {"order_completed", "order_refused", "order_later", "page_left"})
        assert await pipeline.rejects() == []


@pytest.mark.slow
@each(*(set_up for set_up in SET_UPS if set_up.keeps_queue))
async def test_what_was_tracked_without_a_network_counts_once_it_is_back(
    shop: str, chromium: Browser, pipeline: Pipeline, collector: Proxy, mark: str, set_up: SetUp
) -> None:
    async with visiting(set_up, chromium, shop, collector.url, mark) as visit:
        await visit.identify()
        await visit.track("order_completed")
        await pipeline.until(visit.where, has("order_completed"), "an event with the network there")
        await visit.track_offline_and_leave("order_offline")
        await visit.open(2)
        await visit.view()
        rows = await pipeline.until(visit.where, has("order_offline"), "the event tracked offline", visit.view)
        row = expected.one(rows, "order_offline")
        assert row["user_id"] == visit.user
        expected.check_properties(row, set_up.properties)
        expected.check_id(row, collector.said())
        expected.check_time(row, visit.called["order_offline"])
        expected.check_unique(rows, {"order_completed", "order_offline"})
        assert await pipeline.rejects() == []


@pytest.mark.slow
@each(*(set_up for set_up in SET_UPS if set_up.sends_again))
async def test_an_event_that_was_kept_and_is_sent_again_counts_once(
    shop: str, chromium: Browser, pipeline: Pipeline, collector: Proxy, mark: str, set_up: SetUp
) -> None:
    """The collector has it, and its answer is lost on the way."""
    async with visiting(set_up, chromium, shop, collector.url, mark) as visit:
        await visit.identify()
        await visit.track("order_before")
        await pipeline.until(visit.where, has("order_before"), "an event")
        collector.lose_answer()
        await visit.track("order_completed")
        await until(lambda: collector.refused, "the answer that is lost")
        await visit.track("order_after")
        rows = await pipeline.until(visit.where, has("order_completed", "order_after"), "both events", visit.view)
        row = expected.one(rows, "order_completed")
        log = f"SELECT event_id FROM pixelpipe.events_log WHERE event_id = '{row['event_id']}'"

        async def twice() -> bool:
            return len(await pipeline.ask(log)) > 1

        await until(twice, "the event to be stored twice", timeout=120)
        rows = await pipeline.events(visit.where)
        expected.check_unique(rows, {"order_before", "order_completed", "order_after"})
        check_tracked(set_up, expected.one(rows, "order_completed"), visit, await visit.anonymous(), collector.said())
