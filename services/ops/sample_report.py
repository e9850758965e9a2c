"""What a sample request becomes, without sending it: for `check` and `explain`."""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from services.ops import deployment, explain, option, sample
from services.ops.deployment import CommandRefused
from services.ops.sample import Request
from services.processor import lookup_files, lookups
from services.processor.enrich import geo
from services.processor.enrich.lookup_table import LookupFile
from services.processor.lookups import Lookups
from services.processor.parse import Parser, Row
from services.processor.places import Places
from services.shared import config, privacy
from services.shared.config import ConfigError
from services.shared.schema import Schema

MOST_EVENTS = 100  # of a sample that are explained


def add_options(parser: argparse.ArgumentParser) -> None:
    """All but the URL."""
    parser.add_argument("--body", type=option.file, metavar="FILE", help="post this file, to the URL or by --protocol")
    parser.add_argument("--protocol", help="the protocol of --body, such as segment (native)")
    parser.add_argument("--content-type", metavar="TYPE", help="the Content-Type of --body (application/json)")
    parser.add_argument(
        "--header", action="append", default=[], type=header, metavar="'NAME: VALUE'", help="of the sample; repeatable"
    )
    deployment.add_privacy(parser)


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


def check_preset(options: argparse.Namespace) -> None:
    """Raises ConfigError."""
    if options.privacy not in privacy.PRESETS:  # argparse does not check a default
        raise ConfigError(f"PIPE_PRIVACY={options.privacy!r}: use one of {', '.join(privacy.PRESETS)}")


def body(options: argparse.Namespace) -> bytes | None:
    """The file of --body. Raises ConfigError for what does not go together."""
    if options.body is None:
        for name in ("protocol", "content_type"):
            if getattr(options, name) is not None:
                raise ConfigError(f"--{name.replace('_', '-')} goes with --body")
        if options.header and options.url is None:
            raise ConfigError("--header goes with --url or --body")
        return None
    if options.url is not None and options.protocol is not None:
        raise ConfigError("--protocol and --url both say where to; leave one out")
    try:
        with options.body.open("rb") as file:
            data: bytes = file.read(sample.MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"--body {options.body}: cannot be read: {error.strerror or error}") from None
    if len(data) > sample.MOST_BYTES:
        raise ConfigError(f"--body {options.body}: has more than {sample.MOST_BYTES:,} bytes")
    return data


class Reader(NamedTuple):
    """The processor's parser with the files that are here; a line for each source that has nothing to read from."""

    parser: Parser
    warnings: list[str]
    files: list[LookupFile | Places]  # to refresh


def reader(found: Schema, preset: str, environ: Mapping[str, str]) -> Reader:
    """Raises ConfigError for files that the processor would refuse, but for those of lookups."""
    protection = found.privacy[preset]
    tables, troubles = lookup_files.read(found, protection)
    places = Places.of_setting(environ.get("PIPE_GEO_DATABASE", ""), found, protection)
    sender = lookups.senders(environ.get("PIPE_AGENT_ADDRESSES", ""), found, protection)
    if found.asks_for("geo") and places is None:
        troubles.append(
            f"geo.* is NULL unless the load balancer adds the header {geo.HEADER}, as the chart's gateway and ingress "
            "have it do, or PIPE_GEO_DATABASE names a database"
        )
    parser = Parser(found, Lookups(places.find if places else None, sender, tables))
    return Reader(parser, troubles, [*tables.values(), *([places] if places else [])])


def headers(options: argparse.Namespace) -> dict[str, str]:
    """Of --header and --content-type."""
    given = dict(options.header)
    return given if options.content_type is None else {**given, "Content-Type": options.content_type}


def request(options: argparse.Namespace, body: bytes | None) -> Request:
    """What the options describe, with a `url` among them. Raises ConfigError."""
    try:
        return sample.request(options.url, options.protocol, body, headers(options))
    except CommandRefused as error:
        raise ConfigError(str(error)) from error


async def report(options: argparse.Namespace, found: Schema, asked: Request, parser: Parser) -> dict[str, Any]:
    """What becomes of a request, as JSON has it."""
    cfg = sample.settings(os.environ, options.privacy, options.hash_key_file)
    captured = await sample.send(cfg, found, asked)
    bare = await sample.send(cfg, sample.unprotected(found), asked)
    pairs = zip(bare.hits, captured.hits, strict=False) if len(bare.hits) == len(captured.hits) else ()
    took = [explain.protected(*pair) for pair in itertools.islice(pairs, MOST_EVENTS)]
    now = time.time_ns() // 1000
    return {
        "request": f"{'GET' if asked.body is None else 'POST'} {asked.target}",
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


def is_stored(report: dict[str, Any]) -> bool:
    """Whether every event is a row, and there is one."""
    return {*(one["outcome"] for one in report["events"]), *report["more"]} == {"row"}
