"""Publishes the hits of access logs: exports of a load balancer's log, nginx, Apache, CloudFront; plain or gzip.

The privacy policy is applied to them as to requests: addresses, secrets, and opt-outs by parameters.

Every event gets an id made of what its line says, so a file that is read twice, or that a log sink has sent too, counts
once; its day is the one of the log. Only requests of the pixel are taken, unless --path says which.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import io
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

from services.collector.routes import PIXELS
from services.ops import access_log, deployment, hit_packs, option, output
from services.processor import log_entry
from services.shared import emulators, hit, resource_names, schema_file
from services.shared.hit import Hit
from services.shared.policy import Policy
from services.shared.publisher import Publisher, Unconfirmed

IN_FLIGHT = 8  # packs being published at a time
PUBLISH_SECONDS = 60.0
_GZIP = b"\x1f\x8b"
_LINE = access_log.MAX_LINE + 1


class _Unfinished(Exception):
    """A file cannot be read further, or Pub/Sub did not confirm; the text says which."""


class Pack(NamedTuple):
    """Encoded hits for one message, and where in the file they end, in bytes of it as it is stored."""

    lines: list[bytes]
    place: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=option.file, metavar="FILE", help="a log file, plain or gzip")
    deployment.add_project(parser)
    deployment.add_schema(parser)
    deployment.add_privacy(parser)
    parser.add_argument(
        "--format", choices=access_log.FORMATS, help="what wrote the files (default: known by the first line of each)"
    )
    parser.add_argument(
        "--path",
        action="append",
        default=[],
        help=f"take requests of this path only, * for all; may be repeated ({', '.join(PIXELS)})",
    )
    parser.add_argument("--dry-run", action="store_true", help="read and count, and publish nothing")
    output.add_json(parser)
    parser.add_argument(
        "--hits-topic", type=option.name("topic"), default=resource_names.HITS_TOPIC, help="where hits go (%(default)s)"
    )


async def run(options: argparse.Namespace) -> int:
    """Print one JSON object: hits found and published, first and last time, and lines that are not hits, by reason.

    The exit code is 1 if a file could not be read to its end, no line of it could, or a pack was not confirmed.
    """
    paths = frozenset() if "*" in options.path else frozenset(options.path or PIXELS)
    policy = deployment.policy(options, schema_file.load(options.schema))
    counts, times, published, failed = Counter[str](), [0, 0], 0, False
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    if not options.dry_run:
        emulators.check(emulators.PUBSUB)
    with output.progress(*columns) as progress:
        async with Publisher(options.project, in_flight=IN_FLIGHT, timeout=PUBLISH_SECONDS) as publisher:
            for path in options.files:
                reading, own = access_log.Reading(options.format), Counter[str]()
                try:
                    shown = progress.add_task(path.name, total=path.stat().st_size)
                    packs = _packs(path, reading, paths, policy, own, times)
                    async for count, place in _published(
                        packs, None if options.dry_run else publisher, options.hits_topic
                    ):
                        published += count
                        progress.update(shown, completed=place)
                    progress.update(shown, completed=path.stat().st_size)
                except (_Unfinished, OSError) as error:
                    failed = True
                    print(f"ingest: {path}: {error}; read it again, what is there already counts once", file=sys.stderr)
                if reading.unreadable is not None:
                    failed |= own.total() == own[access_log.UNREADABLE]
                    print(f"ingest: {path}: {_unreadable(reading, own)}", file=sys.stderr)
                counts += own
    skipped = {reason: count for reason, count in sorted(counts.items()) if reason != "hits"}
    first, last = (_iso(moment) if counts["hits"] else None for moment in times)
    found = {"hits": counts["hits"], "published": published, "skipped": skipped, "first": first, "last": last}
    output.show(options, ({"dry_run": True} if options.dry_run else {}) | found)
    return 1 if failed else 0


def _unreadable(reading: access_log.Reading, counts: Counter[str]) -> str:
    """Says so without a word of the lines, which are strangers'."""
    expected = f"is not of the format {reading.format}; --format names another ({', '.join(access_log.FORMATS)})"
    if counts.total() == counts[access_log.UNREADABLE]:
        return f"nothing was taken in: no line can be read. Line {reading.unreadable} {expected}"
    count = f"{counts[access_log.UNREADABLE]:,} of {counts.total():,} lines cannot be read"
    return f"{count}, the first of them is line {reading.unreadable}: it {expected}"


def _iso(us: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(us // 1_000_000))


def _packs(
    path: Path,
    reading: access_log.Reading,
    paths: frozenset[str],
    policy: Policy,
    counts: Counter[str],
    times: list[int],
) -> Iterator[Pack]:
    """The file's hits in packs, within the limits of one message each; what is counted goes to `counts` and `times`."""
    with path.open("rb") as file, _content(file) as content:
        found = access_log.read(_lines(content), reading, paths)
        for lines in hit_packs.grouped(_encoded(found, policy, counts, times)):
            yield Pack(lines, file.tell())


def _encoded(
    found: Iterable[access_log.Line], policy: Policy, counts: Counter[str], times: list[int]
) -> Iterator[bytes]:
    for line in found:
        one = (policy.apply(line) or log_entry.OPT_OUT) if isinstance(line, Hit) else line
        if not isinstance(one, Hit):
            counts[one] += 1
            continue
        times[0] = min(times[0] or one.at, one.at)
        times[1] = max(times[1], one.at)
        counts["hits"] += 1
        yield hit.encode(one)


@contextmanager
def _content(file: BinaryIO) -> Iterator[BinaryIO]:
    compressed = file.read(2) == _GZIP
    file.seek(0)
    if not compressed:
        yield file
        return
    with gzip.open(file) as content:
        try:
            yield io.BufferedReader(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _Unfinished(f"gzip: {error}") from error


def _lines(content: BinaryIO) -> Iterator[bytes]:
    """Lines of any length in bounded memory: what is over the limit of a line is passed over."""
    while line := content.readline(_LINE):
        yield line
        while len(line) == _LINE and not line.endswith(b"\n"):
            line = content.readline(_LINE)


def _message(lines: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
    """One that says that no collector has counted its hits."""
    data, attributes = hit.pack(lines, hit_packs.new_id())
    return data, {**attributes, hit.INGESTED: "access log"}


async def _published(packs: Iterator[Pack], publisher: Publisher | None, topic: str) -> AsyncIterator[tuple[int, int]]:
    """Publish a few packs at a time; how many hits are safe now, and where in the file they end. Raises _Unfinished."""
    while group := await asyncio.to_thread(lambda: [pack for _, pack in zip(range(IN_FLIGHT), packs, strict=False)]):
        if publisher is not None:
            sent = (publisher.publish(topic, *_message(pack.lines)) for pack in group)
            for outcome in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(outcome, Unconfirmed):
                    raise _Unfinished(f"not confirmed: {deployment.one_line(outcome)}") from outcome
                if isinstance(outcome, BaseException):
                    raise outcome
        yield (sum(len(pack.lines) for pack in group) if publisher is not None else 0), group[-1].place
