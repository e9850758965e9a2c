"""A pixel in, a typed row out: the whole pipeline as `make run` starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from google.cloud import pubsub_v1

from local import stack as local_stack
from services.shared import identity, resource_names
from services.shared.resource_names import topic_path
from tests import process
from tests.e2e.conftest import Stack, start_stack
from tests.processor.test_log_entry import ENTRY


def _get(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.status, reply.read()


def test_a_pixel_is_a_typed_row(stack: Stack) -> None:
    user = uuid.uuid4().hex
    query = f"user_id={user}&type=click&order_id=o-7&event_time=2026-01-01T02:00:00%2B02:00&note=caf%C3%A9&n=1.10"
    status, image = _get(f"{stack.collector}/pixel.gif?{query}")
    assert (status, image[:6]) == (200, b"GIF89a")
    (row,) = stack.rows(f"SELECT *, received_at IS NOT NULL AS seen FROM pixelpipe.events WHERE user_id = '{user}'")
    assert (row["type"], row["order_id"], row["ip"], row["seen"]) == ("click", "o-7", "127.0.0.0", True)
    assert row["event_time"].startswith("2026-01-01T00:00:00")
    assert row["user_agent"].startswith("Python-urllib")
    params = row["params"] if isinstance(row["params"], dict) else json.loads(row["params"])
    assert params == {"note": "café", "n": "1.10"}
    assert row["day"] == row["received_at"][:10]


def test_a_bad_event_is_a_reject_with_its_reason(stack: Stack) -> None:
    mark = uuid.uuid4().hex
    assert _get(f"{stack.collector}/i?type=click&event_id={mark}")[0] == 200
    (row,) = stack.rows(f"SELECT reason, `column`, stage FROM pixelpipe.rejects WHERE event_id = '{mark}'")
    assert row == {"reason": "missing", "column": "user_id", "stage": "processor"}


def test_a_log_entry_is_a_row(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    user = uuid.uuid4().hex
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{stack.ports['pubsub']}")
    url = ENTRY["httpRequest"]["requestUrl"].replace("507f", user)
    entry = {**ENTRY, "insertId": user, "httpRequest": {**ENTRY["httpRequest"], "requestUrl": url}}
    topic = topic_path(local_stack.PROJECT, resource_names.HITS_TOPIC)
    pubsub_v1.PublisherClient().publish(topic, json.dumps(entry).encode()).result(60)
    (row,) = stack.rows(f"SELECT * FROM pixelpipe.events WHERE user_id = '{user}'")
    assert (row["type"], row["ip"], row["day"]) == ("click", "203.0.113.0", "2026-11-20")


def test_make_query_passes_the_sql_as_it_was_typed(stack: Stack) -> None:
    user = uuid.uuid4().hex
    _get(f"{stack.collector}/i?user_id={user}&total=12.50")
    sql = f"""SELECT user_id, JSON_VALUE(params, "$.total") AS total FROM pixelpipe.events WHERE user_id = '{user}'"""
    stack.rows(sql)
    make = ["make", "-s", "-o", f"{sys.prefix}/.run", f"VENV={sys.prefix}", "query", f"SQL={sql}", "FORMAT=json"]
    environ = {**os.environ, "LOCAL_DATA": str(stack.data)}
    asked = subprocess.run(make, cwd=process.ROOT, env=environ, capture_output=True, timeout=100, check=False)
    assert asked.stdout.decode() == f'{{"user_id": "{user}", "total": "12.50"}}\n', asked.stderr.decode()


def test_an_event_sent_twice_counts_once(stack: Stack) -> None:
    user, mark = uuid.uuid4().hex, identity.uuid7(time.time_ns() // 1000)
    for _ in range(3):
        _get(f"{stack.collector}/i?user_id={user}&event_id={mark}")
    stack.rows(f"SELECT event_id FROM pixelpipe.events_log WHERE user_id = '{user}'", wanted=3)
    (row,) = stack.query(f"SELECT event_id FROM pixelpipe.events WHERE user_id = '{user}'")
    assert row["event_id"] == mark


def test_every_acknowledged_hit_is_one_row_or_one_reject(stack: Stack) -> None:
    hits = int(os.environ.get("HITS", "2000"))
    command = ("services.ops", "load", "--url", stack.collector, "--bigquery", stack.bigquery, "--hits", str(hits))
    fired = process.start(*command, wait_ready=False)
    assert fired.process.wait(110) == 0, fired.output()
    outcome = json.loads(next(line for line in fired.output().splitlines() if line.startswith("{")))
    assert outcome["acknowledged"] == hits
    assert (outcome["rows"], outcome["rejects"]) == (hits - hits // 100, hits // 100)
    assert (outcome["lost"], outcome["duplicated"], outcome["refused"]) == (0, 0, 0)


def test_metrics_are_on_the_admin_ports_and_never_on_the_public_one(stack: Stack) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        _get(stack.collector + "/metrics")
    for service in ("collector", "processor", "loader"):
        text = _get(f"http://127.0.0.1:{stack.ports[service + '_admin']}/metrics")[1].decode()
        assert re.search(rf'pixelpipe_build_info{{[^}}]*service="{service}"', text)
        assert f"pixelpipe_{service}_" in text


def test_logs_are_json_lines_for_cloud_logging(stack: Stack) -> None:
    for service in ("collector", "processor", "loader"):
        lines = [json.loads(line) for line in (stack.data / "logs" / f"{service}.log").read_text().splitlines()]
        assert lines
        for line in lines:
            assert line["severity"] in ("INFO", "WARNING")
            assert line["message"]
            assert line["time"].endswith("Z")


@pytest.mark.slow
def test_data_stay_for_the_next_run_and_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    first = start_stack(tmp_path)
    _get(f"{first.collector}/i?user_id=stays&type=view")
    first.rows("SELECT type FROM pixelpipe.events WHERE user_id = 'stays'")
    pids = [one["pid"] for one in json.loads((tmp_path / "run.json").read_text())["children"]]
    assert first.stop(signal.SIGINT) == 0, first.process.output()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    second = start_stack(tmp_path)
    try:
        assert second.query("SELECT type FROM pixelpipe.events WHERE user_id = 'stays'") == [{"type": "view"}]
        _get(f"{second.collector}/i?user_id=stays&type=again")
        second.rows("SELECT type FROM pixelpipe.events WHERE user_id = 'stays'", wanted=2)
    finally:
        assert second.stop() == 0, second.process.output()
