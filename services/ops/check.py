"""Checks a schema file, and shows what it would do: to the tables, to a sample request, to the rejects of a day.

Nothing is changed, and a sample goes nowhere: a collector and a processor of this process take it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.ops import check_text, deployment, explain, option, sample
from services.ops.deployment import CommandRefused
from services.ops.rejects import Rejects, Wanted
from services.ops.rejects_again import Judge
from services.processor import lookup_files
from services.processor.enrich import geo
from services.processor.lookups import Lookups
from services.processor.parse import Parser, Row
from services.processor.places import Places
from services.provision import inventory
from services.provision.config import Config
from services.provision.resource import ProvisionError, ProvisionRefused, settle
from services.shared import config, emulators, privacy, resource_names, schema, schema_file
from services.shared.schema import Schema

LIVE = "live"
MOST_EVENTS = 100  # of a sample that are explained


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
    parser.add_argument("--body", type=option.file, metavar="FILE", help="post this file, to --url or by --protocol")
    parser.add_argument("--protocol", help="the protocol of --body, such as segment (native)")
    parser.add_argument("--content-type", metavar="TYPE", help="the Content-Type of --body (application/json)")
    parser.add_argument(
        "--header", action="append", default=[], type=header, metavar="'NAME: VALUE'", help="of the sample; repeatable"
    )
    deployment.add_privacy(parser)
    parser.add_argument("--rejects", action="store_true", help="say which rejects would be rows by this file")
    parser.add_argument("--since", type=option.moment, metavar="TIME", help="rejects received since (yesterday, UTC)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    try:
        config.check_shape("headers", name.strip())
        value.strip().encode("latin-1")
        usable = bool(colon and name.strip()) and value.strip().isprintable()
    except ValueError:
        usable = False
    if not usable:
        raise argparse.ArgumentTypeError(f"{config.shown(text)}: use 'NAME: VALUE', such as 'Sec-GPC: 1'")
    return name.strip(), value.strip()


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if provisioning would refuse the file, or the sample is no row."""
    body = _body(options)
    found = schema_file.load(Path(options.file))
    report: dict[str, Any] = {
        "file": str(options.file),
        "digest": found.digest,
        "tables": {name: len(table.columns) for name, table in found.tables.items()},
    }
    parser, report["warnings"] = _parser(options, found)
    good = True
    if options.against:
        report["live"] = await asyncio.to_thread(_against_live, options, found)
        good = not report["live"]["refused"]
    if options.url is not None or body is not None:
        report["sample"] = await _sample(options, found, body, parser)
        outcomes = {*(one["outcome"] for one in report["sample"]["events"]), *report["sample"]["more"]}
        good = good and outcomes == {"row"}
    if options.rejects:
        report["rejects"] = await asyncio.to_thread(_rejects, options, found, parser)
    print(json.dumps(report, indent=2, ensure_ascii=False) if options.json else check_text.text(report))
    return 0 if good else 1


def _body(options: argparse.Namespace) -> bytes | None:
    """The file of --body. Raises CommandRefused for what does not go together."""
    if options.privacy not in privacy.PRESETS:  # argparse does not check a default
        raise CommandRefused(f"PIPE_PRIVACY={options.privacy!r}: use one of {', '.join(privacy.PRESETS)}")
    if options.since is not None and not options.rejects:
        raise CommandRefused("--since goes with --rejects")
    if (options.against or options.rejects) and not options.project:
        raise CommandRefused("--against and --rejects ask BigQuery: name the --project, or set PIPE_PROJECT")
    if options.body is None:
        for name in ("protocol", "content_type"):
            if getattr(options, name) is not None:
                raise CommandRefused(f"--{name.replace('_', '-')} goes with --body")
        if options.header and options.url is None:
            raise CommandRefused("--header goes with --url or --body")
        return None
    if options.url is not None and options.protocol is not None:
        raise CommandRefused("--protocol and --url both say where to; leave one out")
    try:
        with options.body.open("rb") as file:
            data: bytes = file.read(sample.MOST_BYTES + 1)
    except OSError as error:
        raise CommandRefused(f"--body {options.body}: cannot be read: {error.strerror or error}") from None
    if len(data) > sample.MOST_BYTES:
        raise CommandRefused(f"--body {options.body}: has more than {sample.MOST_BYTES:,} bytes")
    return data


def _parser(options: argparse.Namespace, found: Schema) -> tuple[Parser, list[str]]:
    """The processor's, with the files that are here, and a line for each source that has nothing to read from."""
    protection, database = found.privacy[options.privacy], os.environ.get("PIPE_GEO_DATABASE", "")
    tables, troubles = lookup_files.read(found, protection)
    places = Places.of_setting(database, found, protection)
    if found.asks_for("geo") and places is None:
        troubles.append(
            f"geo.* is NULL unless the load balancer adds the header {geo.HEADER}, as the chart's gateway and ingress "
            "have it do, or PIPE_GEO_DATABASE names a database"
        )
    return Parser(found, Lookups(places.find if places else None, None, tables)), troubles


async def _sample(options: argparse.Namespace, found: Schema, body: bytes | None, parser: Parser) -> dict[str, Any]:
    headers = dict(options.header)
    if options.content_type is not None:
        headers["Content-Type"] = options.content_type
    asked = sample.request(options.url, options.protocol, body, headers)
    cfg = sample.settings(os.environ, options.privacy, options.hash_key_file)
    captured = await sample.send(cfg, found, asked)
    bare = await sample.send(cfg, sample.unprotected(found), asked)
    pairs = zip(bare.hits, captured.hits, strict=False) if len(bare.hits) == len(captured.hits) else ()
    took = [explain.protected(*pair) for pair in itertools.islice(pairs, MOST_EVENTS)]
    now = time.time_ns() // 1000
    return {
        "request": f"{'GET' if body is None else 'POST'} {asked.target}",
        "privacy": options.privacy,
        "reply": {"status": captured.status, "type": captured.media, "text": captured.reply},
        "secrets": captured.removed,
        "opt_outs": captured.opt_outs,
        "events": [
            {**explain.explain(parser, found, one, now), **({"privacy": took[index]} if took else {})}
            for index, one in enumerate(captured.hits[:MOST_EVENTS])
        ],
        "more": Counter(
            "row" if isinstance(parser.parse(one, now), Row) else "reject" for one in captured.hits[MOST_EVENTS:]
        ),
    }


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
