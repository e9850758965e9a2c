"""Asks Google Cloud what no emulator has: roles, permissions, backlogs, its clock. Nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import google.auth
import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import pubsub_v1

from services.ops import deployment, doctor_checks
from services.ops.doctor_checks import NEEDS, NOT_ASKED, Finding
from services.provision.bindings import PUBLISHER, SUBSCRIBER
from services.provision.config import Config
from services.shared.resource_names import subscription_path, topic_path
from services.shared.schema import REJECTS, Schema

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
MONITORING = "https://monitoring.googleapis.com/v3"
RESOURCE_MANAGER = "https://cloudresourcemanager.googleapis.com/v1"
_AGE = "oldest_unacked_message_age"  # seconds, at pubsub.googleapis.com/subscription/
_WAITING = "num_undelivered_messages"
_FIGURES = timedelta(minutes=10)  # Cloud Monitoring is some minutes late
_SECONDS = 10.0  # a request may take
# ValueError, LookupError: an answer that is not as it should be.
_FAILURES = (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException, ValueError, LookupError)
_AGENT = "@gcp-sa-pubsub.iam.gserviceaccount.com"


def session() -> requests.Session:
    """With the caller's credentials. Raises GoogleAuthError without, and OSError for a file that cannot be read."""
    credentials, _ = google.auth.default(scopes=[SCOPE])
    credentials.refresh(Request())
    found: requests.Session = AuthorizedSession(credentials)
    return found


def examine(cfg: Config, schema: Schema, session: requests.Session) -> list[Finding]:
    with pubsub_v1.PublisherClient() as publisher, pubsub_v1.SubscriberClient() as subscriber:
        return [
            *_asked("Pub/Sub's service agent", lambda: [_service_agent(cfg, publisher, subscriber)]),
            *_permissions(cfg, schema, session, publisher, subscriber),
            *over_http(cfg, session),
        ]


def over_http(cfg: Config, session: requests.Session) -> list[Finding]:
    """Backlogs, dead letters and the clock, by Cloud Monitoring."""
    return [
        *_asked("backlog", lambda: _backlogs(cfg, session)),
        *_asked("dead letters", lambda: [_dead(cfg, session)]),
        *_asked("clock of Google", lambda: [_clock(session)]),
    ]


