"""Checks a schema file, and shows what it would do: to the tables, to a sample request, to the rejects of a day.

Nothing is changed, and a sample goes nowhere: a collector and a processor of this process take it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.ops import check_text, deployment, option, output, sample_report
from services.ops.deployment import CommandRefused
from services.ops.rejects import Rejects, Wanted
from services.ops.rejects_again import Judge
from services.processor.parse import Parser
from services.provision import inventory
from services.provision.config import Config
from services.provision.resource import ProvisionError, ProvisionRefused, settle
from services.shared import emulators, resource_names, schema, schema_file
from services.shared.config import ConfigError
from services.shared.schema import Schema

LIVE = "live"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        type=option.file,
        default=os.environ.get("PIPE_SCHEMA") or str(schema.DEFAULT_FILE),
        help="the schema file (the one that comes with pixelpipe; environment PIPE_SCHEMA)",
    )
    parser.add_argument(
        "--project", type=option.name("project"), default=os.environ.get("PIPE_PROJECT"), help="for BigQuery only"
    )
    parser.add_argument(
        "--dataset",
        type=option.name("dataset"),
        default=os.environ.get("PIPE_DATASET") or resource_names.DATASET,
        help="the dataset of tables and views (%(default)s; environment PIPE_DATASET)",
    )
    parser.add_argument("--against", choices=(LIVE,), help="show what provisioning would do to the tables in BigQuery")
    parser.add_argument("--url", help="show what this request becomes, such as 'https://t.example.com/i?user_id=ada'")
    sample_report.add_options(parser)
    parser.add_argument("--rejects", action="store_true", help="say which rejects would be rows by this file")
    parser.add_argument("--since", type=option.moment, metavar="TIME", help="rejects received since (yesterday, UTC)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if provisioning would refuse the file, or the sample is no row."""
    _together(options)
    sample_report.check_preset(options)
    body = sample_report.body(options)
    found = schema_file.load(Path(options.file))
    report: dict[str, Any] = {
        "file": str(options.file),
        "digest": found.digest,
        "tables": {name: len(table.columns) for name, table in found.tables.items()},
    }
    parser, report["warnings"], _ = sample_report.reader(found, options.privacy, os.environ)
    good = True
    if options.against:
        with output.working("asking BigQuery"):
            report["live"] = await asyncio.to_thread(_against_live, options, found)
        good = not report["live"]["refused"]
    if options.url is not None or body is not None:
        report["sample"] = await sample_report.report(options, found, sample_report.request(options, body), parser)
        good = good and sample_report.is_stored(report["sample"])
    if options.rejects:
        with output.working("reading rejects"):
            report["rejects"] = await asyncio.to_thread(_rejects, options, found, parser)
    print(json.dumps(report, indent=2, ensure_ascii=False) if options.json else check_text.text(report))
    return 0 if good else 1


def _together(options: argparse.Namespace) -> None:
    """Raises ConfigError for what does not go together."""
    if options.since is not None and not options.rejects:
        raise ConfigError("--since goes with --rejects")
    if (options.against or options.rejects) and not options.project:
        raise ConfigError("--against and --rejects ask BigQuery: name the --project, or set PIPE_PROJECT")


def _against_live(options: argparse.Namespace, found: Schema) -> dict[str, Any]:
    """A line for each table and view, as `python -m services.provision --dry-run` has it, or why it would refuse."""
    emulators.check(emulators.BIGQUERY)
    everything = inventory.resources(Config(options.project, dataset=options.dataset), found)
    wanted = [one for one in everything if one.name.startswith(("table ", "view "))]
    try:
        return {"lines": list(settle(wanted, dry_run=True)), "refused": []}
    except ProvisionRefused as error:
        return {"lines": [], "refused": str(error).splitlines()}
    except ProvisionError as error:
        raise CommandRefused(f"failed: {' '.join(str(error).split())}") from error


def _rejects(options: argparse.Namespace, found: Schema, parser: Parser) -> dict[str, Any]:
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    since = options.since or yesterday
    client = deployment.bigquery_client(options.project)
    rejects = Rejects(client, options.project, options.dataset, found, Wanted(since=since), pending=False)
    judge = Judge(found, parser, time.time_ns() // 1000)
    for page in rejects.pages():
        judge.page(page)
    return {"since": since.isoformat(), **judge.again.report}
