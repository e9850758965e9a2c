"""The examples of docs/testing-your-tracking.md, run as they stand.

Only addresses are those of the test's stack, and what waits for an event has more time, as a busy machine may need.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import playwright
import pytest
import requests
from playwright.sync_api import sync_playwright

from tests import process
from tests.docs import test_typed, typed
from tests.local.run_stack import Stack
from tests.tools import require
from tests.trackers import npm

TEXT = (process.ROOT / "docs" / "testing-your-tracking.md").read_text()
BLOCKS = re.findall(r"^## (.*?)$|^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
DRIVER = Path(playwright.__file__).parent / "driver"
SITE = "https://staging.example.com/checkout"


def blocks(section: str, language: str) -> list[str]:
    found, inside = [], False
    for heading, kind, text in BLOCKS:
        if heading:
            inside = heading == section
        elif inside and kind == language:
            found.append(text)
    assert found
    return found


@pytest.fixture
def local(stack: Stack, tmp_path: Path) -> str:
    """A page that tracks an order, as a URL."""
    site = tmp_path / "checkout.html"
    site.write_text(f'<img src="{stack.url("collector")}/pixel.gif?user_id=ada&amp;type=order">')
    return site.as_uri()


def here(text: str, stack: Stack, site: str) -> str:
    return text.replace("http://127.0.0.1:8000", stack.url("page")).replace(SITE, site).replace("wait=5", "wait=25")


@pytest.mark.slow
def test_the_fixture_and_the_tests_of_pytest(stack: Stack, tmp_path: Path) -> None:
    conftest, tests = blocks("pytest", "python")
    (tmp_path / "conftest.py").write_text(here(conftest, stack, ""))
    (tmp_path / "test_orders.py").write_text(tests)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    environment = {**os.environ, "PIXELPIPE_PAGE": stack.url("page")}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_the_lines_for_playwright_in_python(stack: Stack, local: str) -> None:
    chromium = require("chromium", "apt-get install chromium")
    (lines,) = blocks("Playwright", "python")
    assert len(lines.splitlines()) == 3
    with sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=chromium, args=options, timeout=120_000)
        exec(here(lines, stack, local), {"page": browser.new_page()})  # noqa: S102 - the document's own lines
        browser.close()


PLAYWRIGHT = """
const {{ test, expect }} = require('@playwright/test');
test.use({{ launchOptions: {{ executablePath: {chromium}, args: ['--no-sandbox', '--disable-gpu'] }} }});
test('an order is tracked', async ({{ page, request }}) => {{
  {lines}
}});
"""


@pytest.mark.slow
def test_the_lines_for_playwright_in_javascript(stack: Stack, local: str, tmp_path: Path) -> None:
    """In Playwright's own test runner, from npm."""
    chromium = require("chromium", "apt-get install chromium")
    (lines,) = blocks("Playwright", "js")
    assert len(lines.splitlines()) == 3
    (tmp_path / "node_modules").symlink_to(npm.installed() / "node_modules")
    script = PLAYWRIGHT.format(chromium=json.dumps(chromium), lines=here(lines, stack, local))
    (tmp_path / "order.spec.js").write_text(script)
    runner = tmp_path / "node_modules" / "@playwright" / "test" / "cli.js"
    options = ("--reporter=line", "--workers=1", "--timeout=90000", "--output", "results")
    command = [str(DRIVER / "node"), str(runner), "test", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


CYPRESS = """
const assert = require('assert');
let queue = Promise.resolve();
const cy = {{
  visit: (url) => {{ queue = queue.then(() => fetch(new URL({pixel}))); }},
  request: (...asked) => {{
    const [url, method] = asked.length > 1 ? [asked[1], asked[0]] : [asked[0], 'GET'];
    queue = queue.then(() => fetch(url, {{ method }}).then(async (reply) => {{
      assert.ok(reply.ok);
      return {{ body: await reply.json() }};
    }}));
    return {{ its: (path) => ({{ should: (what, length) => {{
      assert.strictEqual(what, 'have.length');
      queue = queue.then((reply) => {{
        const found = path.split('.').reduce((value, name) => value[name], reply);
        assert.strictEqual(found.length, length);
      }});
    }} }}) }};
  }},
}};
{lines}
queue.catch((error) => {{ console.error(error); process.exit(1); }});
"""


def test_the_lines_for_cypress_ask_what_is_there(stack: Stack, local: str) -> None:
    """Cypress itself is not run: its npm package fetches a program of 200 MB that no lock holds. Its three commands are
    stood in for, so that addresses and shapes are held."""
    (lines,) = blocks("Cypress", "js")
    assert len(lines.splitlines()) == 3
    pixel = json.dumps(f"{stack.url('collector')}/pixel.gif?user_id=ada&type=order")
    script = CYPRESS.format(pixel=pixel, lines=here(lines, stack, local))
    done = subprocess.run([str(DRIVER / "node"), "-e", script], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


# What commands that ask the page or a control port answer, by how they begin: the longest that fits.
SAYS = {
    "curl 'http://127.0.0.1:8000/api/events": '"user_id": "ada"',
    "curl -X DELETE http://127.0.0.1:N/faults/1": '"removed": 1',
    'curl -d \'{"effect": "error"': '"effect": "error"',
    'curl -d \'{"url"': '"outcome": "row"',
    "curl -fs http://127.0.0.1:8000/readyz": "ready",
    "curl http://127.0.0.1:N/backlogs": "pixelpipe-hits-processor",
    "curl http://127.0.0.1:N/faults": '"effect": "error"',
    "python -m local fault bigquery '": '"effect": "row_errors"',
    "python -m local fault pubsub": '"effect": "latency"',
    "python -m local fault pubsub '": '"effect": "latency"',
    "python -m local fault pubsub --remove 1": '"removed": 1',
}


@pytest.mark.slow
def test_the_commands_of_the_shell(stack: Stack) -> None:
    """Of this document and of all others: what tests/ops/test_documents.py does not run."""
    ports = stack.running().ports
    control = {name: f"http://127.0.0.1:{getattr(ports, f'{name}_control')}" for name in ("pubsub", "bigquery")}
    texts = dict.fromkeys(text for one in typed.typed() for text in typed.parts(one.text))
    fault, used = "1", set()
    assert stack.fire("user_id=ada&type=order") == 200
    try:
        for text in filter(test_typed.of_the_page, texts):
            key = max((key for key in SAYS if text.startswith(key)), key=len, default=None)
            assert key, f"what does it say? Add it to SAYS: {text}"
            used.add(key)
            command = here(text, stack, "").replace("http://127.0.0.1:N", control["pubsub"])
            command = re.sub("(/faults/|--remove )1", rf"\g<1>{fault}", command).replace("curl ", "curl -sf ")
            command = command.replace("python -m local fault", f"{sys.executable} -m local fault --data {stack.data}")
            done = subprocess.run(["bash", "-c", command], cwd=process.ROOT, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0 and SAYS[key] in done.stdout, f"{text}\n{done.stdout}\n{done.stderr}"
            if found := re.match(r'{"id": "(\w+)"', done.stdout):
                fault = found[1] if "bigquery" not in text else fault
    finally:
        for url in control.values():
            requests.delete(f"{url}/faults", timeout=60)
    assert used == set(SAYS)
