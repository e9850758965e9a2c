"""The reconciliation tells loss from duplicates, from what processes expose and in Prometheus alike."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from services.shared import reconciliation
from services.shared.reconciliation import Incomplete, Reconciliation
from tests.observability.unit import exposed
from tests.tools import require

START = 1_780_000_000
# (service, metric without the service's name, labels, value): 1,000 hits and 10 log entries, all of them accounted for.
BALANCED = (
    ("collector", "hits_settled_total", 'outcome="published"', 700),
    ("collector", "hits_settled_total", 'outcome="spooled"', 300),
    ("collector", "hits_settled_total", 'outcome="shed"', 44),  # answered 503
    ("collector", "spool_found_hits", "", 0),
    ("collector", "spool_hits", "", 100),
    ("collector", "spool_drained_hits_total", "", 200),
    ("processor", "hits_settled_total", 'kind="pack",outcome="published"', 880),
    ("processor", "hits_settled_total", 'kind="pack",outcome="dead"', 20),
    ("processor", "hits_settled_total", 'kind="pack",outcome="duplicate"', 0),
    ("processor", "hits_settled_total", 'kind="pack",outcome="sampled_out"', 0),
    ("processor", "hits_settled_total", 'kind="log_entry",outcome="published"', 9),
    ("processor", "hits_settled_total", 'kind="log_entry",outcome="sampled_out"', 0),
    ("processor", "copies_total", "", 0),
    ("processor", "hits_settled_total", 'kind="log_entry",outcome="dead"', 1),
    ("loader", "rows_loaded_total", 'table="events"', 850),
    ("loader", "rows_loaded_total", 'table="rejects"', 34),
    ("loader", "rows_dead_total", "", 5),
    ("loader", "rows_duplicate_total", "", 0),
)
Change = tuple[str, str, str, float]


def scrapes(*changes: Change, started: dict[str, float | None] | None = None) -> dict[str, str]:
    """What each of the three processes answers: BALANCED with some values increased."""
    texts = {}
    for service in reconciliation.SERVICES:
        lines = [f'pixelpipe_build_info{{service="{service}",version="1"}} 1']
        begun = (started or {}).get(service, START)
        if begun is not None:
            lines.append(f"process_start_time_seconds {begun}")
        for owner, metric, labels, value in BALANCED:
            if owner == service:
                more = sum(change[3] for change in changes if change[:3] == (owner, metric, labels))
                name = f"pixelpipe_{owner}_{metric}" + (f"{{{labels}}}" if labels else "")
                lines.append(f"{name} {value + more}")
        texts[service] = "\n".join(lines) + "\n"
    return texts


def added(*changes: Change) -> Reconciliation:
    known = {one[:3] for one in BALANCED}
    assert {change[:3] for change in changes} <= known, "a typing error would change nothing"
    return reconciliation.reconcile(scrapes(*changes))


def test_what_is_accounted_for_leaves_nothing() -> None:
    found = reconciliation.reconcile(scrapes())
    assert (found.collected, found.loaded, found.rejected, found.dead, found.spooled) == (1010, 850, 34, 26, 100)
    assert found.in_flight == found.missing == 0
    assert found.hops == {"spool": 0, "hits": 0, "rows": 0}
    assert found.notes == []
    assert found.shown()["collected"] == 1010


CASES: dict[str, tuple[tuple[Change, ...], int, dict[str, int], int]] = {
    "a pack waits in Pub/Sub, or is lost there": (
        (("collector", "hits_settled_total", 'outcome="published"', 10),),
        10,
        {"hits": 10},
        10,
    ),
    "rows wait in Pub/Sub, or are lost there": (
        (
            ("collector", "hits_settled_total", 'outcome="published"', 10),
            ("processor", "hits_settled_total", 'kind="pack",outcome="published"', 10),
        ),
        10,
        {"rows": 10},
        10,
    ),
    "hits are spooled": (
        (("collector", "hits_settled_total", 'outcome="spooled"', 10), ("collector", "spool_hits", "", 10)),
        0,
        {},
        0,
    ),
    "a spool was set aside": ((("collector", "spool_hits", "", -100),), 100, {"spool": 100}, 100),
    "an earlier process had left hits in the spool": (
        (("collector", "spool_found_hits", "", 30), ("collector", "spool_hits", "", 30)),
        0,
        {},
        0,
    ),
    "a pack comes again and is known": (
        (("processor", "hits_settled_total", 'kind="pack",outcome="duplicate"', 10),),
        0,
        {"hits": -10},
        0,
    ),
    "a pack comes again, to another processor": (
        (
            ("processor", "hits_settled_total", 'kind="pack",outcome="published"', 10),
            ("loader", "rows_duplicate_total", "", 10),
        ),
        0,
        {"hits": -10},
        0,
    ),
    "a log entry comes to two processors": (
        (
            ("processor", "hits_settled_total", 'kind="log_entry",outcome="published"', 1),
            ("loader", "rows_duplicate_total", "", 1),
        ),
        1,  # it was counted as collected twice
        {},
        0,
    ),
    "rows are appended twice": ((("loader", "rows_loaded_total", 'table="events"', 10),), -10, {"rows": -10}, 0),
    "samples leave hits out": (
        (
            ("collector", "hits_settled_total", 'outcome="published"', 10),
            ("processor", "hits_settled_total", 'kind="pack",outcome="sampled_out"', 10),
        ),
        0,
        {},
        0,
    ),
    "a sample leaves out a log entry": (
        (("processor", "hits_settled_total", 'kind="log_entry",outcome="sampled_out"', 1),),
        0,
        {},
        0,
    ),
    "hits have a row in two tables": (
        (("processor", "copies_total", "", 10), ("loader", "rows_loaded_total", 'table="events"', 10)),
        0,
        {},
        0,
    ),
    "copies make up for no loss of rows": (
        (
            ("collector", "hits_settled_total", 'outcome="published"', 10),
            ("processor", "hits_settled_total", 'kind="pack",outcome="published"', 10),
            ("processor", "copies_total", "", 10),
            ("loader", "rows_loaded_total", 'table="events"', 10),
        ),
        10,
        {"rows": 10},
        10,
    ),
    "duplicates of one hop hide no loss of another": (
        (
            ("collector", "hits_settled_total", 'outcome="published"', 10),
            ("loader", "rows_loaded_total", 'table="events"', 10),
        ),
        0,
        {"hits": 10, "rows": -10},
        10,
    ),
}


@pytest.mark.parametrize(("changes", "in_flight", "hops", "missing"), CASES.values(), ids=CASES)
def test_the_sign_says_what_happened(
    changes: tuple[Change, ...], in_flight: int, hops: dict[str, int], missing: int
) -> None:
    found = added(*changes)
    assert (found.in_flight, found.missing) == (in_flight, missing)
    assert found.hops == {"spool": 0, "hits": 0, "rows": 0, **hops}
    arrived = found.loaded + found.rejected + found.dead + found.sampled_out + found.spooled
    assert found.collected + found.copies == arrived + found.in_flight


def test_pods_of_a_service_are_summed() -> None:
    found = reconciliation.reconcile({f"{name} {pod}": text for name, text in scrapes().items() for pod in "ab"})
    assert (found.collected, found.loaded, found.in_flight) == (2020, 1700, 0)
    assert [len(times) for times in found.started.values()] == [2, 2, 2]


def test_a_process_that_was_restarted_is_told() -> None:
    (note,) = reconciliation.reconcile(scrapes(started={"loader": START + 3600})).notes
    assert "loader has counted only since 2026-05-28T21:26:40+00:00, 3600 s after the first process" in note
    assert reconciliation.reconcile(scrapes(started={"loader": START + 5})).notes == []
    (note,) = reconciliation.reconcile(scrapes(started={"collector": None})).notes
    assert note == "collector does not say when it started"


def test_without_all_three_services_there_is_no_ledger() -> None:
    all_three = scrapes()
    with pytest.raises(Incomplete, match="no metrics of processor and collector; a reconciliation needs all"):
        reconciliation.reconcile({"loader": all_three["loader"]})
    with pytest.raises(Incomplete, match=r"^http://other has no metric pixelpipe_build_info"):
        reconciliation.reconcile({**all_three, "http://other": "up 1\n"})
    with pytest.raises(Incomplete, match=r"^http://other answers '<html>' instead of metrics"):
        reconciliation.reconcile({**all_three, "http://other": "<html>"})


def test_every_series_exists_in_a_service_before_the_first_hit() -> None:
    """A counter that is born with its first hit would hide that hit from `increase()`."""
    samples = [
        sample for service in reconciliation.SERVICES for sample in reconciliation.samples(service, exposed(service))
    ]
    sides = [side for pair in (reconciliation.IN_FLIGHT, *reconciliation.HOPS.values()) for side in pair]
    for series in {series for side in sides for series in side}:
        matched = [sample for sample in samples if series.matches(sample)]
        wanted = 1
        for _, how, values in series.where:
            wanted *= len(values) if how == "=~" else 1
        assert len(matched) == wanted, series.selector()


def test_prometheus_comes_to_the_same_over_restarts(tmp_path: Path) -> None:
    """Of two collectors one begins at 0 in minute 21, and forgets 60 hits; in minute 31 the loader loses 90 rows."""
    promtool = require("promtool", "apt-get install prometheus")
    settled = "pixelpipe_processor_hits_settled_total"
    series = {
        'pixelpipe_collector_hits_settled_total{outcome="published",pod="a"}': "0+60x20 0+60x39",
        'pixelpipe_collector_hits_settled_total{outcome="published",pod="b"}': "0+40x60",
        'pixelpipe_collector_hits_settled_total{outcome="spooled",pod="b"}': "0x20 10x40",
        'pixelpipe_collector_spool_hits{pod="b"}': "0x20 10x40",
        'pixelpipe_collector_spool_drained_hits_total{pod="b"}': "0x60",
        f'{settled}{{kind="pack",outcome="published"}}': "0+100x60",
        'pixelpipe_loader_rows_loaded_total{table="events"}': "0+90x30 2700+90x29",
        'pixelpipe_loader_rows_loaded_total{table="rejects"}': "0+10x60",
        "pixelpipe_loader_rows_duplicate_total": "0x60",
    }

    def at(minute: int, expression: str, value: int) -> dict[str, object]:
        sample = {"labels": "{}", "value": value}
        return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": [sample]}

    checks = [
        at(15, reconciliation.in_flight("10m"), 0),
        at(15, reconciliation.missing("10m"), 0),
        at(26, reconciliation.missing("4m"), 0),
        at(25, reconciliation.hop("spool", "10m"), 0),  # 10 went in, and are still there
        at(29, reconciliation.hop("hits", "10m"), -60),
        at(40, reconciliation.in_flight("20m"), 90 - 60),
        at(40, reconciliation.hop("rows", "15m"), 90),
        at(40, reconciliation.missing("20m"), 90),
        at(55, reconciliation.missing("15m"), 0),
    ]
    rules = tmp_path / "reconciliation.yaml"
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    rules.write_text(
        yaml.safe_dump({"tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": checks}]})
    )
    said = subprocess.run([promtool, "test", "rules", str(rules)], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stdout + said.stderr
