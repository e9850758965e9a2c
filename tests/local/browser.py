"""Chromium on the local page: each look at it notes what the console says and which hosts are asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from playwright.sync_api import Browser, Page, Route, sync_playwright

from tests.local.run_stack import Stack
from tests.tools import require

PHONE = 390
_OPTIONS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"


@dataclass
class Look:
    page: Page
    allowed: set[str]  # origins
    wrong: list[str] = field(default_factory=list)

    def note_console(self, message: Any) -> None:
        # Chromium notes every answer that is an error, though the page shows it.
        if message.type in ("error", "warning") and "the server responded with a status of 4" not in message.text:
            self.wrong.append(message.text)

    def note_request(self, request: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and f"{url.scheme}://{url.netloc}" not in self.allowed:
            self.wrong.append(f"a request to {request.url}")


@contextmanager
def chromium() -> Iterator[Browser]:
    path = require("chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_OPTIONS.split(), timeout=120_000)
        yield browser
        browser.close()


@contextmanager
def looking(browser: Browser, stack: Stack, width: int = 1440, scheme: Any = "light", **options: Any) -> Iterator[Look]:
    """The page, opened unless `options` has `opened=False`; nothing may be wrong when one leaves."""
    opened = options.pop("opened", True)
    height = 844 if width <= PHONE else 900
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, **options)
    context.set_default_timeout(60_000)
    look = Look(context.new_page(), {stack.url("page"), stack.url("collector")})
    look.page.on("console", look.note_console)
    look.page.on("pageerror", lambda error: look.wrong.append(str(error)))
    look.page.on("request", look.note_request)
    if opened:
        look.page.goto(f"{stack.url('page')}/")
        look.page.wait_for_selector("#link[data-link=live]")
    yield look
    context.close()
    assert look.wrong == []


def flood(page: Page, stack: Stack, events: int, **other: Any) -> None:
    """From now on the page's stream is the state of the moment, with `other` in it, and so many events by user-0 …"""

    def answer(route: Route) -> None:
        state = requests.get(f"{stack.url('page')}/api/state", timeout=60).json() | other
        sent = [f"retry: 600000\nevent: state\ndata: {json.dumps(state)}\n\n"]
        for first in range(0, events, 200):
            items = [_item(number) for number in range(first, min(events, first + 200))]
            sent.append(f"event: items\ndata: {json.dumps({'items': items, 'skipped': 0})}\n\n")
        route.fulfill(content_type="text/event-stream", body="".join(sent))

    page.route("**/api/stream", answer)


def _item(number: int) -> dict[str, Any]:
    who = {"key": str(number), "id": f"id-{number}", "type": "view", "who": f"user-{number}", "problems": [], "row": {}}
    return {"table": "events", "kind": "event", "at": "2026-03-01T12:00:00Z", **who}
