"""The page of a cluster: by forwarded admin ports and BigQuery's own client, and it changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from local import stack as layout
from local.__main__ import main
from tests import process
from tests.local.page_client import Page, new_id
from tests.local.run_stack import Stack

pytestmark = pytest.mark.slow  # another process with all of the page's imports


@pytest.fixture(scope="module")
def page(stack: Stack) -> Iterator[Page]:
    """The session's stack in the cluster's place, without the files and sockets of one."""
    port = process.free_port()
    admin = layout.admin_urls(stack.running().ports)
    options = [f"--{name}-admin={url}" for name, url in admin.items()]
    options += [f"--collector={stack.url('collector')}", f"--page-port={port}", "--project=local"]
    started = process.start(
        "local",
        "page",
        *options,
        f"--schema={process.SCHEMA_FILE}",
        env={"BIGQUERY_EMULATOR_HOST": stack.url("bigquery")},
        wait_ready=False,
    )
    found = Page(f"http://127.0.0.1:{port}")
    process.wait_for(lambda: "only looking at local.pixelpipe: " in started.output(), 60, "the page")

    def up() -> bool:
        try:
            return requests.get(f"{found.url}/readyz", timeout=5).ok
        except requests.ConnectionError:
            return False

    process.wait_for(up, 60, "the page to answer")
    yield found
    assert started.stop() == 0, started.output()
    started.log.unlink()


def test_it_looks(stack: Stack, page: Page) -> None:
    one = new_id()
    stack.fire(f"event_id={one}&user_id=ada")
    assert page.get("/api/events", event_id=one, wait=30)["complete"]
    parts = [
        *((name, "ready", []) for name in ("collector", "processor", "loader")),
        ("pubsub", "unknown", []),
        ("bigquery", "unknown", []),
    ]

    def seen() -> list[tuple[str, str, list[str]]]:
        return [(part["name"], part["status"], part["can"]) for part in page.state()["parts"]]

    process.wait_for(lambda: seen() == parts, 60, f"these parts: {parts}; it says {seen()}")
    state = page.state()
    assert state["read_only"] is True
    assert state["ledger"] == {"error": "each figure is that of one pod; the proof by hour has all"}
    story = page.get("/api/story", event_id=one)
    assert story["note"].startswith("the raw request is no longer known")
    hours = page.get("/api/proof")["hours"]
    assert sum(hour["loaded"] for hour in hours) > 0  # by the tallies: it has no subscription to count with


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/services/loader/kill", None),
        ("POST", "/api/faults", {"target": "pubsub", "effect": "error"}),
        ("DELETE", "/api/faults", None),
        ("DELETE", "/api/faults/pubsub-1", None),
    ],
)
def test_it_changes_nothing(page: Page, method: str, path: str, body: object) -> None:
    said = "this page only looks at a cluster: it changes nothing there"
    assert page.refused(path, body, method) == (403, {"message": said})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--project", "My Project"), "argument --project: "),
        (("--project", "p", "--collector", "nowhere"), "argument --collector: 'nowhere': use a URL"),
        (("--project", "p", "--schema", "/nowhere"), "page: /nowhere"),  # and no word of what may be left out
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["page", *options], {})
    except SystemExit as ended:  # argparse
        code = int(ended.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
