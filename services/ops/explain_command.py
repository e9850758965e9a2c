"""Says what becomes of a request, without sending it: the reply, and each event as a row or a reject, by column.

A collector and a processor of this process take it, with this machine's schema file and the environment's settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys

from services.ops import check_text, deployment, pasted, sample, sample_report
from services.ops.deployment import CommandRefused
from services.ops.pasted import Pasted
from services.shared import schema_file
from services.shared.config import ConfigError


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url",
        nargs="?",
        metavar="REQUEST",
        help="a URL, such as 'https://t.example.com/i?user_id=ada' or '?a=1', a curl command, an HTTP request, or what "
        "a tracker sends; - reads it from standard input",
    )
    sample_report.add_options(parser)
    deployment.add_schema(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if an event is no row, or nothing is stored."""
    sample_report.check_preset(options)
    asked = _asked(options)
    found = schema_file.load(options.schema)
    parser, warnings, _ = sample_report.reader(found, options.privacy, os.environ)
    report = await sample_report.report(options, found, asked.request, parser)
    for warning in warnings:
        print(f"explain: {warning}", file=sys.stderr)
    if asked.guessed is not None:
        report["guessed"] = asked.guessed
        print(f"explain: taken for {asked.guessed}; --protocol says another", file=sys.stderr)
    print(json.dumps(report, indent=2, ensure_ascii=False) if options.json else check_text.sample(report))
    return 0 if sample_report.is_stored(report) else 1


def _asked(options: argparse.Namespace) -> Pasted:
    if options.body is not None:
        try:
            return Pasted(sample_report.request(options, sample_report.body(options)))
        except ConfigError as error:  # of `check`, which has an option for it
            raise ConfigError(str(error).replace("--url", "URL")) from error
    if options.url is None:
        raise ConfigError("name a URL such as '?user_id=ada&type=view', a curl command, or a --body")
    found = pasted.read(_text(options.url), options.protocol)
    if options.protocol is not None and found.request.body is None:
        raise ConfigError("--protocol goes with what a tracker posts, not with a URL")
    given = {**found.request.headers, **sample_report.headers(options)}
    return Pasted(dataclasses.replace(found.request, headers=given), found.guessed)


def _text(given: str) -> str:
    """Raises CommandRefused for more on standard input than a collector would ever take."""
    if given != "-":
        return given
    data = sys.stdin.buffer.read(sample.MOST_BYTES + 1)
    if len(data) > sample.MOST_BYTES:
        raise CommandRefused(f"standard input has more than {sample.MOST_BYTES:,} bytes")
    return data.decode(errors="replace")
