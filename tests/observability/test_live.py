"""A real Prometheus scrapes the running stack: every expression is executed, and none is empty or no number."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from local import stack as local_stack
from observability.generate import BOARDS
from services.ops import reconcile_report
from services.shared.reconciliation import SERVICES
from tests import process
from tests.local import run_stack
from tests.observability import boards, drawing, load, prometheus, reconcile_job, unit
from tests.observability.boards import filled
from tests.process import SCHEMA_FILE, wait_for
from tests.tools import require

pytestmark = pytest.mark.slow
SERIES = 500  # of one pod
LARGEST = {"percentunit": 2.0, "s": 4e9, "currencyUSD": 10.0, "reqps": 1e4, "wps": 1e5, "cps": 1e3, "Bps": 1e8}


@dataclass(frozen=True)
class Watched:
    stack: run_stack.Stack
    prometheus: prometheus.Prometheus
    report: dict[str, Any]  # of the daily Job
    job: str  # what it answered at /metrics


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The stack under load, scraped since its start; 8 s of it have been seen, and a daily Job has come and gone."""
    require("prometheus", unit.INSTALL)
    folder: Path = tmp_path_factory.mktemp("watched")
    rules = [prometheus.sped_up(path, folder) for path in unit.FILES]
    with run_stack.running(folder / "local", PIPE_HOOKS=load.HOOK, PIPE_SCHEMA=str(_schema(folder))) as stack:
        port = process.free_port()
        pods = {**local_stack.admin_urls(stack.running().ports), "reconcile": f"http://127.0.0.1:{port}"}
        with prometheus.running(folder, pods, rules) as started, load.running(stack.url("collector")):
            seen = "count_over_time(pixelpipe_loader_end_to_end_seconds_count[1m]) > 8 and "
            seen += "pixelpipe_loader_end_to_end_seconds_count > 300"
            wait_for(lambda: started.now(seen), 200, "rows that Prometheus has seen")
            ports = stack.running().ports
            emulators = {
                "PUBSUB_EMULATOR_HOST": f"127.0.0.1:{ports.pubsub}",
                "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{ports.bigquery}",
            }
            report = folder / "report.json"
            with reconcile_job.running(emulators, stack.running().project, port, report):
                job = requests.get(f"{pods['reconcile']}/metrics", timeout=60).text
                scraped = "count_over_time(pixelpipe_reconciliation_timestamp_seconds[1m]) > 1"
                wait_for(lambda: started.now(scraped), 60, "two scrapes of the Job")
            gone = "pixelpipe_reconciliation_timestamp_seconds"
            wait_for(lambda: not started.now(gone), 60, "the Job's pod to be gone")
            yield Watched(stack, started, json.loads(report.read_text()), job)


_COPY = """
  sampled:
    copy: true
    sample: 0.5
    partition: day
    columns:
      day:         {type: DATE, mode: REQUIRED, from: event.day}
      event_id:    {type: STRING, mode: REQUIRED, from: event.id}
      received_at: {type: TIMESTAMP, mode: REQUIRED, from: hit.received_at}
      tenant:      {type: STRING, from: hit.tenant}
      user_id:     {type: STRING, from: param.user_id}
"""


def _schema(folder: Path) -> Path:
    """The tests' own, with what has panels: a tenant, a column that orders do not fit, a copy, a sample, a lookup."""
    text = SCHEMA_FILE.read_text()
    text, tenants = re.subn(r"from: \[param.tenant, param.tenant_id\]", "from: hit.tenant", text)
    assert tenants == 2
    text = text.replace("      params:", "      total:       {type: INT64, from: param.total}\n      params:", 1)
    text = text.replace("      params:", "      plan:        {type: STRING, from: lookup.plans.plan}\n      params:", 1)
    text = text.replace("\n  rejects:", f"\n{_COPY}\n  rejects:", 1)
    plans = folder / "plans.csv"
    plans.write_text("user,plan\nada,free\n")
    file = folder / "schema.yaml"
    more = f"lookups: {{plans: {{file: {plans}, key: user, by: param.user_id}}}}\n"
    file.write_text(text + more + "tenants: {list: {shop: {hosts: [127.0.0.1]}}}\n")
    return file


