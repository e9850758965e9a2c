"""Each alert fires when it must and ends when the trouble does; none fires over nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from tests.observability.unit import FILES, INSTALL, SCOPE, Fleet, Seen, counter, firing, gauge, key, nothing, run
from tests.tools import require

pytestmark = pytest.mark.slow
Case = Callable[[Fleet], Sequence[Seen]]
HITS = 600  # a minute
_CLOUD = 'pubsub_googleapis_com:subscription_{}{{project_id="my-project",subscription_id="{}"}}'
_HPA = 'kube_horizontalpodautoscaler_{}{{namespace="default",horizontalpodautoscaler="pixelpipe-{}"}}'


def _alerts() -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for path in FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    found.setdefault(rule["alert"], []).append(rule)
    return found


def _recorded() -> set[str]:
    groups = [group for path in FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def _availability(fleet: Fleet) -> Sequence[Seen]:
    """One in twenty is answered 503 from the first hour to the second."""
    fleet.traffic((HITS, 200))
    refused = counter((0, 60), (HITS / 20, 60), (0, 80))
    fleet.set('pixelpipe_collector_http_responses_total{kind="pixel",status="503"}', refused, born=True)
    name = "PixelpipeAvailabilityBurn"
    return [
        nothing(59),
        firing(name, 85, True, severity="page"),
        firing(name, 119, True, severity="page"),
        firing(name, 160, False, severity="page"),
        firing(name, 119, True, severity="ticket"),
    ]


def _availability_slowly(fleet: Fleet) -> Sequence[Seen]:
    """One in two hundred spends the budget in six days: no reason to wake anyone."""
    fleet.traffic((HITS, 200))
    refused = counter((HITS / 200, 200))
    fleet.set('pixelpipe_collector_http_responses_total{kind="pixel",status="503"}', refused, born=True)
    name = "PixelpipeAvailabilityBurn"
    return [firing(name, 190, False, severity="page"), firing(name, 190, True, severity="ticket")]


def _connections_refused(fleet: Fleet) -> Sequence[Seen]:
    """Those who found no room are failures too, and there need be no other 5xx."""
    fleet.traffic((HITS, 100))
    fleet.set("pixelpipe_collector_connections_refused_total", counter((0, 30), (HITS, 70)))
    return [nothing(29), firing("PixelpipeAvailabilityBurn", 50, True, severity="page")]


def _few(fleet: Fleet) -> Sequence[Seen]:
    """Half of twenty requests fail: too few to say anything."""
    fleet.traffic((0, 10), (1, 20), (0, 70))
    fleet.set(
        'pixelpipe_collector_http_responses_total{kind="pixel",status="503"}', counter((0, 10), (1, 10)), born=True
    )
    return [nothing(minute) for minute in (12, 30, 60)]


def _late(fleet: Fleet) -> Sequence[Seen]:
    fleet.traffic((HITS, 200))
    on_time = counter((HITS, 60), (0, 60), (HITS, 80))
    for bound in ("1.0", "10.0"):
        fleet.set(f'pixelpipe_loader_end_to_end_seconds_bucket{{le="{bound}"}}', on_time)
    name = "PixelpipeFreshnessBurn"
    return [
        nothing(59),
        firing(name, 90, True, severity="page"),
        firing(name, 90, True, severity="ticket"),
        firing(name, 199, False, severity="page"),
    ]


def _invalid(fleet: Fleet) -> Sequence[Seen]:
    fleet.traffic((HITS, 200))
    fleet.set('pixelpipe_processor_rejects_total{reason="missing"}', counter((HITS / 5, 200)))
    name = "PixelpipeValidityBurn"
    return [firing(name, 150, True, severity="ticket"), firing(name, 150, False, severity="page")]


def _lost(fleet: Fleet) -> Sequence[Seen]:
    """The loader acknowledges rows it has not written: for ten minutes, then no more."""
    fleet.traffic((HITS, 240))
    fleet.set('pixelpipe_loader_rows_loaded_total{table="events"}', counter((HITS, 90), (0, 10), (HITS, 140)))
    name = "PixelpipeLedgerOff"
    return [nothing(89), firing(name, 110, True), firing(name, 140, True), firing(name, 175, False)]


def _behind(fleet: Fleet) -> Sequence[Seen]:
    """The loader is away for 30 seconds, and catches up: on its way is not lost."""
    fleet.traffic((HITS, 120))
    loaded = counter((HITS, 60), (HITS / 2, 1), (HITS * 1.5, 1), (HITS, 58))
    fleet.set('pixelpipe_loader_rows_loaded_total{table="events"}', loaded)
    return [nothing(minute) for minute in (59, 61, 75, 100)]


def _traffic_ends(fleet: Fleet) -> Sequence[Seen]:
    """A collector replaced in a busy hour that then falls silent: what increase() guesses is no loss."""
    fleet.traffic((HITS, 150))
    published = 'pixelpipe_collector_hits_settled_total{outcome="published"}'
    grows = (HITS, 40), (0, 110)
    fleet.traffic(*grows)
    fleet.set(published, counter((HITS, 20)))
    fleet.set(published, f"_x20 {counter((HITS, 20), (0, 110))}", pod="collector-b")
    return [firing("PixelpipeLedgerOff", minute, False) for minute in range(30, 140, 10)]


def _no_traffic(fleet: Fleet) -> Sequence[Seen]:
    fleet.traffic((HITS, 90), (0, 110))
    name = "PixelpipeNoTraffic"
    return [firing(name, 100, False), firing(name, 130, True), firing(name, 199, False)]


def _quiet_at_night(fleet: Fleet) -> Sequence[Seen]:
    """A hit now and then, and none for half an hour: that happens."""
    fleet.traffic((0, 30), (1, 10), (0, 80))
    return [nothing(minute) for minute in range(40, 120, 10)]


def _spool_filling(fleet: Fleet) -> Sequence[Seen]:
    fleet.set("pixelpipe_collector_spool_limit_bytes", gauge((1e9, 60)))
    fleet.set("pixelpipe_collector_spool_bytes", gauge((4e8, 20), (6e8, 20), (0, 20)))
    name = "PixelpipeSpoolFilling"
    return [nothing(19), firing(name, 25, True, pod="collector-a"), firing(name, 42, False)]


def _no_spool(fleet: Fleet) -> Sequence[Seen]:
    """Without a spool its limit is 0, and nothing is divided by it."""
    return [nothing(30), Seen(30, "count(pixelpipe_collector_spool_limit_bytes == 0)", 1)]


def _spool_old(fleet: Fleet) -> Sequence[Seen]:
    """promtool's clock begins at 0: the pack was written in minute 10."""
    fleet.set("pixelpipe_collector_spool_oldest_timestamp_seconds", gauge((0, 10), (600, 40), (0, 10)))
    name = "PixelpipeSpoolOld"
    return [nothing(20), firing(name, 35, True, pod="collector-a"), firing(name, 51, False)]


