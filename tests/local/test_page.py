"""The page of a running stack, driven in Chromium: what people see and do there."""

from __future__ import annotations

import csv
import itertools
import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud import pubsub_v1
from playwright.sync_api import Browser, Page, expect

from services.shared import resource_names
from services.shared.resource_names import topic_path
from tests.local import browser as browsers
from tests.local import page_client, run_stack
from tests.local.browser import PHONE, looking
from tests.local.run_stack import Stack
from tests.local.test_page_api import LONG
from tests.trackers import npm

FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1")
MARKUP = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """With a column for problems."""
    folder = tmp_path_factory.mktemp("stack")
    schema = folder / "schema.yaml"
    trackers = (npm.FOLDER / "schema.yaml").read_text()
    more = {
        "      params: ": "      problems:     {type: JSON, from: event.problems}\n",
        "      stage: ": "      type:        {type: STRING, from: [param.type, param.event]}\n",
    }
    for before, column in more.items():
        trackers = trackers.replace(before, column + before, 1)
    schema.write_text(trackers)
    env = {"PIPE_SCHEMA": str(schema), "PIPE_LINGER_SECONDS": "0.02"}
    with run_stack.running(folder / "data", **env, **run_stack.PATIENT) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, stack: Stack) -> Iterator[Page]:
    with looking(chromium, stack) as look:
        yield look.page


def fire(stack: Stack, **parameters: str) -> str:
    """The id of a pixel that the collector has acknowledged."""
    event_id = str(uuid.uuid4())
    url = f"{stack.url('collector')}/pixel.gif"
    assert requests.get(url, params={"event_id": event_id, **parameters}, timeout=60).status_code == 200
    return event_id


def ask(stack: Stack, path: str) -> Any:
    return requests.get(f"{stack.url('page')}{path}", timeout=60).json()


def with_collector_ended(stack: Stack) -> list[dict[str, Any]]:
    """The parts of the state, as if someone had killed the collector."""
    ended = {"status": "ended", "why": "killed by SIGKILL"}
    return [part | (ended if part["name"] == "collector" else {}) for part in ask(stack, "/api/state")["parts"]]


def violations(page: Page) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate((npm.installed() / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]


def labels(page: Page, within: str) -> list[str]:
    """Of a chart's bars, as they are drawn."""
    found: list[str] = page.locator(f"{within} .middle").evaluate_all("all => all.map((one) => one.firstChild.data)")
    return found


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize(
    "looks",
    [
        ((1440, "light"), (PHONE, "dark")),
        pytest.param(((1440, "dark"), (1024, "light"), (1024, "dark"), (PHONE, "light")), marks=pytest.mark.slow),
    ],
)
def test_each_width_is_accessible_and_fits(page: Page, stack: Stack, looks: tuple[tuple[int, Any], ...]) -> None:
    """With everything open that can be: first the page, then the story over it."""
    user = uuid.uuid4().hex
    fire(stack, user_id=user, type="view", event_time="yesterday", title=MARKUP * 3)
    page.get_by_role("button", name="BigQuery's answer is lost").click()
    page.wait_for_selector(".faults li")
    page.get_by_role("tab", name="Paste").click()
    page.fill("#query", "SELECT FORM")
    page.press("#query", "Control+Enter")
    page.wait_for_selector("#query-error:not(:empty)")
    row = page.locator(f"#list .row:has-text('{user}')")
    expect(row).to_be_visible()
    page.wait_for_selector("#hours details")
    for width, scheme in looks:
        page.set_viewport_size({"width": width, "height": 844 if width <= PHONE else 900})
        page.emulate_media(color_scheme=scheme)
        page.evaluate("for (const one of document.querySelectorAll('.card > div details')) one.open = true")
        assert (violations(page), overflow(page)) == ([], 0), (width, scheme)
        row.click()
        page.wait_for_selector(".steps")
        page.evaluate("for (const one of document.querySelectorAll('dialog details')) one.open = true")
        assert (violations(page), overflow(page)) == ([], 0), (width, scheme)
        page.keyboard.press("Escape")
        shown = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(shown) < 200) == (scheme == "dark")
    assert not page.evaluate("'hacked' in window")
    page.get_by_role("button", name="End it").click()


