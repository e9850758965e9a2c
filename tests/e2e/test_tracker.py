"""Our own tracker in a real browser, from the page to the row: every event once, whatever the page is."""

from __future__ import annotations

import html
import json
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response

from services.shared import identity
from tests.docs.tag import integrity
from tests.e2e import site as sites
from tests.e2e.conftest import Stack, chromium, start_stack
from tests.e2e.site import Site
from tests.process import wait_for

TITLE = "<!doctype html><meta charset=utf-8><title>{}</title>"
ORDER = {"total": 12.5, "items": [{"sku": "a-1", "name": "caf\u00e9 \U0001f950"}], "gift": None}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    schema = str(Path(__file__).with_name("schema.yaml"))
    settings = {"PIPE_SCHEMA": schema, "PIPE_REDIRECT_HOSTS": "127.0.0.1", "PIPE_HOOKS": "shop;id=body.uid"}
    running = start_stack(tmp_path_factory.mktemp("stack"), settings)
    yield running
    assert running.stop() == 0, running.process.output()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(90_000)
    yield context
    assert context.cookies() == []
    context.close()


@pytest.fixture
def site(stack: Stack) -> Iterator[Site]:
    with sites.serving(stack.collector) as site:
        yield site


@pytest.fixture
def tenant() -> str:
    """Whose events a test sends, so that it finds its own."""
    return uuid.uuid4().hex


def _script(tenant: str, src: str = "/x/p.js", more: str = 'data-endpoint="/x/e"') -> str:
    return f'<script src="{src}" data-tenant="{tenant}" {more}></script>'


def _rows(stack: Stack, tenant: str, wanted: int) -> list[dict[str, Any]]:
    """The rows of a tenant in the order in which they happened; all ids and visitors are those of a tracker."""
    columns = "event_id, type, url, referrer, title, user_id, anonymous_id, session_id, params, user_agent, received_at"
    found = stack.rows(f"SELECT {columns} FROM pixelpipe.events WHERE tenant = '{tenant}'", wanted)
    for row in found:
        assert identity.time_of(row["event_id"])
        assert identity.time_of(row["anonymous_id"])
        assert identity.time_of(row["session_id"])
        row["params"] = row["params"] if isinstance(row["params"], dict) else json.loads(row["params"] or "{}")
        row["properties"] = row["params"].get("properties")
    return sorted(found, key=lambda row: (identity.time_of(row["event_id"]), row["received_at"]))


def _copies(stack: Stack, tenant: str) -> int:
    """How many rows there are before those that were sent twice are counted once."""
    (row,) = stack.query(f"SELECT COUNT(*) AS n FROM pixelpipe.events_log WHERE tenant = '{tenant}'")
    return int(row["n"])