def _spool_fails(fleet: Fleet) -> Sequence[Seen]:
    fleet.set("pixelpipe_collector_spool_errors_total", counter((0, 20), (3, 2), (0, 38)))
    return [nothing(19), firing("PixelpipeSpoolBroken", 24, True), firing("PixelpipeSpoolBroken", 40, False)]


def _spool_corrupt(fleet: Fleet) -> Sequence[Seen]:
    """Found at a start, before anything was scraped: the first value is 1 already."""
    fleet.set("pixelpipe_collector_spool_corrupt_total", f"_x20 {gauge((1, 120))}", pod="collector-b")
    name = "PixelpipeSpoolBroken"
    return [nothing(19), firing(name, 22, True, pod="collector-b"), firing(name, 100, False)]


def _breaker(fleet: Fleet) -> Sequence[Seen]:
    """It is half open now and then, while it tries; a minute of it is nothing."""
    fleet.set("pixelpipe_collector_breaker_state", f"{gauge((0, 10), (2, 2), (0, 8))} {'2 2 1 ' * 7}{gauge((0, 20))}")
    name = "PixelpipeBreakerOpen"
    return [nothing(19), firing(name, 35, True), firing(name, 43, False)]


def _rejects(fleet: Fleet) -> Sequence[Seen]:
    """Two in a hundred miss a column as ever, and then, after a release of the site, twenty."""
    fleet.traffic((HITS, 480))
    missing = counter((HITS / 50, 420), (HITS / 5, 60))
    fleet.set('pixelpipe_processor_rejects_total{reason="missing"}', missing)
    fleet.set('pixelpipe_processor_rejects_total{reason="bad_body"}', counter((1, 480)))
    name = "PixelpipeRejectsJump"
    return [
        firing(name, 415, False),
        firing(name, 445, True, reason="missing"),
        firing(name, 445, False, reason="bad_body"),
    ]