def test_every_panel_shows_something(watched: Watched) -> None:
    """Queries of the cloud's panels ask series made up here; all others what the services really say."""
    empty, odd = [], []
    for target in [*boards.targets(cloud=False), *boards.targets(cloud=True)]:
        found = watched.prometheus.now(filled(target.expr))
        if not found:
            empty.append(f"{target.id}: {target.expr}")
        for one in found:
            value = one.values[0][1]
            # A difference of counters that are scraped a moment apart may be a little below 0.
            least = -1_000 if re.search("pixelpipe:ledger_|reconciliation_hits", target.expr) else 0
            if not least <= value <= LARGEST.get(target.unit, 1e12):
                odd.append(f"{target.id}: {value}")
    assert not empty, "\n".join(empty)
    assert not odd, "\n".join(odd)


def test_panels_say_what_the_load_was(watched: Watched) -> None:
    """Magnitudes: the same rate everywhere, latencies of this machine, no hit missing."""
    (hits, *_), (rows, *_) = (
        watched.prometheus.now(f"sum(increase({name}[1m]))")
        for name in ("pixelpipe_collector_hits_total", "pixelpipe_loader_rows_loaded_total")
    )
    assert rows.values[0][1] == pytest.approx(hits.values[0][1], rel=0.3)
    by_title = {(one.board, one.panel): one for one in boards.targets(cloud=False)}
    p95 = watched.prometheus.value(filled(by_title["pipeline", "Receipt to row, p95"].expr))
    assert 0.001 < p95 < 10
    cost = watched.prometheus.value(filled(by_title["pipeline", "Dollars a million hits"].expr))
    assert 0.001 < cost < 1, "a million hits cost cents"


def test_panels_say_what_the_daily_job_reported(watched: Watched) -> None:
    """After its pod is gone."""
    by_title = {one.panel: one for one in boards.targets(cloud=False) if one.panel.startswith("Daily reconciliation")}
    found = watched.prometheus.now(filled(by_title["Daily reconciliation"].expr))
    shown = {one.labels["outcome"]: one.values[0][1] for one in found}
    assert shown == {name: watched.report["sums"][name] for name in reconcile_report.OUTCOMES}
    assert shown["loaded"] > 0 and watched.report["missing"] == 0
    assert 0 < watched.prometheus.value(filled(by_title["Daily reconciliation, age"].expr)) < 600


def test_every_rule_can_be_executed(watched: Watched) -> None:
    """Alerts give nothing here, or few; recordings give what they are for."""
    for path in unit.FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                found = watched.prometheus.now(rule["expr"])
                assert all(math.isfinite(one.values[0][1]) for one in found), rule
                if "record" in rule:
                    assert found, rule["record"]
    groups = watched.prometheus.get("rules")["groups"]
    broken = [rule for group in groups for rule in group["rules"] if rule["health"] != "ok"]
    assert not broken, broken


def test_metrics_keep_to_conventions_and_are_few(watched: Watched) -> None:
    promtool = require("promtool", unit.INSTALL)
    urls = local_stack.admin_urls(watched.stack.running().ports)
    texts = {service: requests.get(f"{urls[service]}/metrics", timeout=60).text for service in SERVICES}
    for service, text in {**texts, "reconcile": watched.job}.items():
        done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0 and not done.stderr, done.stderr
        series = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert len(series) < SERIES, service
        assert not re.search(r"\bada\b|nonsense|nothing-here|python-requests", text), "a stranger's value"


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_drawn(watched: Watched, name: str, tmp_path: Path) -> None:
    now = time.time()
    file = tmp_path / f"{name}.png"
    drawing.draw(watched.prometheus, name, now - 10, now, 1.0, file, "")
    assert file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 20_000