class Acknowledged:
    """The ids of the events that a page has seen answered with success, in order, as often as they were."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.ids: list[str] = []
        page.on("response", self._answered)

    def _answered(self, reply: Response) -> None:
        if reply.request.method == "POST" and reply.status == 204:
            self.ids += [event["event_id"] for event in json.loads(reply.request.post_data or "[]")]

    def until(self, wanted: int) -> None:
        end = time.monotonic() + 60
        while len(self.ids) < wanted:
            assert time.monotonic() < end, f"{len(self.ids)} events of {wanted} were acknowledged"
            self._page.wait_for_timeout(20)


def test_a_visit(stack: Stack, site: Site, context: BrowserContext, tenant: str) -> None:
    """Calls before the script has loaded, page views, an event with all that JSON has, one of a page that is left."""
    early = (
        "<script>window.pixelpipe = window.pixelpipe || [];"
        "pixelpipe.push(['identify', 'u-1', {plan: 'pro'}]);"
        "pixelpipe.push(['track', 'early', {n: 1}], ['none'], null);"
        "addEventListener('pagehide', () => pixelpipe.track('left', {after: 1}))</script>"
    )
    source = _script(tenant, f"{stack.collector}/p.js", "async")
    site.pages["/"] = TITLE.format("One") + early + source + source
    page = context.new_page()
    acknowledged = Acknowledged(page)
    page.goto(f"{site.url}/?a=1#part", referer="https://search.example/")
    acknowledged.until(3)
    page.evaluate("history.pushState({}, '', '/two'); document.title = 'Two'")
    acknowledged.until(4)
    page.evaluate("location.hash = 'anchor'")
    page.evaluate("order => pixelpipe.track('order', order)", ORDER)
    page.evaluate("history.replaceState({}, '', '/three#/route')")
    acknowledged.until(6)
    page.go_back()
    acknowledged.until(7)
    page.goto("about:blank")
    rows = _rows(stack, tenant, 8)
    assert _copies(stack, tenant) == 8
    assert [row["type"] for row in rows] == ["identify", "early", "page", "page", "order", "page", "page", "left"]
    views = [row for row in rows if row["type"] == "page"]
    assert [(row["url"].removeprefix(site.url), row["title"]) for row in views] == [
        ("/?a=1#part", "One"),
        ("/two", "Two"),
        ("/three#/route", "Two"),
        ("/two", "Two"),
    ]
    before = ["https://search.example/", f"{site.url}/?a=1", f"{site.url}/two", f"{site.url}/three#/route"]
    assert [row["referrer"] for row in views] == before
    found = {row["type"]: row["properties"] for row in rows}
    assert (found["identify"], found["early"], found["left"]) == ({"plan": "pro"}, {"n": 1}, {"after": 1})
    assert found["order"] == ORDER
    assert {row["user_id"] for row in rows} == {"u-1"}
    assert len({row["anonymous_id"] for row in rows}) == len({row["session_id"] for row in rows}) == 1
    assert all("Chrome" in row["user_agent"] and "consent" not in row["params"] for row in rows)
    assert set(acknowledged.ids) <= {row["event_id"] for row in rows}


def test_a_strict_policy_needs_only_the_hash(stack: Stack, site: Site, context: BrowserContext, tenant: str) -> None:
    site.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src '{integrity()}'; connect-src {stack.collector};"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    )
    site.headers["Cross-Origin-Embedder-Policy"] = "require-corp"
    tag = f'integrity="{integrity()}" crossorigin="anonymous"'
    site.pages["/"] = TITLE.format("Strict") + _script(tenant, f"{stack.collector}/p.js", tag)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    acknowledged = Acknowledged(page)
    page.goto(site.url)
    acknowledged.until(1)
    page.evaluate("pixelpipe.track('click')")
    acknowledged.until(2)
    assert [row["type"] for row in _rows(stack, tenant, 2)] == ["page", "click"]
    assert [text for text in complaints if "favicon" not in text] == []


def test_events_of_a_page_without_a_network_are_sent_later(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    site.pages["/"] = TITLE.format("Train") + _script(tenant)
    page = context.new_page()
    acknowledged = Acknowledged(page)
    page.goto(site.url)
    acknowledged.until(1)
    context.set_offline(True)
    page.evaluate("pixelpipe.track('tunnel', {n: 1}); pixelpipe.track('tunnel', {n: 2})")
    page.evaluate("pixelpipe.identify('u-2')")
    context.set_offline(False)
    acknowledged.until(4)
    context.set_offline(True)
    page.evaluate("addEventListener('pagehide', () => pixelpipe.track('left'))")
    page.goto("about:blank")
    context.set_offline(False)
    page.goto(site.url)
    acknowledged.until(6)
    rows = _rows(stack, tenant, 6)
    assert len(set(acknowledged.ids)) == 6
    assert _copies(stack, tenant) <= 7  # the browser may send what a page that is gone has left, too
    assert [row["type"] for row in rows] == ["page", "tunnel", "tunnel", "identify", "left", "page"]
    assert [row["user_id"] for row in rows] == [None, None, None, "u-2", "u-2", "u-2"]
    assert len({row["session_id"] for row in rows}) == 1


@pytest.mark.slow
def test_what_the_collector_did_not_take_is_sent_again_and_counts_once(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    site.failures = 2
    site.pages["/"] = TITLE.format("Outage") + _script(tenant)
    page = context.new_page()
    acknowledged = Acknowledged(page)
    page.goto(site.url)
    page.evaluate("pixelpipe.track('during', {n: 1})")
    acknowledged.until(2)
    assert site.failed == 2
    assert [row["type"] for row in _rows(stack, tenant, 2)] == ["page", "during"]
    assert _copies(stack, tenant) == 2


def test_a_beacon_that_may_be_lost_is_sent_again_and_counts_once(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    """While the collector fails, events wait; leaving, the page beacons them, and the next page cannot know of it."""
    context.add_init_script("Math.random = () => 3600")  # it would send again after a second or two, left or not
    site.failures = 1
    site.pages["/"] = TITLE.format("Bounce") + _script(tenant)
    page = context.new_page()
    acknowledged = Acknowledged(page)
    with page.expect_response(lambda reply: reply.status == 503):
        page.goto(site.url)
    page.goto("about:blank")
    wait_for(lambda: _copies(stack, tenant), 60, "the beacon")
    page.goto(site.url)
    acknowledged.until(2)
    assert [row["type"] for row in _rows(stack, tenant, 2)] == ["page", "page"]
    assert wait_for(lambda: _copies(stack, tenant) == 3, 60, "the copy")


def test_an_opt_out_signal_leaves_nothing_in_the_browser_and_nobody_in_the_row(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    context.add_init_script("Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})")
    site.pages["/"] = TITLE.format("Private") + _script(tenant, more='data-endpoint="/x/e" data-storage="local"')
    page = context.new_page()
    acknowledged = Acknowledged(page)
    for number in range(2):
        page.goto(site.url)
        page.evaluate("pixelpipe.identify('u-3', {email: 'a@b.example'}); pixelpipe.track('click', {n: 1})")
        acknowledged.until(2 * number + 2)
        assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    columns = "event_id, type, user_id, anonymous_id, session_id, user_agent, params"
    rows = stack.rows(f"SELECT {columns} FROM pixelpipe.events WHERE tenant = '{tenant}' ORDER BY event_id", 4)
    assert sorted(row["type"] for row in rows) == ["click", "click", "page", "page"]
    for row in rows:
        assert [row[name] for name in ("user_id", "anonymous_id", "session_id", "user_agent")] == [None] * 3 + ["bot"]
        assert row["params"]["consent"] == "denied"
    assert "b.example" not in json.dumps(rows)


def test_a_page_without_storage_is_a_visit_of_its_own(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    """In a sandboxed frame storage throws, and the origin is null."""
    site.pages["/"] = '<iframe sandbox="allow-scripts" src="/frame"></iframe>'
    site.pages["/frame"] = TITLE.format("Frame") + _script(tenant, f"{stack.collector}/p.js", 'data-storage="local"')
    page = context.new_page()
    acknowledged = Acknowledged(page)
    page.goto(site.url)
    acknowledged.until(1)
    frame = page.frames[1]
    assert frame.evaluate("origin") == "null"
    frame.evaluate("pixelpipe.identify('u-4'); pixelpipe.track('click')")
    acknowledged.until(3)
    rows = _rows(stack, tenant, 3)
    assert [(row["type"], row["user_id"]) for row in rows] == [("page", None), ("identify", "u-4"), ("click", "u-4")]
    assert len({row["anonymous_id"] for row in rows}) == 1


def test_options(stack: Stack, site: Site, context: BrowserContext, tenant: str) -> None:
    """Without page views of its own, and with a visitor who is known in another tab, and after it."""
    site.pages["/"] = TITLE.format("Own") + _script(
        tenant, more='data-endpoint="/x/e" data-storage="local" data-pages="off"'
    )
    for number in range(2):
        page = context.new_page()
        acknowledged = Acknowledged(page)
        page.goto(site.url)
        page.evaluate("history.pushState({}, '', '/two')")
        page.evaluate("pixelpipe.page({n: 1}); pixelpipe.page({n: 2}); pixelpipe.track('end')")
        if number == 0:
            page.evaluate("pixelpipe.identify('u-5'); pixelpipe.identify(); pixelpipe.identify('u-5')")
        acknowledged.until(3 + 3 * (number == 0))
        page.close()
    rows = _rows(stack, tenant, 9)
    assert [row["properties"] for row in rows if row["type"] == "page"] == [{"n": 1}, {"n": 2}] * 2
    assert [row["user_id"] for row in rows] == [None, None, None, "u-5", None, "u-5", "u-5", "u-5", "u-5"]
    assert (len({row["anonymous_id"] for row in rows}), len({row["session_id"] for row in rows})) == (1, 2)


def test_without_fetch_and_beacon_an_event_is_an_image(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    context.add_init_script("delete window.fetch; delete Navigator.prototype.sendBeacon")
    site.pages["/"] = TITLE.format("Old") + _script(tenant, f"{stack.collector}/p.js", "")
    page = context.new_page()
    with page.expect_response(lambda reply: "/pixel.gif" in reply.url):
        page.goto(f"{site.url}/")
    page.evaluate("pixelpipe.track('click', {n: 1})")
    rows = _rows(stack, tenant, 2)
    assert _copies(stack, tenant) == 2
    assert [(row["type"], row["url"], row["title"]) for row in rows] == [
        ("page", f"{site.url}/", "Old"),
        ("click", f"{site.url}/", "Old"),
    ]
    assert (rows[1]["params"]["n"], rows[1]["properties"]) == ("1", None)


def test_what_cannot_be_sent_holds_nothing_up(stack: Stack, site: Site, context: BrowserContext, tenant: str) -> None:
    site.pages["/"] = TITLE.format("Odd") + _script(tenant)
    page = context.new_page()
    acknowledged = Acknowledged(page)
    page.goto(site.url)
    page.evaluate("const loop = {}; loop.loop = loop; pixelpipe.track('circular', loop)")
    page.evaluate("pixelpipe.track('bigint', {n: 1n}); pixelpipe.track('large', {text: 'x'.repeat(30_000)})")
    page.evaluate("pixelpipe.track('half', {text: '\\ud83d'})")
    page.evaluate("pixelpipe.track('x'.repeat(30_000)); pixelpipe.track('last', {n: 1})")
    acknowledged.until(6)
    rows = _rows(stack, tenant, 6)
    assert [row["type"] for row in rows] == ["page", "circular", "bigint", "large", "half", "last"]
    assert [row["properties"] for row in rows] == [None, None, None, None, {"text": "\ufffd"}, {"n": 1}]


def test_more_than_fits_into_one_request_is_sent_in_several(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    site.pages["/"] = TITLE.format("Many") + _script(tenant)
    page = context.new_page()
    acknowledged = Acknowledged(page)
    page.goto(site.url)
    acknowledged.until(1)
    page.evaluate("for (let n = 0; n < 49; n++) pixelpipe.track('many', {n, text: '\u20ac'.repeat(2_000)})")
    acknowledged.until(50)
    assert len(acknowledged.ids) == len(set(acknowledged.ids)) == 50
    rows = _rows(stack, tenant, 50)
    assert sorted(row["properties"]["n"] for row in rows if row["type"] == "many") == list(range(49))


def test_a_page_that_comes_back_sends_what_its_beacon_may_have_lost(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    """As from the browser's cache of whole pages, which keeps what the page knew."""
    site.failures = 1
    site.pages["/"] = TITLE.format("Back") + _script(tenant)
    page = context.new_page()
    acknowledged = Acknowledged(page)
    with page.expect_response(lambda reply: reply.status == 503):
        page.goto(site.url)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    acknowledged.until(2)
    assert [row["type"] for row in _rows(stack, tenant, 2)] == ["page", "page"]