def _rejects_from_the_start(fleet: Fleet) -> Sequence[Seen]:
    """A young pipeline has nothing to compare with."""
    fleet.traffic((0, 30), (HITS, 60))
    fleet.set('pixelpipe_processor_rejects_total{reason="missing"}', counter((0, 30), (HITS / 50, 60)))
    return [nothing(minute) for minute in (35, 50, 80)]


def _dead(series: str) -> Case:
    def case(fleet: Fleet) -> Sequence[Seen]:
        fleet.set(series, counter((0, 20), (2, 1), (0, 39)))
        return [nothing(19), firing("PixelpipeDeadLetters", 24, True), firing("PixelpipeDeadLetters", 45, False)]

    return case


def _dead_in_the_cloud(fleet: Fleet) -> Sequence[Seen]:
    fleet.set(_CLOUD.format("num_undelivered_messages", "pixelpipe-dead-letters"), gauge((3, 40), (5, 60)))
    return [nothing(39), firing("PixelpipeDeadLetters", 50, True), firing("PixelpipeDeadLetters", 80, False)]


def _not_arriving(fleet: Fleet) -> Sequence[Seen]:
    fleet.traffic((HITS, 100))
    fleet.set('pixelpipe_loader_rows_loaded_total{table="events"}', counter((HITS, 30), (0, 30), (HITS * 2, 40)))
    name = "PixelpipeRowsNotArriving"
    return [nothing(29), firing(name, 45, True), firing(name, 66, False)]


def _appends(fleet: Fleet) -> Sequence[Seen]:
    fleet.traffic((HITS, 100))
    fleet.set('pixelpipe_loader_append_retries_total{code="UNAVAILABLE"}', counter((1, 20), (60, 30), (1, 50)))
    name = "PixelpipeAppendErrors"
    return [nothing(19), firing(name, 45, True), firing(name, 60, False)]


def _denied(fleet: Fleet) -> Sequence[Seen]:
    retries = 'pixelpipe_loader_append_retries_total{code="PERMISSION_DENIED"}'
    fleet.set(retries, counter((0, 20), (6, 20), (0, 20)))
    name = "PixelpipePermissionDenied"
    return [nothing(19), firing(name, 30, True, code="PERMISSION_DENIED"), firing(name, 50, False)]


def _apart(fleet: Fleet) -> Sequence[Seen]:
    fleet.set('pixelpipe_loader_table_suspended{table="events"}', gauge((0, 20), (1, 20), (0, 20)))
    name = "PixelpipeTableSuspended"
    return [nothing(19), firing(name, 30, True, table="events"), firing(name, 41, False)]


def _column_refused(fleet: Fleet) -> Sequence[Seen]:
    """A column that BigQuery takes after ten minutes is no trouble."""
    series = 'pixelpipe_loader_column_refused{table="events",column="total"}'
    fleet.set(series, f"_x20 {gauge((1, 25))} stale", born=True)
    name = "PixelpipeColumnRefused"
    labels = {"table": "events", "column": "total"}
    return [nothing(30), firing(name, 40, True, **labels), firing(name, 50, False)]


def _newer(metric: str) -> Case:
    def case(fleet: Fleet) -> Sequence[Seen]:
        fleet.set(metric, counter((0, 20), (6, 30), (0, 40)))
        name = "PixelpipeNewerFormat"
        return [nothing(30), firing(name, 45, True), firing(name, 75, False)]

    return case


