"""`doctor` says of each part of a release that it is ok, or what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError

from services import __version__
from services.ops import doctor_checks
from services.ops.doctor_checks import DO, NEEDS, NOT_ASKED, NOTE, OK, Certificate, Finding, Planned, Traffic
from services.shared import reconciliation, resource_names
from services.shared.reconciliation import Sample
from services.shared.resource_names import subscription_path
from tests.ops import schemas
from tests.ops.conftest import Done, Pipeline
from tests.ops.test_ledger import serving
from tests.shared.test_reconciliation import scrapes

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALL = {place: [permission for at, permission, _ in NEEDS if at == place] for place, _, _ in NEEDS}


def build(service: str, version: str, schema: str) -> dict[str, str]:
    return {"service": service, "version": version, "schema": schema}


def gauge(name: str, value: float, **labels: str) -> Sample:
    return Sample(f"pixelpipe_{name}", labels, value)


def traffic(rows: int, rejects: int, age: timedelta | None = timedelta(seconds=3)) -> list[Finding]:
    return doctor_checks.traffic(Traffic(rows, rejects, ["wrong_type"], age if age is None else NOW - age), NOW)


SAYS = {
    # what is looked at: the state, and a part of the text
    "oldest 5 s": (doctor_checks.backlog({"s": 5.0})[0], OK, "5 s"),
    "oldest 20 min": (doctor_checks.backlog({"s": 1200.0})[0], DO, "20 min"),
    "no dead letters": (doctor_checks.dead(0), OK, "none"),
    "dead letters": (doctor_checks.dead(5000, more=True), DO, "5,000 or more wait: `pixelpipe dead list`"),
    "few rejects": (traffic(990, 10)[0], OK, "10 of 1,000 events of the last hour (1.0%)"),
    "many rejects": (traffic(50, 50)[0], DO, "mostly wrong_type"),
    "one event, rejected": (traffic(0, 1)[0], OK, "1 of 1"),
    "fresh": (traffic(1, 0)[1], OK, "3 s ago"),
    "stale": (traffic(0, 0, timedelta(hours=5))[1], NOTE, "5 h ago"),
    "nothing": (traffic(0, 0, None)[1], NOTE, "`pixelpipe smoke`"),
    "small": (traffic(3600, 0)[2], OK, "with 1.0 events/s"),
    "large": (traffic(2_000_000 * 3600, 0)[2], DO, "ask Google for more"),
    "clock": (doctor_checks.clock("x", 1.5), OK, "within 5 s"),
    "clock ahead": (doctor_checks.clock("x", 90.0), DO, "90 s ahead of"),
    "clock behind": (doctor_checks.clock("x", -7300.0), DO, "2 h behind"),
    "certificate": (doctor_checks.certificate("h", Certificate(NOW + timedelta(days=60)), NOW), OK, "60 days left"),
    "certificate ends": (doctor_checks.certificate("h", Certificate(NOW + timedelta(days=3)), NOW), DO, "3 days left"),
    "certificate of another": (doctor_checks.certificate("h", Certificate(problem="mismatch"), NOW), DO, "mismatch"),
    "one version": (doctor_checks.versions({"a": build("loader", "1", "f")}, "1", "f"), OK, "loader 1"),
    "other version": (doctor_checks.versions({"a": build("loader", "2", "f")}, "1", "f"), DO, "loader 2"),
    "other schema": (doctor_checks.versions({"a": build("loader", "1", "e")}, "1", "f"), DO, "with schema e"),
    "service agent": (doctor_checks.service_agent([]), OK, "dead letters"),
    "no service agent": (doctor_checks.service_agent([("r", "s")]), DO, "r on s"),
    "all permissions": (doctor_checks.permissions(ALL), OK, "every command"),
    "no permission": (
        doctor_checks.permissions(ALL | {"dead subscription": []}),
        NOTE,
        "pubsub.subscriptions.consume on the dead subscription (dead, reconcile, trace, forget, access)",
    ),
    "ready": (doctor_checks.process("u", None, [])[0], OK, "ready"),
    "not ready": (doctor_checks.process("u", "503 waiting\x1b", [])[0], DO, "503 waiting\\x1b"),
    "breaker": (doctor_checks.process("u", None, [gauge("collector_breaker_state", 2)])[0], DO, "breaker"),
    "suspended": (
        doctor_checks.process("u", None, [gauge("loader_table_suspended", 1, table="t")])[0],
        DO,
        "table t is suspended",
    ),
    "column": (
        doctor_checks.process("u", None, [gauge("loader_column_refused", 1, table="t", column="c")])[0],
        DO,
        "t.c",
    ),
    "spool": (doctor_checks.process("u", None, [gauge("collector_spool_hits", 7)])[0], NOTE, "7 hits"),
    "balanced": (doctor_checks.reconciled(reconciliation.reconcile(scrapes())), OK, "1,010 collected"),
}


@pytest.mark.parametrize("case", SAYS)
def test_each_check_says_ok_or_what_to_do(case: str) -> None:
    finding, state, text = SAYS[case]
    assert finding.state == state and text in finding.text, finding


def test_a_spool_that_fills_up_is_something_to_do() -> None:
    for used, state in ((10, NOTE), (80, DO)):
        values = {"hits": 7, "bytes": used, "limit_bytes": 100}
        samples = [gauge(f"collector_spool_{name}", value) for name, value in values.items()]
        assert [one.state for one in doctor_checks.process("u", None, samples)] == [state]


def disabled() -> Exception:
    return exceptions.Forbidden("off", errors=[{"reason": "accessNotConfigured"}])


ERRORS = {
    "no credentials": (DefaultCredentialsError("none\nfound"), DO, "gcloud auth application-default login"),
    "API is off": (disabled(), DO, "gcloud services enable pubsub.googleapis.com --project p"),
    "not allowed": (exceptions.PermissionDenied("pubsub.topics.get"), NOT_ASKED, "you may not look"),
    "wrong project": (exceptions.NotFound("no project"), DO, "is --project p right"),
    "away": (exceptions.ServiceUnavailable("away"), DO, "does not answer: 503 away"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_request_that_fails_is_explained_in_one_line(case: str) -> None:
    error, state, text = ERRORS[case]
    findings = doctor_checks.drift([Planned("topic a", error=error), Planned("topic b", error=error)], "p")
    assert [(one.check, one.state) for one in findings] == [("topic a", state)]  # of many alike, one
    assert text in findings[0].text and "\n" not in findings[0].text


def test_drift_is_a_line_for_each_resource() -> None:
    planned = [
        Planned("topic a"),
        Planned("topic b"),
        Planned("topic c", "create"),
        Planned("subscription d", "update", "retry_policy"),
        Planned("table e", "refuse", "table e: another type"),
    ]
    assert [(one.check, one.state, one.text) for one in doctor_checks.drift(planned, "p")] == [
        ("topics", OK, "2 as provisioning wants them"),
        ("topic c", DO, f"it is not there: {doctor_checks.PROVISION}"),
        ("subscription d", DO, f"differs in retry_policy: {doctor_checks.PROVISION}"),
        ("table e", DO, "provisioning refuses: another type"),
    ]


def states(done: Done) -> dict[str, str]:
    return {one["check"]: one["state"] for one in done.json["checks"]}


def doctor(pipeline: Pipeline, *arguments: str, code: int = 0) -> Done:
    return pipeline.ops("doctor", *arguments, code=code)


def test_a_provisioned_project_is_well_and_says_what_was_not_asked(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    pipeline.load("events", [schemas.row("a", day=now.date()) | {"received_at": now.isoformat()}])
    done = doctor(pipeline)
    found = states(done)
    assert [found[name] for name in ("topics", "subscriptions", "dataset", "tables", "views", "dead letters")] == [
        OK
    ] * 6, done.out
    assert (found["newest row"], found["rejects"], found["quotas"]) == (OK, OK, OK)
    assert {one for one, state in found.items() if state == NOT_ASKED} >= {"certificate", "versions", "credentials"}
    assert done.json["to_do"] == 0


def test_what_is_wrong_is_named_first_and_the_exit_code_is_1(pipeline: Pipeline) -> None:
    path = subscription_path(pipeline.project, resource_names.ROWS_SUBSCRIPTION)
    shorter = {"subscription": {"name": path, "ack_deadline_seconds": 10}}
    pipeline.topics.subscriber.update_subscription(
        request=shorter | {"update_mask": {"paths": ["ack_deadline_seconds"]}}
    )
    pipeline.bury(b"odd", {"dead_reason": "odd"})
    now = datetime.now(UTC)
    reject = {"day": now.date().isoformat(), "received_at": now.isoformat(), "stage": "processor", "reason": "odd"}
    pipeline.load("rejects", [reject | {"event_id": str(number), "hit": "{}"} for number in range(30)])
    done = doctor(pipeline, code=1)
    first, *others = done.json["checks"][: done.json["to_do"]]
    assert {first["check"], *(one["check"] for one in others)} == {
        f"subscription {resource_names.ROWS_SUBSCRIPTION}",
        "dead letters",
        "rejects",
    }
    assert "differs in ack_deadline_seconds" in done.out and "30 of 30" in done.out and "mostly odd" in done.out


def test_a_project_without_anything_is_to_be_provisioned(bare: Pipeline) -> None:
    bare.file.write_text(schemas.text())
    found = states(doctor(bare, code=1))
    assert found["topic pixelpipe-hits"] == found["dataset pixelpipe"] == DO
    assert found["newest row"] == NOT_ASKED


def test_processes_are_asked_by_their_admin_ports(pipeline: Pipeline, free_port: int) -> None:
    with serving(*scrapes().values()) as urls:
        # The server has no /readyz, which is as good as not ready.
        done = doctor(pipeline, *(f"--admin={url}" for url in [*urls, f"http://127.0.0.1:{free_port}"]), code=1)
    found = {one["check"]: one for one in done.json["checks"]}
    assert found["in flight"]["state"] == OK
    assert found["versions"]["state"] == DO and f"here it is {__version__} with schema" in found["versions"]["text"]
    assert "not ready: 404" in found[f"loader {urls[0]}"]["text"]
    assert "is it running there?" in found[f"service http://127.0.0.1:{free_port}"]["text"]


def test_the_public_url_is_asked_and_its_clock_compared(pipeline: Pipeline) -> None:
    with pipeline.collector() as url:
        done = doctor(pipeline, "--url", url)
    found = states(done)
    assert (found["public URL"], found["clock of the public URL"], found["certificate"]) == (OK, OK, NOT_ASKED)
