"""Asks Google Cloud, or the emulators, what the doctor wants to know of the project. Nothing is changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from services.ops import deployment, doctor_checks, doctor_cloud
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.deployment import TIMEOUT, CommandRefused
from services.ops.doctor_checks import NOT_ASKED, OK, Finding, Planned, Traffic
from services.provision import inventory
from services.provision.config import Config
from services.provision.resource import ProvisionRefused
from services.shared import emulators, fault
from services.shared.schema import REJECTS, Schema, Table

FAILURES = (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException, OSError)
_PEEK_SECONDS = 2.0  # without another dead letter mean that there are no more
_REASONS = 3  # of rejects that are named
_IN_CLOUD = ("credentials", "backlog", "Pub/Sub's service agent", "your permissions", "clock of Google")
_BY_CREDENTIALS = ("topics, subscriptions, tables", "rows", "dead letters", *_IN_CLOUD[1:])


async def examine(cfg: Config, schema: Schema) -> list[Finding]:
    """The project's part of the report."""
    if os.environ.get(emulators.PUBSUB):
        found = await asyncio.to_thread(_common, cfg, schema)
        absent = [Finding(one, NOT_ASKED, "these are emulators") for one in _IN_CLOUD]
        return [*found, await _peek(cfg), *absent]
    try:
        session = await asyncio.to_thread(doctor_cloud.session)
    except FAILURES as error:
        without = [Finding(one, NOT_ASKED, "there are no credentials") for one in _BY_CREDENTIALS]
        return [doctor_checks.failed("credentials", error, cfg.project), *without]
    with session:
        found = await asyncio.to_thread(_common, cfg, schema)
        asked = await asyncio.to_thread(doctor_cloud.examine, cfg, schema, session)
    return [Finding("credentials", OK, "work"), *found, *asked]


def _common(cfg: Config, schema: Schema) -> list[Finding]:
    return [*doctor_checks.drift(list(planned(cfg, schema)), cfg.project), *traffic(cfg, schema)]


def planned(cfg: Config, schema: Schema) -> Iterator[Planned]:
    """Every resource as provisioning finds it, in its order; who does not answer is asked no more."""
    silent: set[bool] = set()
    for one in inventory.resources(cfg, schema):
        of_pubsub = one.name.startswith(("topic ", "subscription "))
        if of_pubsub in silent:
            continue
        try:
            step = one.plan()
        except ProvisionRefused as error:
            yield Planned(one.name, "refuse", fault.words(error))
        except FAILURES as error:
            if not isinstance(error, exceptions.Forbidden | exceptions.NotFound):
                silent.add(of_pubsub)
            yield Planned(one.name, error=error)
        else:
            yield Planned(one.name, step.verb, step.detail)


def traffic(cfg: Config, schema: Schema) -> list[Finding]:
    """Rejects, freshness and quotas, by what was loaded."""
    now = datetime.now(UTC)
    client = deployment.bigquery_client(cfg.project)
    try:
        return doctor_checks.traffic(_traffic(client, cfg, schema, now), now)
    except exceptions.NotFound:
        why = "there are no tables"
    except FAILURES as error:
        why = doctor_checks.one_line(error)
    finally:
        client.close()
    return [Finding(one, NOT_ASKED, why) for one in ("rejects", "newest row", "quotas")]


def _traffic(client: Any, cfg: Config, schema: Schema, now: datetime) -> Traffic:
    """Of rows whose day is yesterday's or today's: late events of an earlier day are not read, since days cost."""
    tables = [found for table in schema.tables.values() if (found := _columns(table))]
    if not tables:
        return Traffic(0, 0, (), None)
    counts = [
        f"SELECT '{table.name}' AS name, COUNTIF(`{received}` >= @since) AS recent, MAX(`{received}`) AS newest "  # noqa: S608
        f"FROM `{cfg.project}.{cfg.dataset}.{table.log_name}` WHERE `{day}` >= @day"
        for table, day, received in tables
    ]
    counted = list(_query(client, "\nUNION ALL\n".join(counts), now))
    rejects = sum(row["recent"] for row in counted if row["name"] == REJECTS)
    newest = [row["newest"] for row in counted if row["newest"] is not None]
    return Traffic(
        sum(row["recent"] for row in counted) - rejects,
        rejects,
        _reasons(client, cfg, schema, now) if rejects else (),
        max(newest, default=None),
    )


def _columns(table: Table) -> tuple[Table, str, str] | None:
    day, received = (table.column_from(source) for source in ("event.day", "hit.received_at"))
    return (table, day.name, received.name) if day and received else None


def _reasons(client: Any, cfg: Config, schema: Schema, now: datetime) -> list[str]:
    found, reason = _columns(schema.rejects), schema.rejects.column_from("reject.reason")
    if not found or not reason:
        return []
    table, day, received = found
    sql = (
        f"SELECT `{reason.name}` AS reason, COUNT(*) AS n FROM `{cfg.project}.{cfg.dataset}.{table.log_name}` "  # noqa: S608
        f"WHERE `{day}` >= @day AND `{received}` >= @since GROUP BY reason ORDER BY n DESC, reason LIMIT {_REASONS}"
    )
    return [str(row["reason"]) for row in _query(client, sql, now)]


def _query(client: Any, sql: str, now: datetime) -> Any:
    parameters = [
        bigquery.ScalarQueryParameter("day", "DATE", now.date() - timedelta(days=1)),
        bigquery.ScalarQueryParameter("since", "TIMESTAMP", now - timedelta(hours=1)),
    ]
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    # No retries of the client's own, which may take ten minutes: someone waits for the report.
    return client.query_and_wait(
        sql, job_config=config, api_timeout=TIMEOUT, wait_timeout=TIMEOUT, retry=None, job_retry=None
    )


async def _peek(cfg: Config) -> Finding:
    """Look at the dead letters, and nack them."""
    try:
        async with DeadLetterQueue(cfg.project, cfg.dead_subscription, wait=_PEEK_SECONDS) as queue:
            count = len([one async for one in queue.messages()])
            return doctor_checks.dead(count, queue.full)
    except (CommandRefused, *FAILURES) as error:
        return Finding("dead letters", NOT_ASKED, doctor_checks.one_line(error))