def _quota(fleet: Fleet) -> Sequence[Seen]:
    fleet.set("pixelpipe_loader_appended_bytes_total", counter((60 * 2e8, 40), (60 * 2.7e8, 60), (60 * 1e8, 60)))
    return [nothing(39), firing("PixelpipeNearQuota", 75, True), firing("PixelpipeNearQuota", 150, False)]


def _throttled(fleet: Fleet) -> Sequence[Seen]:
    retries = 'pixelpipe_loader_append_retries_total{code="RESOURCE_EXHAUSTED"}'
    fleet.set(retries, counter((0, 20), (6, 20), (0, 40)))
    return [nothing(19), firing("PixelpipeNearQuota", 38, True), firing("PixelpipeNearQuota", 70, False)]


def _absent(fleet: Fleet) -> Sequence[Seen]:
    for one in list(fleet.series):
        if dict(one[1]).get("pod") == "collector-a":
            fleet.series[one] += " stale"
    return [nothing(59), firing("PixelpipeMetricsAbsent", 70, False), firing("PixelpipeMetricsAbsent", 80, True)]


def _schema_differs(fleet: Fleet) -> Sequence[Seen]:
    """A rollout of ten minutes is no trouble; one that never ends is."""
    other = 'pixelpipe_build_info{service="processor",version="1",schema="0123456789ab"}'
    fleet.set(other, f"{gauge((1, 10))} stale _x18 {gauge((1, 90))} stale", born=True)
    name = "PixelpipeSchemaDiffers"
    return [nothing(35), firing(name, 85, False), firing(name, 95, True), firing(name, 125, False)]


def _reported(fleet: Fleet, pod: str, minute: int, missing: int) -> None:
    """A daily Job of so many minutes into it, whose pod is there for two."""
    before = f"_x{minute} " if minute else ""
    for name, value in (("missing_hits", missing), ("timestamp_seconds", 60 * minute)):
        values = f"{before}{value}x1 stale"
        fleet.set(f"pixelpipe_reconciliation_{name}", values, pod=pod)


def _counts_differ(fleet: Fleet) -> Sequence[Seen]:
    """Hits are missing by the first report, the second one says how many, and by the third all have arrived."""
    for number, (minute, missing) in enumerate(((10, 5), (30, 2), (50, 0))):
        _reported(fleet, f"reconcile-{number}", minute, missing)
    _reported(fleet, "reconcile-a", 0, 0)
    name = "PixelpipeCountsDiffer"
    page = f'ALERTS{{alertname="{name}",alertstate="firing",severity="page",pod="reconcile-%d"}}'
    return [
        nothing(9),
        firing(name, 11, True),
        firing(name, 29, True),
        Seen(31, f"count({page % 0}) or vector(0)", 0),  # the last report counts, however many more are remembered
        Seen(31, f"count({page % 1}) or vector(0)", 1),
        firing(name, 49, True),
        nothing(51),
        nothing(79),
    ]


def _failed_job(fleet: Fleet) -> None:
    job = 'kube_job_{}{{namespace="default",job_name="pixelpipe-reconcile-1"}}'
    fleet.set(job.format("status_failed"), gauge((0, 20), (1, 60)))
    fleet.set(job.format("created"), gauge((50 * 60 - 86_400, 80)))


def _not_reconciled(fleet: Fleet) -> Sequence[Seen]:
    """The Job of one day failed; that of the next is not there yet."""
    _failed_job(fleet)
    name = "PixelpipeReconciliationFailed"
    return [nothing(19), firing(name, 40, True), firing(name, 55, False)]


def _failed_for_what_it_found(fleet: Fleet) -> Sequence[Seen]:
    """A Job that fails because hits are missing is one alert, not two."""
    _failed_job(fleet)
    _reported(fleet, "reconcile-a", 20, 3)
    return [nothing(19), firing("PixelpipeReconciliationFailed", 40, False), firing("PixelpipeCountsDiffer", 40, True)]


def _backlog_old(fleet: Fleet) -> Sequence[Seen]:
    age = _CLOUD.format("oldest_unacked_message_age", "pixelpipe-rows-loader")
    fleet.set(age, f"{gauge((1, 20))} {counter((60, 30))} {gauge((1, 20))}")
    name = "PixelpipeBacklogOld"
    return [nothing(19), firing(name, 40, True, subscription_id="pixelpipe-rows-loader"), firing(name, 55, False)]


