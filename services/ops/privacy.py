"""Says what protects people in this pipeline, and shows it: the report a data-protection officer files.

What is in force comes from the schema file and the preset; how long data stays, from BigQuery and Pub/Sub themselves.
With `--url` pixels are sent, one as it is and one for each opt-out signal, each with ids, a secret and a browser of its
own. What became of each is read back and compared with the policy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from google.api_core import exceptions
from google.cloud import pubsub_v1

from services.ops import deployment, option, output, privacy_evidence
from services.ops.deployment import TIMEOUT
from services.shared import emulators, privacy, resource_names, schema_file
from services.shared.privacy import Privacy
from services.shared.resource_names import subscription_path
from services.shared.schema import LOG_SUFFIX, PROVISIONED, Schema

_DAY_MS = 24 * 60 * 60 * 1000
_SUBSCRIPTIONS = {  # by option: its name as provisioned, and what it holds
    "hits_subscription": (resource_names.HITS_SUBSCRIPTION, "hits that no processor has taken yet"),
    "rows_subscription": (resource_names.ROWS_SUBSCRIPTION, "rows that no loader has taken yet"),
    "dead_subscription": (resource_names.DEAD_SUBSCRIPTION, "dead letters"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    deployment.add_preset(parser)
    parser.add_argument("--url", type=option.url, help="a collector: send pixels and show what became of them")
    parser.add_argument(
        "--wait", type=option.number(0), default=60.0, metavar="SECONDS", help="for the rows (%(default)s)"
    )
    for name, (default, holds) in _SUBSCRIPTIONS.items():
        flag, text = f"--{name.replace('_', '-')}", f"the subscription that holds {holds} (%(default)s)"
        parser.add_argument(flag, type=option.name("subscription"), default=default, help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


async def run(options: argparse.Namespace) -> int:
    """Exit code 1 where a pixel was not treated as the policy says, or its row did not come."""
    schema = schema_file.load(options.schema)
    policy = deployment.in_force(options, schema)
    client = deployment.bigquery_client(options.project)
    emulators.check(emulators.PUBSUB)
    report: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "project": options.project,
        "dataset": options.dataset,
        "schema_file": schema.digest,
        "preset": options.privacy,
        "policy": _policy(policy),
        "tables": await asyncio.to_thread(_tables, client, f"{options.project}.{options.dataset}", schema),
        "subscriptions": await asyncio.to_thread(_subscriptions, options),
    }
    if options.url:
        evidence = privacy_evidence.Evidence(client, schema, policy, options.project, options.dataset)
        with output.working("sending pixels, and waiting for their rows"):
            report["evidence"] = await evidence.take(options.url, options.wait)
    print(json.dumps(report, indent=2) if options.json else _text(report))
    return 0 if all(one["as_the_policy_says"] for one in report.get("evidence", ())) else 1


def _policy(policy: Privacy) -> dict[str, Any]:
    shown = asdict(policy)
    shown["secrets"] = [*privacy.SECRETS, *policy.secrets]
    shown["hash"] = {name: list(steps) for name, steps in policy.hash.items()}
    return shown


def _tables(client: Any, dataset: str, schema: Schema) -> list[dict[str, Any]]:
    """For each table the days that BigQuery keeps a partition; None is for ever."""
    hours = round(deployment.time_travel(client, dataset).total_seconds() / 3600)
    tables: list[dict[str, Any]] = []
    for name in (*schema.tables, *PROVISIONED):
        row: dict[str, Any] = {"table": name, "in_bigquery": None, "time_travel_hours": hours}
        try:
            table = client.get_table(f"{dataset}.{name}{LOG_SUFFIX}", timeout=TIMEOUT, retry=None)
        except exceptions.NotFound:
            row["in_bigquery"] = "not there: provision it"
        else:
            partitioning = table.time_partitioning
            if partitioning is not None and partitioning.expiration_ms:
                row["in_bigquery"] = int(partitioning.expiration_ms) / _DAY_MS
        tables.append(row)
    return tables


def _subscriptions(options: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    with pubsub_v1.SubscriberClient() as client:
        for key, (_, holds) in _SUBSCRIPTIONS.items():
            name = getattr(options, key)
            path = subscription_path(options.project, name)
            try:
                found = client.get_subscription(subscription=path, timeout=TIMEOUT, retry=None)
            except exceptions.NotFound:
                rows.append({"subscription": name, "holds": holds, "keeps_days": "not there: provision it"})
                continue
            days = found.message_retention_duration.total_seconds() / 86_400
            rows.append({"subscription": name, "holds": holds, "keeps_days": days})
    return rows


def _text(report: dict[str, Any]) -> str:
    policy = report["policy"]
    hashed = [f"{name} ({', '.join(steps) or 'as sent'})" for name, steps in policy["hash"].items()]
    lines = [
        f"Privacy report of {report['project']}.{report['dataset']}, {report['at']}",
        "",
        f"In force: preset {report['preset']}, schema file {report['schema_file']}",
        f"  addresses         {_ADDRESSES[policy['ip']]}",
        *(f"  {name:17} {_ACTIONS[action]}" for name, action in policy["signals"].items()),
        f"  secrets           never stored: {', '.join(policy['secrets'])}",
        f"  further ids       {', '.join(policy['ids']) or 'none beside the known ones'}",
        f"  hashed            {', '.join(hashed) or 'nothing'}",
        f"  visitor cookie    {_cookie(policy['cookie'])}",
        "",
        "How long it stays",
    ]
    lines += [
        f"  table {one['table']:20} {_days(one['in_bigquery'])}; deleted rows can be restored for "
        f"{one['time_travel_hours']} hours, and by Google's support for 7 days more"
        for one in report["tables"]
    ]
    lines += [f"  {one['holds']:37} {_days(one['keeps_days'])} at most" for one in report["subscriptions"]]
    if "evidence" in report:
        lines += ["", "Evidence: pixels sent, and what became of them"]
        lines += [
            f"  {'as it says ' if one['as_the_policy_says'] else 'NOT SO     '} {one['sent']:15} {one['found']}"
            for one in report["evidence"]
        ]
    else:
        lines += ["", "Evidence: none taken; give --url of a collector"]
    return "\n".join(lines)


_ADDRESSES = {
    privacy.FULL: "stored as they are",
    privacy.CUT: "cut to their network before anything is stored: /24 of IPv4, /48 of IPv6",
    privacy.NONE: "never stored",
}
_ACTIONS = {
    privacy.RECORD: "noted beside the event, which is stored as it is",
    privacy.ANONYMIZE: "the event is stored without address, ids and browser",
    privacy.DROP: "the event is not stored",
}


def _cookie(cookie: dict[str, Any] | None) -> str:
    if cookie is None:
        return "none"
    renewed = "renewed at each visit" if cookie["renew"] else "not renewed"
    return (
        f"{cookie['name']}, {cookie['days']} days from its first issue, {renewed}, for {', '.join(cookie['origins'])}"
    )


def _days(days: float | str | None) -> str:
    if days is None:
        return "for ever"
    return days if isinstance(days, str) else f"{days:g} days"
