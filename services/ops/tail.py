"""Shows hits, rows or rejects as they pass, from a subscription of its own that goes when it ends."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from services.ops import deployment, option
from services.ops.dead_letter import printable, to_json
from services.ops.tap import Tap
from services.processor import parse
from services.shared import hit, resource_names, rows
from services.shared.errors import Poison
from services.shared.format_version import NewerFormat
from services.shared.hit import Hit
from services.shared.lru_set import LruSet
from services.shared.schema import REJECTS, TALLIES

_PACKS = 10_000  # that are known, so that what Pub/Sub delivers again is shown once
_WIDEST = 200  # characters of a value


class Line(NamedTuple):
    """What is shown of a hit or row: a text, and the whole as an object."""

    text: str
    whole: dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", choices=("hits", "rows", "rejects"), default="hits", help="requests, or what became of them"
    )
    deployment.add_project(parser)
    for name, default in (("hits-topic", resource_names.HITS_TOPIC), ("rows-topic", resource_names.ROWS_TOPIC)):
        parser.add_argument(f"--{name}", type=option.name("topic"), default=default, help="(%(default)s)")
    parser.add_argument("--grep", default="", metavar="TEXT", help="only those with this text in them")
    parser.add_argument("--count", type=option.whole(1), metavar="N", help="end after so many")
    parser.add_argument("--seconds", type=option.number(0), help="end after so long")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


async def run(options: argparse.Namespace) -> int:
    """Ends at --count, at --seconds or with Ctrl-C."""
    topic = options.hits_topic if options.what == "hits" else options.rows_topic
    async with Tap(options.project, topic, "tail") as tap:
        if not options.json:
            print(f"tail: {options.what} of {topic}, until Ctrl-C", file=sys.stderr)
        with suppress(TimeoutError):
            async with asyncio.timeout(options.seconds):  # in here: it must not cut off how the tap is made or removed
                await _show(tap, options)
    return 0


async def _show(tap: Tap, options: argparse.Namespace) -> None:
    known, left = LruSet[str](_PACKS), options.count
    async for message in tap.messages():
        attributes = dict(message.attributes)
        pack = attributes.get("pack") or message.message_id
        if pack in known:
            continue
        known.add(pack)
        for line in lines(options.what, message.data, attributes):
            said = to_json(line.whole)
            if options.grep and options.grep not in line.text and options.grep not in said:
                continue
            print(said if options.json else line.text, flush=True)
            if left is not None and (left := left - 1) == 0:
                return


def lines(what: str, data: bytes, attributes: dict[str, str]) -> Iterator[Line]:
    """Those of one message; one that cannot be read is a line of its own."""
    try:
        if what == "hits":
            if "schema" in attributes:  # else a load balancer's log entry, which the processor reads
                yield from (_hit(one) for one in hit.unpack(data, attributes) if one.tally is None)
        elif attributes.get("table") != TALLIES and (attributes.get("table") == REJECTS) == (what == "rejects"):
            yield from (_row(attributes["table"], one) for one in rows.unpack(data, attributes).to_pylist())
    except (Poison, NewerFormat, KeyError) as error:
        yield Line(f"a message that cannot be read: {printable(str(error))}", {"error": str(error)})


def _hit(one: Hit) -> Line:
    at = datetime.fromtimestamp(one.at / 1e6, UTC).isoformat(timespec="milliseconds")
    asked = f"{one.method} {one.path}" + (f"?{one.query}" if one.query else "")
    posted = bytes(one.body).decode(errors="replace") or one.text
    event_id = parse.event_id(one)  # which `trace` and the tables have
    own = f"(hit {one.id})" if event_id != one.id else ""
    return Line(
        "  ".join(_cut(part) for part in (at, one.via or "native", event_id, own, asked, posted) if part),
        {"event_id": event_id, **json.loads(hit.encode(one))},
    )


def _row(table: str, row: dict[str, Any]) -> Line:
    filled = {name: value for name, value in row.items() if value is not None}
    return Line(
        f"{table}  " + "  ".join(f"{name}={_cut(value)}" for name, value in filled.items()), {"table": table, **row}
    )


def _cut(value: Any) -> str:
    text = printable(str(value))
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"
