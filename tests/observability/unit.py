"""What `promtool test rules` is given: everything the services' pods expose, as it would grow minute by minute."""

from __future__ import annotations

import importlib
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from observability.generate import CHART
from services.ops import reconcile_metrics, reconcile_report
from services.shared.admin import Admin
from services.shared.background import Background
from services.shared.reconciliation import SERVICES
from tests.schemas import SCHEMA
from tests.tools import require

SCOPE = {"namespace": "default", "release": "pixelpipe"}
FILES = sorted([*(CHART / "rules").glob("*.yaml"), *(CHART / "alerts").glob("*.yaml")])
Label = tuple[tuple[str, str], ...]
Key = tuple[str, Label]
INSTALL = "apt-get install prometheus"
EXPOSING = (*SERVICES, "reconcile")  # whatever a Prometheus scrapes: the services, and the daily Job


@cache
def exposed(service: str) -> str:
    """What a pod of the service answers at /metrics before its first hit; `reconcile` is the daily Job."""
    if service == "reconcile":
        nothing = reconcile_report.report("p.d", [], datetime.now(UTC), None, {}, {}, None)
        return generate_latest(reconcile_metrics.registry(nothing)).decode()
    registry = CollectorRegistry()
    Admin("127.0.0.1", 0, registry, Background())  # never entered: it adds what each admin port has
    metrics = importlib.import_module(f"services.{service}.metrics").Metrics
    if service == "collector":
        metrics(registry)
    else:
        metrics(registry, SCHEMA.tables)
    return generate_latest(registry).decode()


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def key(selector: str, pod: str = "") -> Key:
    """A series named as in PromQL, of the release and a pod; the service's own pod by default."""
    name, _, rest = selector.rstrip("}").partition("{")
    labels = dict(part.replace('"', "").split("=", 1) for part in rest.split(",") if part)
    if name.startswith("pixelpipe_"):
        own = "reconcile" if name.startswith("pixelpipe_reconciliation_") else name.split("_")[1]
        labels = {**SCOPE, "pod": pod or own + "-a", **labels}
    return name, tuple(sorted(labels.items()))


def counter(*pieces: tuple[float, int]) -> str:
    """A counter that grows by so many a minute for so many minutes, piece after piece."""
    text, value = [], 0.0
    for rate, minutes in pieces:
        text.append(f"{value:g}+{rate:g}x{minutes - 1}")
        value += rate * minutes
    return " ".join(text).replace("+-", "-")


def gauge(*pieces: tuple[float, int]) -> str:
    return " ".join(f"{value:g}x{minutes - 1}" for value, minutes in pieces)


@dataclass
class Fleet:
    """Series by name and labels: at first those of one idle pod of each service."""

    minutes: int
    series: dict[Key, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for service in EXPOSING:
            for name, labels, value in samples(exposed(service)):
                own = {**labels, **SCOPE, "pod": f"{service}-a"}
                self.series[name, tuple(sorted(own.items()))] = gauge((value, self.minutes))

    def set(self, selector: str, values: str, *, born: bool = False, pod: str = "") -> None:
        """Give a series other values; `born` allows one that a pod does not have before it is needed."""
        one = key(selector, pod)
        known = one in self.series or not one[0].startswith("pixelpipe_") or pod
        assert known or born, f"no pod exposes {selector}; a typing error?"
        self.series[one] = values

    def traffic(self, *pieces: tuple[float, int]) -> None:
        """So many hits a minute, all of which become rows within a second."""
        grows = counter(*pieces)
        self.set('pixelpipe_collector_http_responses_total{kind="pixel",status="200"}', grows, born=True)
        for selector in (
            'pixelpipe_collector_hits_total{method="GET"}',
            'pixelpipe_collector_hits_settled_total{outcome="published"}',
            "pixelpipe_processor_hits_total",
            'pixelpipe_processor_hits_settled_total{kind="pack",outcome="published"}',
            'pixelpipe_loader_rows_loaded_total{table="events"}',
            "pixelpipe_loader_end_to_end_seconds_count",
            *(f'pixelpipe_loader_end_to_end_seconds_bucket{{le="{le}"}}' for le in ("1.0", "10.0", "+Inf")),
        ):
            self.set(selector, grows)
        self.set("pixelpipe_loader_append_seconds_count", counter(*((60 if hits else 0, n) for hits, n in pieces)))


@dataclass(frozen=True)
class Seen:
    """At a minute, `value` of an expression without labels."""

    minute: int
    expression: str
    value: float


def firing(alert: str, minute: int, yes: bool, **labels: str) -> Seen:
    chosen = "".join(f',{name}="{value}"' for name, value in labels.items())
    selector = f'ALERTS{{alertname="{alert}",alertstate="firing",namespace="default",release="pixelpipe"{chosen}}}'
    return Seen(minute, f"clamp_max(count({selector}) or vector(0), 1)", float(yes))


def nothing(minute: int) -> Seen:
    return Seen(minute, 'count(ALERTS{alertstate="firing"}) or vector(0)', 0)


def run(folder: Path, fleet: Fleet | Mapping[Key, str], seen: Sequence[Seen], files: Sequence[Path] = FILES) -> str:
    """What promtool says against it; nothing if all is as expected."""
    promtool = require("promtool", INSTALL)
    series = fleet.series if isinstance(fleet, Fleet) else fleet
    inputs = [
        {
            "series": f"{name}{{{','.join(f'{label}={chr(34)}{value}{chr(34)}' for label, value in labels)}}}",
            "values": v,
        }
        for (name, labels), v in series.items()
    ]
    checks = [
        {"expr": one.expression, "eval_time": f"{one.minute}m", "exp_samples": [{"labels": "{}", "value": one.value}]}
        for one in seen
    ]
    file = folder / "test.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(path) for path in files],
                "evaluation_interval": "1m",
                "tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": checks}],
            }
        )
    )
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=100)
    return "" if done.returncode == 0 else done.stdout + done.stderr
