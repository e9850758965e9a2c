"""The visitor cookie in a real browser: set for our own tracker, sent back, and gone with an opt-out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from tests.e2e import site as sites
from tests.e2e.conftest import chromium, start_stack

SCHEMA = Path(__file__).with_name("schema.yaml")
COLUMN = "      session_id:   {"


@pytest.fixture
def context() -> Iterator[BrowserContext]:
    with chromium() as browser:
        context = browser.new_context()
        context.set_default_timeout(90_000)
        yield context


def _cookie(context: BrowserContext, *, there: bool) -> dict[str, Any]:
    """The cookie once it is there, or no more."""
    end = time.monotonic() + 60
    while bool(found := context.cookies()) is not there:
        assert time.monotonic() < end, found
        context.pages[0].wait_for_timeout(20)
    return dict(found[0]) if found else {}


@pytest.mark.slow
def test_a_visitor_is_known_by_the_cookie_until_they_opt_out(tmp_path: Path, context: BrowserContext) -> None:
    with sites.serving("") as site:
        page_url = site.url.replace("127.0.0.1", "localhost")
        text = SCHEMA.read_text().replace(
            COLUMN, "      visitor_id: {type: STRING, from: hit.visitor_id}\n" + COLUMN, 1
        )
        schema = tmp_path / "schema.yaml"
        schema.write_text(f"privacy: {{cookie: {{origins: ['{page_url}'], days: 30}}}}\n{text}")
        stack = start_stack(tmp_path / "data", {"PIPE_SCHEMA": str(schema)})
        try:
            # Another origin of the same site, as t.example.com is to www.example.com.
            collector = stack.collector.replace("127.0.0.1", "localhost")
            site.pages["/"] = f'<!doctype html><script src="{collector}/p.js"></script>'
            page = context.new_page()
            page.goto(page_url)
            cookie = _cookie(context, there=True)
            version, visitor, _ = cookie["value"].split(".")
            assert (version, len(visitor)) == ("v1", 22)
            assert (cookie["name"], cookie["path"], cookie["domain"]) == ("pp_visitor", "/", "localhost")
            assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Lax")
            assert 29 * 86_400 < cookie["expires"] - time.time() <= 30 * 86_400
            assert page.evaluate("document.cookie") == ""
            page.evaluate("pixelpipe.track('again')")
            rows = stack.rows("SELECT type, visitor_id FROM pixelpipe.events", 2)
            assert sorted((row["type"], row["visitor_id"]) for row in rows) == [("again", visitor), ("page", visitor)]
            assert _cookie(context, there=True) == cookie

            page.evaluate("pixelpipe.track('quiet', {consent: 'denied'})")
            _cookie(context, there=False)
            (row,) = stack.rows("SELECT visitor_id FROM pixelpipe.events WHERE type = 'quiet'")
            assert row["visitor_id"] is None
        finally:
            assert stack.stop() == 0, stack.process.output()