def test_a_page_that_is_prepared_is_viewed_once_it_is_shown(
    stack: Stack, site: Site, context: BrowserContext, tenant: str
) -> None:
    """Browsers load some pages before anyone has asked for them, and most of those are never shown."""
    context.add_init_script("Object.defineProperty(document, 'prerendering', {value: true})")
    site.pages["/"] = TITLE.format("Soon") + _script(tenant)
    page = context.new_page()
    acknowledged = Acknowledged(page)
    page.goto(site.url)
    page.evaluate("pixelpipe.track('hidden')")
    acknowledged.until(1)
    page.evaluate("document.dispatchEvent(new Event('prerenderingchange'))")
    acknowledged.until(2)
    assert [row["type"] for row in _rows(stack, tenant, 2)] == ["hidden", "page"]


def test_a_click_is_a_row_and_leads_on(stack: Stack, site: Site, context: BrowserContext, tenant: str) -> None:
    to = quote(f"{site.url}/landing?a=1&b=2", safe="")
    link = f"{stack.collector}/r?tenant={tenant}&type=click&anonymous_id=m-1&to={to}"
    site.pages |= {"/": f'<a href="{html.escape(link)}">Shop</a>', "/landing": TITLE.format("Landing")}
    page = context.new_page()
    page.goto(site.url)
    page.click("a")
    page.wait_for_url(f"{site.url}/landing?a=1&b=2")
    (row,) = stack.rows(f"SELECT type, anonymous_id, params FROM pixelpipe.events WHERE tenant = '{tenant}'")
    assert (row["type"], row["anonymous_id"]) == ("click", "m-1")
    assert f"{site.url}/landing?a=1&b=2" in str(row["params"])


def test_a_webhook_is_a_row_that_counts_once(stack: Stack) -> None:
    uid = uuid.uuid4().hex
    for _ in range(2):
        body = json.dumps({"uid": uid, "type": "order.paid", "total": 12.5}).encode()
        with urllib.request.urlopen(f"{stack.collector}/hook/shop", data=body, timeout=60) as reply:
            assert reply.status == 204
    columns = "type, anonymous_id, params"
    (row,) = stack.rows(f"SELECT {columns} FROM pixelpipe.events WHERE event_id = 'shop#{uid}'")
    assert (row["type"], row["anonymous_id"]) == ("order.paid", "hook.shop")
    assert uid in str(row["params"])