def _backlog(subscription: str, service: str, replicas: int) -> Case:
    def case(fleet: Fleet) -> Sequence[Seen]:
        waiting = f"{gauge((0, 20))} {counter((500, 60))}"
        fleet.set(_CLOUD.format("num_undelivered_messages", subscription), waiting)
        fleet.set(_HPA.format("status_current_replicas", service), gauge((2, 25), (replicas, 55)))
        fleet.set(_HPA.format("spec_max_replicas", service), gauge((10, 80)))
        name = "PixelpipeBacklogGrowing"
        return [nothing(19), firing(name, 45, replicas == 10, part=service) if replicas == 10 else nothing(45)]

    return case


SLOW = ("availability", "freshness", "validity")
CASES: dict[str, tuple[int, Case]] = {
    "availability": (200, _availability),
    "availability, slowly": (200, _availability_slowly),
    "availability, connections": (100, _connections_refused),
    "availability, few requests": (100, _few),
    "freshness": (200, _late),
    "validity": (200, _invalid),
    "ledger": (240, _lost),
    "ledger, a delay": (120, _behind),
    "ledger, the traffic ends": (150, _traffic_ends),
    "no traffic": (200, _no_traffic),
    "no traffic, a quiet site": (120, _quiet_at_night),
    "spool filling": (60, _spool_filling),
    "no spool": (60, _no_spool),
    "spool old": (60, _spool_old),
    "spool fails": (60, _spool_fails),
    "spool corrupt": (140, _spool_corrupt),
    "breaker": (61, _breaker),
    "rejects": (480, _rejects),
    "rejects, from the start": (90, _rejects_from_the_start),
    "dead letters of the processor": (60, _dead("pixelpipe_processor_messages_dead_total")),
    "dead letters of the loader": (60, _dead("pixelpipe_loader_messages_dead_total")),
    "dead letters of Pub/Sub": (100, _dead_in_the_cloud),
    "rows not arriving": (100, _not_arriving),
    "appends": (100, _appends),
    "denied": (60, _denied),
    "apart": (60, _apart),
    "column refused": (65, _column_refused),
    "hits of a newer format": (90, _newer("pixelpipe_processor_messages_newer_total")),
    "rows of a newer format": (90, _newer("pixelpipe_loader_messages_newer_total")),
    "quota": (160, _quota),
    "throttled": (80, _throttled),
    "absent": (60, _absent),
    "schema differs": (140, _schema_differs),
    "counts differ": (80, _counts_differ),
    "not reconciled": (80, _not_reconciled),
    "not reconciled, hits are missing": (80, _failed_for_what_it_found),
    "backlog old": (70, _backlog_old),
    "backlog of hits": (80, _backlog("pixelpipe-hits-processor", "processor", 10)),
    "backlog of rows": (80, _backlog("pixelpipe-rows-loader", "loader", 10)),
    "backlog, with room to scale": (80, _backlog("pixelpipe-rows-loader", "loader", 5)),
}


@pytest.mark.parametrize("name", CASES)
def test_alert(name: str, tmp_path: Path) -> None:
    minutes, case = CASES[name]
    fleet = Fleet(minutes)
    # The objectives' rules are two thirds of all that is evaluated: they are left out where they have no part.
    files = FILES if name.split(",")[0] in SLOW else [path for path in FILES if path.name != "slo.yaml"]
    assert run(tmp_path, fleet, case(fleet), files) == ""


def test_every_alert_is_seen_firing_and_silent() -> None:
    fired, silent = set(), set()
    for minutes, case in CASES.values():
        for one in case(Fleet(minutes)):
            if "alertname" in one.expression:
                name = one.expression.split('alertname="')[1].split('"')[0]
                (fired if one.value else silent).add(name)
    assert fired == set(_alerts())
    assert silent | {"PixelpipeBacklogGrowing", "PixelpipeValidityBurn"} >= fired  # those two by `nothing`


