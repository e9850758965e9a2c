"""The local page in Chromium: `page_first_paint_s`, and `page_10k_events_s`, after which its list has all of them.

Chromium, the page's server and the rest of the stack share the machine's cores, as they do for who opens the page.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser

from tests.bench.figure import Figure, median
from tests.bench.needs import Missing
from tests.local import browser as browsers
from tests.local import run_stack
from tests.local.browser import looking
from tests.local.run_stack import Stack

OPENED, FLOODED = 7, 3
EVENTS = 10_000
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"


def measure(quick: bool = False) -> dict[str, Figure]:
    if shutil.which("chromium") is None:
        raise Missing("needs chromium: apt-get install chromium")
    with (
        tempfile.TemporaryDirectory() as folder,
        run_stack.running(Path(folder)) as stack,
        browsers.chromium() as browser,
    ):
        paints = [_first_paint(browser, stack) for _ in range(1 + OPENED)]  # the first reads Chromium from the disk
        floods = [_flooded(browser, stack) for _ in range(FLOODED)]
    return {"page_first_paint_s": median(paints[1:]), "page_10k_events_s": median(floods)}


def _first_paint(browser: Browser, stack: Stack) -> float:
    with looking(browser, stack) as look:
        return float(look.page.evaluate(_PAINT))


def _flooded(browser: Browser, stack: Stack) -> float:
    """Seconds from opening the page until its list shows the last of the events."""
    with looking(browser, stack, opened=False) as look:
        browsers.flood(look.page, stack, EVENTS)
        began = time.monotonic()
        look.page.goto(f"{stack.url('page')}/")
        look.page.wait_for_selector(f"#list .row:has-text('user-{EVENTS - 1}')")
        return time.monotonic() - began