def _asked(check: str, ask: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return ask()
    except _FAILURES as error:
        return [Finding(check, NOT_ASKED, doctor_checks.one_line(error))]


def _service_agent(cfg: Config, publisher: Any, subscriber: Any) -> Finding:
    wanted = [(publisher, PUBLISHER, topic_path(cfg.project, cfg.dead_topic), cfg.dead_topic)]
    for name in (cfg.hits_subscription, cfg.rows_subscription):
        wanted.append((subscriber, SUBSCRIBER, subscription_path(cfg.project, name), name))
    lacking = []
    for client, role, path, name in wanted:
        policy = client.get_iam_policy(request={"resource": path}, timeout=_SECONDS)
        members = {member for one in policy.bindings if one.role == role for member in one.members}
        if not any(member.endswith(_AGENT) for member in members):
            lacking.append((role, name))
    return doctor_checks.service_agent(lacking)


def _permissions(
    cfg: Config, schema: Schema, session: requests.Session, publisher: Any, subscriber: Any
) -> list[Finding]:
    def of_pubsub(client: Any, resource: str) -> Callable[[list[str]], list[str]]:
        def ask(wanted: list[str]) -> list[str]:
            request = {"resource": resource, "permissions": wanted}
            return list(client.test_iam_permissions(request=request, timeout=_SECONDS).permissions)

        return ask

    ask: dict[str, Callable[[list[str]], list[str]]] = {
        "hits topic": of_pubsub(publisher, topic_path(cfg.project, cfg.hits_topic)),
        "dead topic": of_pubsub(publisher, topic_path(cfg.project, cfg.dead_topic)),
        "dead subscription": of_pubsub(subscriber, subscription_path(cfg.project, cfg.dead_subscription)),
        "events table": lambda wanted: _of_table(cfg, schema, wanted),
        "project": lambda wanted: of_project(cfg.project, session, wanted),
    }
    wanted: dict[str, list[str]] = {}
    for place, permission, _ in NEEDS:
        wanted.setdefault(place, []).append(permission)
    granted: dict[str, list[str]] = {}
    failed: list[Finding] = []
    for place, names in wanted.items():
        try:
            granted[place] = ask[place](names)
        except _FAILURES as error:
            failed.append(Finding(f"your permissions on the {place}", NOT_ASKED, doctor_checks.one_line(error)))
    return [*([doctor_checks.permissions(granted)] if granted else []), *failed]


def _of_table(cfg: Config, schema: Schema, wanted: list[str]) -> list[str]:
    """On the log table of the first events."""
    table = next(one for name, one in schema.tables.items() if name != REJECTS)
    client = deployment.bigquery_client(cfg.project)
    try:
        path = f"{cfg.project}.{cfg.dataset}.{table.log_name}"
        return list(client.test_iam_permissions(path, wanted, timeout=_SECONDS).get("permissions", ()))
    finally:
        client.close()


def of_project(project: str, session: requests.Session, wanted: list[str]) -> list[str]:
    """Which of these permissions the caller has on the project."""
    answer = session.post(
        f"{RESOURCE_MANAGER}/projects/{project}:testIamPermissions", json={"permissions": wanted}, timeout=_SECONDS
    )
    answer.raise_for_status()
    return list(answer.json().get("permissions", ()))


def _backlogs(cfg: Config, session: requests.Session) -> list[Finding]:
    names = (cfg.hits_subscription, cfg.rows_subscription)
    ages = {name: figure for name in names if (figure := _figure(cfg, session, _AGE, name)) is not None}
    unknown = [Finding(f"backlog of {name}", NOT_ASKED, _NO_FIGURE) for name in names if name not in ages]
    return doctor_checks.backlog(ages) + unknown


_NO_FIGURE = f"Cloud Monitoring has no figure of the last {_FIGURES.seconds // 60} minutes"


def _dead(cfg: Config, session: requests.Session) -> Finding:
    figure = _figure(cfg, session, _WAITING, cfg.dead_subscription)
    return Finding("dead letters", NOT_ASKED, _NO_FIGURE) if figure is None else doctor_checks.dead(round(figure))


def _figure(cfg: Config, session: requests.Session, metric: str, subscription: str) -> float | None:
    """The newest of a subscription's metric."""
    now = datetime.now(UTC)
    answer = session.get(
        f"{MONITORING}/projects/{cfg.project}/timeSeries",
        params={
            "filter": f'metric.type = "pubsub.googleapis.com/subscription/{metric}" AND '
            f'resource.labels.subscription_id = "{subscription}"',
            "interval.startTime": (now - _FIGURES).isoformat(),
            "interval.endTime": now.isoformat(),
        },
        timeout=_SECONDS,
    )
    answer.raise_for_status()
    # Points are sorted, the newest first; an int64 is a text in JSON.
    points = [series["points"][0]["value"] for series in answer.json().get("timeSeries", ()) if series.get("points")]
    return max((float(next(iter(value.values()))) for value in points), default=None)


def _clock(session: requests.Session) -> Finding:
    before = time.time()
    answer = session.get("https://www.googleapis.com/generate_204", timeout=_SECONDS)
    return doctor_checks.clock("Google", ahead(answer.headers["Date"], before, time.time()))


def ahead(date: str, before: float, after: float) -> float:
    """By how many seconds a Date header is ahead of this machine's clock, to half a second and half the time it took.

    Raises ValueError for what is no date.
    """
    return parsedate_to_datetime(date).timestamp() + 0.5 - (before + after) / 2