def test_nothing_fires_over_an_idle_pipeline(tmp_path: Path) -> None:
    """All series there are, and all at what a fresh pod says, for three hours; and no series is NaN."""
    fleet = Fleet(180)
    checks = [nothing(minute) for minute in (1, 5, 20, 60, 120, 179)]
    numbers = [Seen(120, f"count({name} != {name}) or vector(0)", 0) for name in _recorded()]  # NaN is not itself
    assert len(numbers) >= 20
    assert run(tmp_path, fleet, [*checks, *numbers]) == ""


def test_nothing_fires_on_a_fresh_install_with_traffic(tmp_path: Path) -> None:
    """No metrics for ten minutes, idle pods for ten, then hits, three in a hundred rejected, and one pod restarted."""
    fleet = Fleet(200)
    fleet.traffic((0, 10), (HITS, 190))
    fleet.set('pixelpipe_processor_rejects_total{reason="missing"}', counter((0, 10), (HITS * 0.03, 190)))
    restarted = f"{counter((0, 10), (HITS, 50))} {counter((HITS, 140))}"
    for selector in (
        'pixelpipe_collector_hits_settled_total{outcome="published"}',
        'pixelpipe_collector_hits_total{method="GET"}',
    ):
        fleet.set(selector, restarted)
    series = {one: f"_x10 {values}" for one, values in fleet.series.items()}
    assert run(tmp_path, series, [nothing(minute) for minute in (3, 11, 21, 25, 30, 45, 75, 120, 200)]) == ""


def test_nothing_fires_without_any_series_but_that_there_are_none(tmp_path: Path) -> None:
    """Nobody scrapes: one alert says so, and no other has an opinion."""
    seen = [nothing(10), firing("PixelpipeMetricsAbsent", 20, True)]
    seen.append(Seen(60, 'count(ALERTS{alertstate="firing"})', 1))
    assert run(tmp_path, {("up", ()): gauge((1, 70))}, seen) == ""


def test_two_days_without_a_report_are_an_alert(tmp_path: Path) -> None:
    """And a day is none: neither that before the first report, nor one between two. Hours are minutes here."""
    quick = tmp_path / "rules.yaml"
    rules = next(path for path in FILES if path.name == "reconciliation.yaml").read_text()
    quick.write_text(rules.replace("[2d]", "[48m]").replace("[1d]", "[24m]").replace("for: 25h", "for: 25m"))
    values = "_x23 1x1 _x22 2x1 _x80 3x1 stale"
    series = {key("pixelpipe_reconciliation_timestamp_seconds"): values}
    name = "PixelpipeReconciliationFailed"
    checks = [firing(name, at, yes) for at, yes in ((23, False), (40, False), (90, False), (110, True), (132, False))]
    assert run(tmp_path, series, checks, [quick]) == ""


def test_another_release_in_the_namespace_is_not_ours(tmp_path: Path) -> None:
    fleet = Fleet(60)
    theirs = 'pixelpipe_collector_breaker_state{release="shop"}'
    fleet.set(theirs, gauge((2, 60)), born=True)
    assert run(tmp_path, fleet, [nothing(minute) for minute in (10, 30, 59)]) == ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_promtool_is_content(path: Path) -> None:
    done = subprocess.run([require("promtool", INSTALL), "check", "rules", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_alert_says_what_to_do() -> None:
    for name, rules in _alerts().items():
        for rule in rules:
            labels, said = rule["labels"], rule["annotations"]
            assert isinstance(labels, dict) and isinstance(said, dict)
            assert labels["severity"] in ("page", "ticket"), name
            assert set(said) == {"summary", "description", "runbook_url"}, name
            assert said["runbook_url"] == f"runbooks/{name}.md", name
            assert len(said["summary"]) < 80 and said["description"].endswith("."), name


def test_every_selector_of_the_rules_is_of_one_release() -> None:
    """What the chart replaces by its own names is in each of them."""
    scope = ",".join(f'{name}="{value}"' for name, value in SCOPE.items())
    for path in FILES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                expression = rule["expr"]
                series = expression.count("pixelpipe_") + expression.count("pixelpipe:")
                assert expression.count(scope) == series, expression
