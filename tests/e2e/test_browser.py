"""A real browser fires pixels and beacons at the real pipeline."""

from __future__ import annotations

import http.server
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack, chromium

PAGE = """<!doctype html><title>shop</title><h1>A page of another origin</h1>
<script>
  const asked = new URLSearchParams(location.search), to = asked.get("collector"), user = asked.get("user");
  window.sent = {};
  const image = new Image();
  image.onload = () => window.sent.img = image.naturalWidth + "x" + image.naturalHeight;
  image.src = `${to}/pixel.gif?user_id=${user}&type=img&note=${encodeURIComponent("café")}`;
  document.body.appendChild(image);
  window.sent.text = navigator.sendBeacon(`${to}/events`, JSON.stringify({user_id: user, type: "beacon-text"}));
  window.sent.json = navigator.sendBeacon(`${to}/events`,
    new Blob([JSON.stringify({user_id: user, type: "beacon-json"})], {type: "application/json"}));
  fetch(`${to}/events`, {method: "POST", keepalive: true, headers: {"Content-Type": "application/json"},
    body: JSON.stringify([{user_id: user, type: "fetch-1"}, {user_id: user, type: "fetch-2"}])})
    .then(reply => window.sent.fetch = reply.status);
  addEventListener("pagehide",
    () => navigator.sendBeacon(`${to}/events`, JSON.stringify({user_id: user, type: "leave"})));
</script>
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[str]:
    """A page of another origin than the collector's."""
    (tmp_path / "index.html").write_text(PAGE)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_browsers_pixel_beacons_and_fetches_are_rows(stack: Stack, shop: str) -> None:
    user = uuid.uuid4().hex
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{shop}/?collector={stack.collector}&user={user}")
        page.wait_for_function("window.sent.img && window.sent.fetch", timeout=60_000)
        assert page.evaluate("window.sent") == {"img": "1x1", "text": True, "json": True, "fetch": 204}
        page.goto("about:blank")
        found = stack.rows(
            f"SELECT type, url, user_agent, params FROM pixelpipe.events WHERE user_id = '{user}'", wanted=6
        )
    assert {row["type"] for row in found} == {"img", "beacon-text", "beacon-json", "fetch-1", "fetch-2", "leave"}
    assert all("Chrome" in row["user_agent"] and row["url"].startswith(shop) for row in found)
