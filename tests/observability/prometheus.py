"""Debian's Prometheus, on the loopback interface, scraping what it is told once a second."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml

from services.shared import resource_names
from tests import process
from tests.observability.unit import INSTALL
from tests.tools import require

LABELS = {"cluster": "local", "namespace": "default", "release": "pixelpipe"}


def made_up(*, trouble: bool = False) -> str:
    """What Google Cloud and the cluster would say: little waits, pods use half of what they may and are throttled.

    In `trouble` old messages wait, and more every second, though there are as many pods as may be.
    """
    parts = ("collector", "processor", "loader")
    number, age = (1e3 + 50 * time.monotonic(), 1e3) if trouble else (1, 1)
    waiting = [
        f'pubsub_googleapis_com:subscription_{name}{{subscription_id="{subscription}",project_id="my-project"}} {value}'
        for name, value in (("num_undelivered_messages", number), ("oldest_unacked_message_age", age))
        for subscription in (
            resource_names.HITS_SUBSCRIPTION,
            resource_names.ROWS_SUBSCRIPTION,
            resource_names.DEAD_SUBSCRIPTION,
        )
    ]
    scalers = [
        f'kube_horizontalpodautoscaler_{name}{{horizontalpodautoscaler="pixelpipe-{part}"}} {value}'
        for name, value in (
            ("status_current_replicas", 10 if trouble else 2),
            ("status_desired_replicas", 2),
            ("spec_max_replicas", 10),
        )
        for part in parts
    ]
    seconds = time.monotonic()
    used = [
        f'{name}{{container="{part}",pod="{part}-a"{more}}} {value}'
        for name, more, value in (
            ("container_cpu_usage_seconds_total", "", seconds / 4),
            ("container_cpu_cfs_throttled_periods_total", "", seconds),
            ("container_cpu_cfs_periods_total", "", seconds * 10),
            ("container_memory_working_set_bytes", "", 1e8),
            ("kube_pod_container_resource_requests", ',resource="cpu"', 0.5),
            ("kube_pod_container_resource_limits", ',resource="memory"', 5e8),
        )
        for part in parts
    ]
    jobs = [
        f'kube_job_{name}{{job_name="pixelpipe-reconcile-1"}} {value}'
        for name, value in (
            ("status_failed", int(trouble)),
            ("status_succeeded", int(not trouble)),
            ("created", time.time() - 3600),
        )
    ]
    return "\n".join([*waiting, *scalers, *used, *jobs, ""])


@dataclass(frozen=True)
class Answer:
    """One series of an answer: its labels and what it was, time by time."""

    labels: dict[str, str]
    values: list[tuple[float, float]]


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **options: Any) -> Any:
        """The data of an answer. Raises AssertionError with Prometheus's own words for what it refuses."""
        reply = requests.get(f"{self.url}/api/v1/{path}", params=options, timeout=30).json()
        assert reply["status"] == "success", reply.get("error")
        return reply["data"]

    def now(self, expr: str, at: float | None = None) -> list[Answer]:
        """What an expression is, NaN included."""
        data = self.get("query", query=expr, **({"time": at} if at is not None else {}))
        if data["resultType"] == "scalar":
            return [Answer({}, [_sample(data["result"])])]
        return [Answer(one["metric"], [_sample(one["value"])]) for one in data["result"]]

    def range(self, expr: str, start: float, end: float, step: float) -> list[Answer]:
        data = self.get("query_range", query=expr, start=start, end=end, step=step)
        return [Answer(one["metric"], [_sample(pair) for pair in one["values"]]) for one in data["result"]]

    def value(self, expr: str) -> float:
        """The only value of an expression, 0 if it has none."""
        found = self.now(expr)
        assert len(found) < 2, found
        return found[0].values[0][1] if found else 0.0


def _sample(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


@contextmanager
def running(
    folder: Path,
    pods: Mapping[str, str],
    rules: Sequence[Path],
    *,
    cloud: bool = True,
    releases: Mapping[str, str] | None = None,
    trouble: threading.Event | None = None,
) -> Iterator[Prometheus]:
    """Scrapes the admin URLs of `pods`, by name, and `made_up()` for the cloud; evaluates the rules each second.

    Pods are of the release `pixelpipe` unless `releases` names another; the cloud is in trouble while that is set.
    """
    program = require("prometheus", INSTALL)
    with _google(trouble or threading.Event()) as google:
        pages = {**pods, **({"cloud": google} if cloud else {})}
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {
                    "job_name": name,
                    "honor_labels": True,
                    "static_configs": [
                        {
                            "targets": [url.removeprefix("http://")],
                            "labels": LABELS
                            if name == "cloud"
                            else {
                                **LABELS,
                                "release": (releases or {}).get(name, LABELS["release"]),
                                "pod": f"{name}-a",
                            },
                        }
                    ],
                }
                for name, url in pages.items()
            ],
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        port = process.free_port()
        log = (folder / "prometheus.log").open("wb")
        server = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            started = Prometheus(f"http://127.0.0.1:{port}")
            process.wait_for(lambda: _ready(server, started, folder), 60, "Prometheus to be ready")
            yield started
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)
            log.close()


def _ready(server: subprocess.Popen[bytes], started: Prometheus, folder: Path) -> bool:
    assert server.poll() is None, (folder / "prometheus.log").read_text()
    try:
        return requests.get(f"{started.url}/-/ready", timeout=5).status_code == 200
    except (requests.ConnectionError, requests.Timeout):
        return False


@contextmanager
def _google(trouble: threading.Event) -> Iterator[str]:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(made_up(trouble=trouble.is_set()).encode())

        def log_message(self, format: str, *arguments: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sped_up(path: Path, folder: Path) -> Path:
    """A copy of a file of rules in which a minute of a window, an offset or a wait is a second, 2 s at least."""

    def shorter(match: re.Match[str]) -> str:
        minutes = int(match[2]) * {"m": 1, "h": 60, "d": 1440}[match[3]]
        return f"{match[1]}{max(2, minutes)}s"

    made = folder / f"fast-{path.parent.name}-{path.name}"
    made.write_text(re.sub(r"(\[|offset |for: )(\d+)([mhd])\b", shorter, path.read_text()))
    return made


def compressed(text: str, file: Path) -> Path:
    """Rules in which n minutes of a window, an offset or a wait are 2 log2 n seconds: 30 minutes 10, three days 24.

    The order of the windows stays, and what needs days to be over is over in half a minute. Of what the rules say in
    seconds the hour that a ledger is divided by and the age of a spool are as much shorter.
    """

    def shorter(match: re.Match[str]) -> str:
        return f"{match[1]}{_compressed(int(match[2]) * {'m': 1, 'h': 60, 'd': 1440}[match[3]])}s"

    made = re.sub(r"(\[|offset |for: )(\d+)([mhd])\b", shorter, text)
    for written, minutes in ((" / 3600", 60), (") > 900", 15)):
        if written in made:
            number = written.rpartition(" ")[2]
            made = made.replace(written, written.replace(number, str(_compressed(minutes))))
    file.write_text(made)
    return file


def _compressed(minutes: int) -> int:
    return max(2, round(2 * math.log2(minutes)))
