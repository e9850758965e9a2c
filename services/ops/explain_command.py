"""Says what becomes of a request, without sending it: the reply, and each event as a row or a reject, by column.

A collector and a processor of this process take it, with this machine's schema file and the environment's settings.
"""

from __future__ import annotations

import argparse
import json
import sys

from services.ops import check_text, deployment, sample_report
from services.ops.deployment import CommandRefused
from services.shared import schema_file


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", metavar="URL", help="such as 'https://t.example.com/i?user_id=ada', or ?a=1")
    sample_report.add_options(parser)
    deployment.add_schema(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if an event is no row, or nothing is stored."""
    if options.url is None and options.body is None:
        raise CommandRefused("name a URL such as '?user_id=ada&type=view', or a --body with its --protocol")
    try:
        body = sample_report.body(options)
        found = schema_file.load(options.schema)
        parser, warnings = sample_report.parser(options, found)
        report = await sample_report.report(options, found, body, parser)
    except CommandRefused as error:  # of `check`, which has an option for it
        raise CommandRefused(str(error).replace("--url", "URL")) from error
    for warning in warnings:
        print(f"explain: {warning}", file=sys.stderr)
    print(json.dumps(report, indent=2, ensure_ascii=False) if options.json else check_text.sample(report))
    return 0 if sample_report.is_stored(report) else 1
