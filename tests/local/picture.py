"""Pictures of the page for the docs: `python -m tests.local.picture` runs the stack with traffic and an outage.

Events of several trackers, a few that go wrong, then Pub/Sub away: each picture is of one moment of that. They look as
intended where the font Inter is installed (Debian: fonts-inter); elsewhere they have the system's.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
import tempfile
import threading
import time
from pathlib import Path

import requests
from PIL import Image
from playwright.sync_api import Page, expect

from local.stack import DATA
from services.shared import schema
from tests import process
from tests.local import browser as browsers
from tests.local import run_stack
from tests.local.browser import PHONE, looking
from tests.observability import load

QUIET = 45.0  # seconds of traffic before the first picture
OUTAGE = 9.0
PAUSE = 0.03  # between two events
PEOPLE = ("ada", "grace", "margaret", "linus", "barbara", "edsger")
TYPES = ("page_view", "page_view", "page_view", "add_to_cart", "search", "order", "signup")
COLOURS = 256  # of a picture: enough for text on plain grounds, and half the bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=process.ROOT / "docs" / "img", help="their folder (%(default)s)")
    parser.add_argument("--faster", type=float, default=1.0, help="so many times shorter")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for file in taken(Path(folder) / DATA.name, options.to, options.faster):
            print(f"{file}: {file.stat().st_size} bytes")


def taken(data: Path, to: Path, faster: float) -> list[Path]:
    """The pictures, made of one run with the schema file that a user starts from."""
    expect.set_options(timeout=30_000)
    with (
        run_stack.running(data, PIPE_SCHEMA=str(schema.DEFAULT_FILE)) as stack,
        browsers.chromium() as chromium,
        load.beside(lambda over: _send(stack.url("collector"), over)),
        looking(chromium, stack) as light,
        looking(chromium, stack, scheme="dark") as dark,
        looking(chromium, stack, PHONE, device_scale_factor=2) as phone,
    ):
        time.sleep(QUIET / faster)
        made = [kept(fired(light.page), to / "page.png"), kept(story(light.page), to / "page-story.png")]
        light.page.keyboard.press("Escape")
        made.append(kept(proof(light.page), to / "page-proof.png"))
        light.page.get_by_role("button", name="Pub/Sub is down").click()
        time.sleep(OUTAGE / faster)
        expect(dark.page.locator(".cross").first).to_be_visible()
        for look, name in ((dark, "page-dark.png"), (phone, "page-phone.png")):
            made.append(kept(look.page.screenshot(), to / name))
        return made


def fired(page: Page) -> bytes:
    page.set_viewport_size({"width": 1440, "height": 1050})
    page.get_by_role("button", name="Fire the pixel").click()
    expect(page.locator("#trip")).to_contain_text("Travelled in")
    page.evaluate("scrollTo(0, 0)")
    return page.screenshot()


def story(page: Page) -> bytes:
    page.get_by_role("button", name="Went wrong").click()
    page.locator("#list .row[data-kind=problem]").first.click()
    page.wait_for_selector("dialog .steps")
    return page.screenshot()


def proof(page: Page) -> bytes:
    page.set_viewport_size({"width": 1440, "height": 1300})
    page.get_by_role("button", name="Events by type").click()
    expect(page.locator("#result rect").first).to_be_visible()
    page.evaluate("document.querySelector('#proof').scrollIntoView()")
    return page.screenshot()


def kept(picture: bytes, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    return file


def _send(url: str, over: threading.Event) -> None:
    chance = random.Random(7)
    with requests.Session() as session:
        session.trust_env = False
        session.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
        for number in itertools.count():
            if over.wait(PAUSE * chance.expovariate(1.0)):
                return
            _one(session, url, number, chance.choice(TYPES), chance.choice(PEOPLE))


def _one(session: requests.Session, url: str, number: int, kind: str, person: str) -> None:
    page = f"https://shop.example/{kind.replace('_', '-')}"
    if number % 23 == 5:
        session.get(f"{url}/pixel.gif", params={"type": kind, "url": page}, timeout=30)  # of nobody: a reject
    elif number % 17 == 3:
        params = {"type": kind, "user_id": person, "url": page, "event_time": "yesterday", "coupon": "SPRING"}
        session.get(f"{url}/pixel.gif", params=params, timeout=30)
    elif number % 5 == 1:
        event = {"type": "track", "event": kind, "userId": person, "context": {"page": {"url": page}}}
        session.post(f"{url}/v1/track", json=event, timeout=30)
    elif number % 7 == 2:
        session.post(f"{url}/api/event", json={"n": kind, "u": page, "d": "shop.example"}, timeout=30)
    elif number % 11 == 4:
        event = {"event": kind, "distinct_id": person, "properties": {"$current_url": page}}
        session.post(f"{url}/e", json=event, timeout=30)
    else:
        session.get(f"{url}/pixel.gif", params={"type": kind, "user_id": person, "url": page}, timeout=30)


if __name__ == "__main__":
    main()