def test_every_control_is_reached_by_tab_and_its_focus_is_seen(page: Page, stack: Stack) -> None:
    page.wait_for_selector("#schema .name")
    controls = page.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, textarea, summary")].filter((one) =>
            one.checkVisibility() && !one.disabled && one.tabIndex >= 0 && (one.dataset.number = "1")).length"""
    )
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(controls + 60):  # also what scrolls is in the order
        page.keyboard.press("Tab")
        seen, left = page.evaluate(
            """() => {
                const one = document.activeElement;
                const seen = one.dataset.number ? getComputedStyle(one).outlineStyle : null;
                delete one.dataset.number;
                return [seen, document.querySelectorAll("[data-number]").length];
            }"""
        )
        if seen is not None:
            reached.add(seen)
        if left == 0:
            break
    assert page.locator("[data-number]").count() == 0
    assert reached == {"solid"}


def test_a_newcomer_fires_the_first_pixel_and_is_told_what_became_of_it(chromium: Browser, stack: Stack) -> None:
    with looking(chromium, stack, opened=False) as look:
        page = look.page
        browsers.flood(page, stack, 0, ledger={"error": None, "collected": 0, "hops": {}}, trouble=[])
        page.goto(f"{stack.url('page')}/")
        expect(page.locator("h1")).to_have_text("Ready for the first event")
        expect(page.locator(".verdict")).to_contain_text("Nothing has been collected since this start.")
        page.get_by_role("button", name="Fire the first pixel").click()
        expect(page.locator("#first")).to_contain_text("It is a row of events. Travelled in")
        page.locator("#first").get_by_role("button", name="Its story").click()
        expect(page.locator("dialog .outcome")).to_contain_text("It is a row.")
        page.keyboard.press("Escape")
        expect(page.locator("#first").get_by_role("button", name="Its story")).to_be_focused()


def test_a_pixel_from_the_form_is_followed_until_it_is_a_row(page: Page, stack: Stack) -> None:
    user = uuid.uuid4().hex
    page.get_by_label("user_id").fill(user)
    page.get_by_label("More parameters").fill("order_id=o-7\nnote=a=b & c")
    page.get_by_role("button", name="Fire the pixel").click()
    expect(page.locator("#trip")).to_contain_text("It is a row of events. Travelled in")
    page.get_by_role("button", name="Its story").click()
    expect(page.locator("dialog .outcome")).to_contain_text("It is a row.")
    assert page.locator("[data-step]").evaluate_all("all => all.map(one => one.dataset.step)") == [
        *("request", "protocol", "parameters", "columns", "row")
    ]
    assert f"user_id={user}" in page.locator("dialog > section pre").inner_text()  # the curl that sends it again
    (item,) = ask(stack, f"/api/events?user_id={user}&wait=5")["items"]
    assert json.loads(item["row"]["params"]) == {"order_id": "o-7", "note": "a=b & c"}
    page.keyboard.press("Escape")
    page.get_by_label("More parameters").fill(f"event_id=own-{user}")
    page.get_by_role("button", name="Fire the pixel").click()
    expect(page.locator("#trip")).to_contain_text("It is a row of events. Travelled in")
    assert len(ask(stack, f"/api/events?event_id=own-{user}")["items"]) == 1


def test_a_post_is_checked_sent_and_followed(page: Page) -> None:
    page.get_by_role("tab", name="Post").click()
    body = page.get_by_label("JSON for /events")
    body.fill("{no json")
    page.get_by_role("button", name="Post the event").click()
    expect(page.locator("#send [role=alert]")).to_contain_text("This is not JSON")
    body.fill("[]")
    page.get_by_role("button", name="Post the event").click()
    expect(page.locator("#send [role=alert]")).to_have_text("There is no event in this list: nothing was sent.")
    expect(page.locator("#trip")).to_be_empty()
    body.fill('{"type": "view"}')
    page.get_by_role("button", name="Post the event").click()
    expect(page.locator("#trip")).to_contain_text("It became a reject")
    body.fill(json.dumps({"user_id": "ada", "event_id": "é" * 3000}))
    page.get_by_role("button", name="Post the event").click()
    expect(page.locator("#trip")).to_have_text("This is too long to be asked for.")
    for sent in ('{"type": "view", "user_id": "ada"}', '[{"user_id": "ada"}, {"user_id": "bob"}]'):
        body.fill(sent)
        page.get_by_role("button", name="Post the event").click()
        expect(page.locator("#trip")).to_contain_text("It is a row of events. Travelled in")
    body.fill("42")
    page.get_by_role("button", name="Post the event").click()
    expect(page.locator("#trip")).to_contain_text("The collector answered 400")


@pytest.mark.slow
def test_what_every_tracker_sends_is_fired_and_followed_until_it_is_a_row(page: Page, stack: Stack) -> None:
    offered = ask(stack, "/api/snippets")
    page.get_by_role("tab", name="Snippet").click()
    choice = page.locator("#send-panel select")
    expect(choice.locator("option")).to_have_count(len(offered))
    for snippet, at in {one["protocol"]: (one, at) for at, one in enumerate(offered)}.values():
        choice.select_option(index=at)
        expect(page.locator("#trip")).to_be_empty()  # not of the snippet before
        page.get_by_role("button", name="Fire what it sends").click()
        expect(page.locator("#trip")).to_contain_text("It is a row of events. Travelled in")
        if snippet["fires"]["event_id"] is None:  # found by what its request holds
            page.get_by_role("button", name="Its story").click()
            expect(page.locator("dialog [data-step=protocol]")).to_contain_text(snippet["protocol"])
            page.keyboard.press("Escape")
    assert len(ask(stack, "/api/events?protocol=segment&limit=1000")["items"]) == 1


def test_a_snippet_has_the_address_that_one_types(page: Page, stack: Stack) -> None:
    page.get_by_role("tab", name="Snippet").click()
    page.locator("#send-panel select").select_option(label="Segment · JavaScript, @segment/analytics-next")
    code, own = page.locator("#send-panel pre"), page.get_by_label("Your collector's address")
    here = stack.url("collector")
    expect(code).to_contain_text(f"apiHost: '{here.removeprefix('http://')}/v1', protocol: 'http'")
    own.fill("https://c.shop.example")
    expect(code).to_contain_text("apiHost: 'c.shop.example/v1' }")
    expect(code).not_to_contain_text("127.0.0.1")
    own.fill("https://c.shop.example'")
    expect(page.locator("#send [role=alert]")).to_contain_text("is no address of a collector")
    own.fill("")
    expect(page.locator("#send [role=alert]")).to_be_empty()
    expect(code).to_contain_text(f"cdnURL: '{here}'")


def test_another_tab_says_nothing_of_what_was_fired_before(page: Page) -> None:
    page.get_by_role("button", name="Fire the pixel").click()
    expect(page.locator("#trip")).to_contain_text("Travelled in")
    page.get_by_role("tab", name="Paste").click()
    expect(page.locator("#trip")).to_be_empty()


def test_why_the_collector_took_nothing_is_said(chromium: Browser, stack: Stack) -> None:
    with looking(chromium, stack) as look:
        page, fire, trip = look.page, look.page.get_by_role("button", name="Fire the pixel"), look.page.locator("#trip")
        allowed = {"Access-Control-Allow-Origin": "*"}
        page.route("**/pixel.gif*", lambda route: route.fulfill(status=429, body="slower", headers=allowed))
        fire.click()
        expect(trip).to_have_text("The collector answered 429: slower.")
        page.route("**/pixel.gif*", lambda route: route.abort())
        fire.click()
        expect(trip).to_contain_text("The collector does not answer: look at it in Flow")
        browsers.flood(page, stack, 0, parts=with_collector_ended(stack))
        page.reload()
        fire.click()
        expect(trip).to_have_text("The collector is not running (killed by SIGKILL): start it in Flow.")
        look.wrong[:] = [line for line in look.wrong if "net::ERR_FAILED" not in line]


def test_what_is_pasted_is_explained_and_not_sent(page: Page, stack: Stack) -> None:
    user = uuid.uuid4().hex
    page.get_by_role("tab", name="Paste").click()
    text = page.get_by_label("Paste a request")
    text.fill(f"curl 'https://c.example.com/pixel.gif?user_id={user}&type=view&event_time=yesterday&colour=red'")
    page.get_by_role("button", name="Show the row it would become").click()
    dialog = page.locator("dialog")
    expect(dialog.locator(".outcome")).to_contain_text("It would become this row. Nothing was sent.")
    expect(dialog.locator("[data-name=Refused]")).to_contain_text("event_time")
    expect(dialog.locator("[data-name=Unknown]")).to_contain_text("colour")
    page.get_by_role("button", name="Close").click()
    text.fill("{broken")
    page.get_by_role("button", name="Show the row it would become").click()
    expect(page.locator("#send [role=alert]")).to_contain_text("JSON")
    assert ask(stack, f"/api/events?user_id={user}")["items"] == []


def test_what_went_wrong_is_found_and_its_story_says_why(page: Page, stack: Stack) -> None:
    user = uuid.uuid4().hex
    fire(stack, user_id=user, type="fine")
    odd = fire(stack, user_id=user, type="odd", event_time="yesterday")
    rejected = fire(stack, type=f"nobody-{user}")
    rows = page.locator("#list .row")
    page.get_by_label("Filter what arrives").fill(user)
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Went wrong").click()
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="problem")).to_contain_text("event_time")
    rows.filter(has_text="reject").click()
    dialog = page.locator("dialog")
    expect(dialog.locator(".outcome")).to_contain_text("It is a reject")
    expect(dialog.locator(".identity code")).to_have_text(rejected)
    expect(dialog.locator("[data-step=reject]")).to_contain_text("user_id")
    page.keyboard.press("Escape")
    rows.first.focus()
    page.keyboard.press("End")
    page.keyboard.press("Home")
    if "problem" not in rows.first.inner_text():
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(dialog.locator(".identity code")).to_have_text(odd)
    expect(dialog.locator("tr[data-fate=refused]")).to_contain_text("yesterday")
    page.keyboard.press("Escape")
    page.get_by_label("Filter what arrives").fill("matches nothing at all")
    expect(page.locator("#list")).to_have_text("Nothing of what is here matches the filter.")


def test_an_event_that_is_not_in_the_list_is_found_by_its_id(chromium: Browser, stack: Stack) -> None:
    rejected = fire(stack, type="nobody")
    assert ask(stack, f"/api/rejects?event_id={rejected}&wait=30")["complete"]
    with looking(chromium, stack, opened=False) as look:
        page, dialog = look.page, look.page.locator("dialog")
        browsers.flood(page, stack, 3, wrong=1234)
        page.goto(f"{stack.url('page')}/")
        expect(page.get_by_role("button", name="Went wrong 1,234")).to_be_visible()  # though none of them is listed
        page.get_by_label("Filter what arrives").fill(rejected)
        page.get_by_role("button", name=f"Look in BigQuery for the event with the id {rejected}").click()
        expect(dialog.locator(".outcome")).to_contain_text("It is a reject")
        page.keyboard.press("Escape")
        page.get_by_label("Filter what arrives").fill("never-sent")  # the Enter that asks presses nothing else
        page.keyboard.press("Enter")
        expect(dialog.locator(".error")).to_contain_text("no event 'never-sent'")


@pytest.mark.slow
def test_the_spool_and_the_dead_letters_say_what_they_hold(page: Page, stack: Stack, monkeypatch: Any) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", stack.url("pubsub").removeprefix("http://"))
    publisher = pubsub_v1.PublisherClient()
    publisher.publish(topic_path("local", resource_names.HITS_TOPIC), b"no log entry").result(10)
    publisher.stop()
    expect(page.locator(".store", has_text="dead letters")).to_contain_text("1 message")
    page.get_by_role("button", name="Look into the dead letters").click()
    dialog = page.locator("dialog")
    expect(dialog.locator("tbody td").last).to_contain_text("neither a pack of hits nor a LogEntry")
    expect(dialog.locator("code")).to_have_text(f"python -m local ops --data {stack.data} dead show ID")
    expect(page.locator(".verdict")).to_contain_text(f"python -m local ops --data {stack.data} dead list")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Look into the spool").click()
    expect(dialog.locator(".outcome")).to_have_text("It is empty.")
    expect(dialog.locator("code")).to_have_text(str(stack.data / "spool"))


@pytest.mark.slow
def test_rows_under_the_pointer_stay_until_one_asks_for_more(page: Page, stack: Stack) -> None:
    user = uuid.uuid4().hex
    page.get_by_label("Filter what arrives").fill(user)
    fire(stack, user_id=user, type="first")
    rows = page.locator("#list .row")
    expect(rows).to_have_count(1)
    rows.hover()
    fire(stack, user_id=user, type="second")
    expect(page.locator("#resume")).to_contain_text("Paused: 1 more")
    assert rows.count() == 1
    page.mouse.move(0, 0)
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("second")
    rows.first.focus()  # so do those that the keyboard is at
    fire(stack, user_id=user, type="third")
    more = page.get_by_role("button", name="Paused: 1 more")  # found where it is shown only
    expect(more).to_be_visible()
    more.dispatch_event("click")
    expect(rows).to_have_count(3)


def test_the_markup_of_strangers_stays_text_everywhere(page: Page, stack: Stack) -> None:
    call = {
        "type": MARKUP,
        "event": MARKUP,
        "userId": MARKUP,
        "properties": {MARKUP: [MARKUP]},
        MARKUP: {MARKUP: MARKUP},
    }
    for path in ("/v1/track", "/events"):
        url = f"{stack.url('collector')}{path}"
        requests.post(url, json=call, headers={"User-Agent": MARKUP, "Referer": MARKUP}, timeout=60)
    event_id = fire(stack, user_id=MARKUP, type=MARKUP, title=MARKUP, event_time=MARKUP, **{MARKUP: MARKUP})
    for row in page.locator("#list .row", has_text="window.hacked").all():
        row.click()
        page.wait_for_selector(".steps")
        page.evaluate("for (const one of document.querySelectorAll('dialog details')) one.open = true")
        page.keyboard.press("Escape")
    page.get_by_label("Filter what arrives").fill(event_id)
    page.locator("#list .row").click()
    expect(page.locator("[data-step=parameters]")).to_contain_text(MARKUP)
    page.keyboard.press("Escape")
    page.fill("#query", f"SELECT user_id, type, params FROM pixelpipe.events WHERE event_id = '{event_id}'")
    page.press("#query", "Control+Enter")
    expect(page.locator("#result td").first).to_have_text(MARKUP)
    assert page.locator("img, main script").count() == 0
    assert not page.evaluate("'hacked' in window")
    assert overflow(page) == 0


def test_what_is_huge_or_unseen_is_shown_in_part_and_named(page: Page, stack: Stack) -> None:
    user = uuid.uuid4().hex
    sent = {"user_id": user, "type": "\u202efdp.exe", "note": "a\x01b\n" + "w" * 300_000, "n" * 3_000: 1}
    sent |= {f"c{number}": number for number in range(5_000)}
    assert requests.post(f"{stack.url('collector')}/events", json=sent, timeout=60).ok
    row = page.locator("#list .row", has_text=user)
    expect(row.locator(".type")).to_have_text("⟨U+202E⟩fdp.exe")
    row.click()
    dialog = page.locator("dialog")
    expect(dialog.locator("[data-name=Unknown]")).to_contain_text("and more")
    page.evaluate("for (const one of document.querySelectorAll('dialog details')) one.open = true")
    expect(dialog.locator("[data-step=parameters]")).to_contain_text("a⟨U+0001⟩b")
    expect(dialog.locator("> section pre")).to_contain_text("characters more")
    assert page.evaluate("document.querySelectorAll('dialog *').length") < 1_500
    assert page.evaluate("document.querySelector('dialog').textContent.length") < 100_000
    assert page.locator("dialog").evaluate("one => one.scrollWidth - one.clientWidth") == 0


def test_back_closes_a_story_and_its_address_opens_it(page: Page, stack: Stack) -> None:
    event_id, dialog, begin = fire(stack, user_id=uuid.uuid4().hex), page.locator("dialog"), page.url
    page.get_by_label("Filter what arrives").fill(event_id)
    row = page.locator("#list .row")
    for _ in range(2):  # one step back is enough, however many were opened
        row.click()
        expect(dialog.locator(".outcome")).to_be_visible()
        expect(page).to_have_url(f"{begin}#event={event_id}")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        expect(page).to_have_url(begin)
    row.click()
    page.go_back()
    expect(dialog).to_be_hidden()
    page.goto("about:blank")
    page.goto(f"{begin}#event={event_id}")
    expect(dialog.locator(".identity code")).to_have_text(event_id)
    page.go_back()
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(begin)


def test_a_story_that_is_closed_before_it_is_told_stays_closed(page: Page, stack: Stack) -> None:
    event_id, answers = fire(stack, user_id=uuid.uuid4().hex), []
    page.route("**/api/story?*", lambda route: answers.append(route))
    page.get_by_label("Filter what arrives").fill(event_id)
    page.locator("#list .row").click()
    expect(page.locator("dialog")).to_contain_text("asking")
    while not answers:  # until the test's time is over
        page.wait_for_timeout(20)
    page.keyboard.press("Escape")
    with page.expect_response("**/api/story?*"):
        answers[0].continue_()
    page.locator("#list .row").focus()  # a turn for what was answered
    expect(page.locator("dialog")).to_be_hidden()


def test_ten_thousand_events_leave_a_list_of_bounded_length(chromium: Browser, stack: Stack) -> None:
    with looking(chromium, stack, opened=False) as look:
        page = look.page
        browsers.flood(page, stack, 10_000)
        page.goto(f"{stack.url('page')}/")
        rows = page.locator("#list .row")
        expect(rows.first).to_contain_text("user-9999")
        assert rows.count() <= 200
        page.get_by_label("Filter what arrives").fill("user-9876")
        expect(rows).to_have_count(1)
        page.get_by_label("Filter what arrives").fill("")
        expect(rows.first).to_contain_text("user-9999")
        assert page.evaluate("document.querySelectorAll('*').length") < 3_000


def test_a_page_that_only_reads_offers_nothing_that_changes(chromium: Browser, stack: Stack) -> None:
    with looking(chromium, stack, opened=False) as look:
        browsers.flood(look.page, stack, 1, read_only=True, feed_error="BigQuery does not answer")
        look.page.goto(f"{stack.url('page')}/")
        expect(look.page.locator("#shown")).to_have_text("▲ BigQuery does not answer.")
        expect(look.page.locator("#link")).to_have_text("live, only looking")
        for tab in ("Pixel", "Post", "Snippet"):
            look.page.get_by_role("tab", name=tab).click()
            expect(look.page.locator("#send-panel")).to_contain_text("This page only looks: send it yourself.")
        assert look.page.locator(".part button, #rehearse, .fire").count() == 0


@pytest.mark.slow
def test_a_stream_that_breaks_is_said_in_words_and_comes_back_by_itself(chromium: Browser, stack: Stack) -> None:
    with looking(chromium, stack, PHONE, opened=False) as look:
        page, link, loader = look.page, look.page.locator("#link"), look.page.get_by_role("article", name="loader")

        def height() -> float:
            box = page.locator("nav").bounding_box()
            assert box
            return box["height"]

        browsers.flood(page, stack, 0)
        page.goto(f"{stack.url('page')}/")
        expect(loader).to_contain_text("ready")
        high = height()
        page.route("**/api/stream", lambda route: route.fulfill(status=503, body="not running"))
        expect(page.locator("h1")).to_have_text("The page's server does not answer")
        expect(link).to_contain_text("no connection for")
        expect(loader).to_contain_text("last seen ready")
        page.route("**/pixel.gif*", lambda route: route.abort())
        page.get_by_role("button", name="Fire the pixel").click()
        expect(page.locator("#trip")).to_contain_text("Neither the collector nor the page's server answers.")
        assert (height(), overflow(page)) == (high, 0)
        browsers.flood(page, stack, 0, parts=with_collector_ended(stack))
        expect(page.locator("#trip")).to_contain_text("The collector is not running (killed by SIGKILL)")
        page.unroute("**/api/stream")
        expect(link).to_have_text("live")
        expect(loader).not_to_contain_text("last seen")
        look.wrong[:] = [line for line in look.wrong if "503" not in line and "net::ERR_FAILED" not in line]


@pytest.mark.slow
def test_a_tab_that_nobody_sees_leaves_its_connection_to_others(page: Page, stack: Stack) -> None:
    """A browser has six for all tabs of a server."""
    look = "hidden => {{ Object.defineProperty(document, 'hidden', {{ value: hidden, configurable: true }}); {} }}"
    look = look.format("document.dispatchEvent(new Event('visibilitychange'))")
    tabs = [page]
    for _ in range(6):
        tabs[-1].evaluate(look, True)
        tabs.append(page.context.new_page())
        tabs[-1].goto(f"{stack.url('page')}/")
        expect(tabs[-1].locator("#link")).to_have_text("live")
    user = uuid.uuid4().hex
    fire(stack, user_id=user, type="meanwhile")
    expect(tabs[-1].locator("#list")).to_contain_text(user)
    expect(page.locator("#list")).not_to_contain_text(user)
    with page.expect_request("**/api/stream?after=*"):
        page.evaluate(look, False)
    expect(page.locator("#list")).to_contain_text(user)
    expect(page.locator("#link")).to_have_text("live")
    for tab in tabs[1:]:
        tab.close()


@pytest.mark.slow
def test_an_outage_is_rehearsed_shown_where_it_is_and_nothing_is_lost(page: Page, stack: Stack) -> None:
    # As long as it takes to look at everything.
    longer = lambda route: route.continue_(post_data=json.dumps(route.request.post_data_json | {"seconds": 300}))  # noqa: E731
    page.route("**/api/faults", longer)
    page.get_by_role("button", name="Pub/Sub is down").click()
    fault = page.locator(".faults li")
    expect(fault).to_contain_text("s left")
    ids = [fire(stack, user_id="ada", type="outage") for _ in range(5)]
    expect(page.locator(".store", has_text="spool")).to_contain_text("file")
    expect(page.get_by_role("article", name="Pub/Sub")).to_contain_text("in trouble")
    expect(page.locator(".term[data-name=spooled] strong")).not_to_have_text("0")
    expect(page.locator(".verdict")).to_contain_text("Nothing is missing")
    fault.get_by_role("button", name="End it").click()
    expect(fault).to_have_count(0)
    found = [ask(stack, f"/api/events?event_id={event_id}&wait=30")["items"] for event_id in ids]
    assert [len(items) for items in found] == [1] * 5
    expect(page.locator(".term[data-name=spooled] strong")).to_have_text("0")
    expect(page.locator("#flow")).not_to_have_attribute("data-state", "error")


def test_sql_is_answered_as_table_chart_and_number_and_exported(page: Page, tmp_path: Path) -> None:
    columns = ", ".join(f"'{value}' AS text{at}" for at, value in enumerate(FORMULAS))
    page.fill(
        "#query", f"SELECT n, n * n AS square, {columns}, -n AS less FROM UNNEST(GENERATE_ARRAY(1, 30)) AS n ORDER BY n"
    )
    page.press("#query", "Control+Enter")
    expect(page.locator("#asked")).to_contain_text("30 rows")
    expect(page.locator("#result tbody tr")).to_have_count(30)
    page.get_by_role("button", name="Line").click()
    expect(page.locator("#result .series")).to_have_count(3)
    page.get_by_role("button", name="Bar").click()
    expect(page.locator("#result rect")).to_have_count(90)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    download.value.save_as(tmp_path / "export.csv")
    lines = list(csv.reader((tmp_path / "export.csv").open(newline="")))
    assert lines[2] == ["2", "4", *(f"'{value}" for value in FORMULAS), "-2"]
    assert (lines[0][:2], len(lines)) == (["n", "square"], 31)
    page.fill("#query", "SELECT 1234567 AS many")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("#result .numbers")).to_contain_text("1,234,567")
    page.get_by_role("button", name="Events by type").click()
    expect(page.locator("#result")).not_to_contain_text("1,234,567")


@pytest.mark.slow
def test_odd_numbers_are_drawn_as_far_as_they_can_be(page: Page) -> None:
    odd = "STRUCT('a' AS name, 'nan' AS n), ('b', 'inf'), ('c', '-inf'), ('d', NULL), ('e', '1e300')"
    page.fill("#query", f"SELECT name, CAST(n AS FLOAT64) AS n FROM UNNEST([{odd}])")
    page.press("#query", "Control+Enter")
    expect(page.locator("#result rect")).to_have_count(1)
    assert labels(page, "#result") == ["a", "b", "c", "d", "e"]
    ticks = page.locator("#result .tick.end").all_text_contents()
    assert max(map(len, ticks)) <= 8, ticks
    columns = ", ".join(f"n AS n{number}" for number in range(6))
    page.fill("#query", f"SELECT CAST(n AS STRING) AS name, {columns} FROM UNNEST(GENERATE_ARRAY(1, 500)) AS n")
    page.press("#query", "Control+Enter")
    expect(page.locator("#asked")).to_contain_text("500 rows")
    page.get_by_role("button", name="Line").click()
    expect(page.locator("#result")).to_contain_text("Drawn: the first 400 rows, the first 4 of 6 columns.")
    places = [int(one) for one in labels(page, "#result")]
    assert len({after - before for before, after in itertools.pairwise(places)}) == 1, places
    page.get_by_role("button", name="Table").click()
    wide = ", ".join(f"n AS n{number}" for number in range(300))
    page.fill("#query", f"SELECT REPEAT('x', 9000) AS text, {wide} FROM UNNEST(GENERATE_ARRAY(1, 200)) AS n")
    page.press("#query", "Control+Enter")
    expect(page.locator("#result")).to_contain_text("of 200 rows are shown; the export has all of them.")
    assert page.evaluate("document.querySelectorAll('#result *').length") < 25_000
    assert len(page.locator("#result td").first.inner_text()) < 1_000


def test_what_failed_or_was_stopped_leaves_no_older_answer(page: Page) -> None:
    names = "['page_view', 'add_to_cart', 'search', 'order', 'signup', 'view', 'leave']"
    page.fill("#query", f"SELECT name, 1 + place AS times FROM UNNEST({names}) AS name WITH OFFSET AS place")
    page.press("#query", "Control+Enter")
    expect(page.locator("#result rect")).to_have_count(7)
    assert labels(page, "#result")[:3] == ["page_view", "add_to_cart", "search"]
    page.set_viewport_size({"width": 1024, "height": 900})
    page.wait_for_function("document.querySelector('#result .chart').getBoundingClientRect().right < innerWidth")
    assert len(labels(page, "#result")) == 7  # none is left out
    page.fill("#query", "SELECT nothing")
    page.press("#query", "Control+Enter")
    expect(page.locator("#query-error")).not_to_be_empty()
    expect(page.locator("#result")).to_be_empty()
    expect(page.get_by_role("button", name="Export CSV")).to_be_hidden()
    page.fill("#query", LONG)
    page.press("#query", "Control+Enter")
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator("#asked")).to_have_text("stopped")
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()


def test_a_mistake_in_sql_is_underlined_where_it_is_and_the_schema_helps(page: Page) -> None:
    page.fill("#query", "SELECT user_id\nFROM pixelpipe.events\nWHERE colour = 'red'")
    page.press("#query", "Control+Enter")
    expect(page.locator("#query-error")).to_contain_text("Line 3, column 7")
    expect(page.locator("#underline mark")).to_have_text("colour")
    select = "box => box.setSelectionRange(box.value.indexOf('colour'), box.value.indexOf(' ='))"
    page.locator("#query").evaluate(select)
    page.locator("#schema").get_by_role("button", name="type", exact=True).click()
    assert page.input_value("#query").endswith("WHERE type = 'red'")
    expect(page.locator("#query-error")).to_be_empty()


def test_the_proof_adds_up_and_the_cost_is_shown(page: Page, stack: Stack) -> None:
    fire(stack, user_id="ada", type="proof")
    expect(page.locator(".verdict")).to_contain_text("All of them are accounted for")

    def terms() -> list[int]:
        shown = page.locator(".term strong").all_inner_texts()
        return [int(text.replace(",", "")) for text in shown]

    collected, *parts = terms()
    assert collected == sum(parts) > 0
    expect(page.locator("#hours rect").first).to_be_attached()
    expect(page.locator("#hours")).to_contain_text("In no hour is anything missing")
    page.set_viewport_size({"width": PHONE, "height": 844})
    page.wait_for_function("document.querySelector('#hours .chart').getBoundingClientRect().right < innerWidth")
    assert {len(label) for label in labels(page, "#hours")} == {2}  # whole hours
    expect(page.locator("#cost")).to_contain_text("a million events")
    assert float(page.locator("#cost strong").first.inner_text().removeprefix("$")) > 0


@pytest.mark.slow
def test_the_sums_of_the_hours_count_nothing_twice_and_say_of_when_they_are(chromium: Browser, stack: Stack) -> None:
    queues = page_client.of(stack).well()["queues"]
    hour = {"hour": datetime.now(UTC).replace(minute=0, second=0, microsecond=0).isoformat(), "rejected": 0, "dead": 0}
    hour |= {"untold": 0, "difference": 0, "unfinished_collectors": 0, "loaded": 90, "sampled_out": 10}
    with looking(chromium, stack, opened=False) as look:
        page, verdict = look.page, look.page.locator(".verdict")

        def show(collected: int, spooled: int, error: str | None = None) -> list[str]:
            """The terms."""
            hours = [hour | {"collected": collected, "in_flight": collected - 100}]
            proof = {"hours": hours, "text": "", "error": error, "command": ""}
            now = lambda: {"at": datetime.now(UTC).isoformat()}  # noqa: E731
            page.route(re.compile("/api/proof"), lambda route: route.fulfill(json=proof | now()))
            spool = queues["spool"] | {"hits": spooled}
            browsers.flood(page, stack, 0, ledger={"error": "loader does not answer"}, queues=queues | {"spool": spool})
            page.goto(f"{stack.url('page')}/")
            expect(verdict).to_be_attached()
            return page.locator(".term strong").all_inner_texts()

        # collected = loaded + rejected + in flight + spooled + dead + sampled out
        assert show(110, 8) == ["110", "90", "0", "2", "8", "0", "10"]  # the tally has come, and has what is spooled
        expect(verdict).to_contain_text("Nothing is missing: of 110 hits, 10 are on their way.")
        assert page.locator(".shares rect").evaluate_all("all => all.map(one => one.getAttribute('class'))") == [
            *("bar-loaded", "bar-in-flight", "bar-spooled", "bar-sampled-out")
        ]
        # It has not, and BigQuery is away.
        assert show(100, 8, "BigQuery does not answer") == ["108", "90", "0", "0", "8", "0", "10"]
        at = r"As of \d\d:\d\d:\d\d, "
        expect(verdict).to_have_text(re.compile(f"{at}nothing is missing: of 108 hits, 8 are on their way[.]$"))
        expect(page.locator("#hours")).to_contain_text(re.compile(f"{at}in no hour is anything missing[.]"))


def test_nothing_moves_for_who_asks_for_less_motion(chromium: Browser, stack: Stack) -> None:
    fire(stack, user_id="ada", type="still")
    with looking(chromium, stack, reduced_motion="reduce") as look:
        assert look.page.evaluate("getComputedStyle(document.querySelector('.pipe .dots')).animationName") == "none"


@pytest.mark.slow
@pytest.mark.timeout(400)  # a lease ends, and then the proof is asked for again
def test_a_service_is_killed_and_started_by_keyboard_and_the_picture_says_so(page: Page, stack: Stack) -> None:
    loader = page.get_by_role("article", name="loader")
    expect(loader).to_contain_text("ready")
    page.get_by_role("button", name="kill loader").focus()
    page.keyboard.press("Enter")
    expect(loader).to_contain_text("ended")
    expect(page.get_by_role("button", name="start loader")).to_be_focused()
    expect(page.locator("h1")).to_contain_text("oader")
    expect(page.locator(".cross").first).to_be_visible()
    event_id = fire(stack, user_id="ada", type="while-the-loader-is-away")
    expect(page.locator("#ledger")).to_contain_text("The loader has ended. So these are the sums")
    expect(page.locator(".verdict")).to_contain_text(re.compile("on (its|their) way"))  # the proof holds meanwhile
    page.keyboard.press("Enter")
    expect(loader).to_contain_text("ready")
    expect(page.get_by_role("button", name="stop loader")).to_be_focused()
    (item,) = ask(stack, f"/api/events?event_id={event_id}&wait=30")["items"]
    assert item["type"] == "while-the-loader-is-away"
    # Its totals start at 0 again; those by hour do not.
    expect(page.locator("#ledger")).to_contain_text("A service was started again and counts from 0")
    # What the killed loader held comes again once its lease is over.
    accounted = "hits are accounted for"
    expect(page.locator(".verdict")).to_contain_text(accounted, timeout=120_000)
    expect(page.locator(".term[data-name='in flight'] strong")).to_have_text("0")
    collected, loaded, rejected = (
        int(page.locator(f".term[data-name={name}] strong").inner_text().replace(",", ""))
        for name in ("collected", "loaded", "rejected")
    )
    assert collected == loaded + rejected > 0
