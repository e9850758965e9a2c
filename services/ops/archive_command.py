"""The options of `replay --archive`, and its order of steps."""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from services.ops import archive, archive_replace, archive_replay, deployment, option, output
from services.ops.deployment import CommandRefused
from services.shared import emulators, schema_file
from services.shared.config import ConfigError
from services.shared.publisher import Publisher


def add_options(parser: argparse.ArgumentParser) -> None:
    archived = parser.add_argument_group("from the archive")
    archived.add_argument(
        "--archive",
        type=option.archive,
        metavar="gs://BUCKET[/FOLDER]|FOLDER",
        help="publish the hits of the archive again, those received from --since on, and before --until (now)",
    )
    archived.add_argument(
        "--replace",
        action="store_true",
        help="first delete the rows that were made of them; refused where the archive does not hold them all",
    )
    archived.add_argument(
        "--yes", action="store_true", help="delete what --replace says; bring back people who were forgotten meanwhile"
    )
    archived.add_argument("--resume-after", metavar="OBJECT", help="go on behind this object, as an earlier run said")


def check(options: argparse.Namespace) -> None:
    """Raises ConfigError for options that do not go together."""
    of_rejects = {f"--{name.replace('_', '-')}": name for name in ("reason", "table", "event_id", "stage", "limit")}
    of_archive = {"--replace": options.replace, "--yes": options.yes, "--resume-after": options.resume_after}
    if options.archive is None:
        given = [name for name, value in of_archive.items() if value]
        problem = f"{given[0]} goes with --archive only" if given else ""
    else:
        given = [name for name, key in of_rejects.items() if getattr(options, key)]
        if not options.pending:
            given.append("--all")
        problem = f"{given[0]} is of the rejects, and does not go with --archive" if given else ""
        if options.since is None:
            problem = problem or "--archive needs --since: the time from which on hits are published again"
        elif options.until is not None and options.until <= options.since:
            problem = problem or "--until is not after --since"
        if options.replace and options.resume_after:
            problem = problem or (
                "--replace deletes the rows of the whole span: to go on after it was interrupted, leave --replace out"
            )
    if problem:
        raise ConfigError(problem)


async def run(options: argparse.Namespace) -> int:
    """Print the outcome as one JSON object. The exit code is 1 if something could not be read or published."""
    until = options.until or datetime.now(UTC)
    found = archive.Archive(options.archive)
    reader = archive_replay.ArchiveReader(found, options.since, until)
    with output.working("looking for objects"):
        objects = await asyncio.to_thread(reader.objects, options.resume_after)
    if not objects:
        raise CommandRefused(f"{options.archive} has no objects of that time; is it the place that `provision` wrote?")
    if not options.dry_run:
        emulators.check(emulators.PUBSUB)
    schema, client = schema_file.load(options.schema), deployment.bigquery_client(options.project)
    replaced = archive_replace.Replaced(client, options.project, options.dataset, schema, options.since, until)
    erasures = await asyncio.to_thread(replaced.erasures)
    if erasures and not options.yes and not options.dry_run:
        raise CommandRefused(
            f"people were forgotten since then ({erasures} receipts in `erasures`), and the archive still holds what "
            "they sent: it would be back; add --yes, and run `pixelpipe forget` for them again once the replay is "
            "loaded"
        )
    outcome: dict[str, Any] = {}
    if options.replace:
        outcome = await _replace(options, reader, objects, replaced)
        if options.dry_run:
            return _told(options, reader, outcome | {"dry_run": True})
        reader = archive_replay.ArchiveReader(found, options.since, until)
    if options.dry_run:
        await archive_replay.run(reader, objects, None, options.hits_topic)
        return _told(options, reader, {"dry_run": True})
    async with Publisher(
        options.project, in_flight=archive_replay.IN_FLIGHT, timeout=archive_replay.PUBLISH_SECONDS
    ) as publisher:
        await archive_replay.run(reader, objects, publisher, options.hits_topic)
    return _told(options, reader, outcome)


async def _replace(
    options: argparse.Namespace,
    reader: archive_replay.ArchiveReader,
    objects: list[archive.ArchivedObject],
    replaced: archive_replace.Replaced,
) -> dict[str, Any]:
    """Count what the archive holds, and delete the rows that were made of it. Raises CommandRefused where that is less
    than there is, or cannot be read whole."""
    await archive_replay.run(reader, objects, None, options.hits_topic)
    if not reader.counts.whole:
        raise CommandRefused("--replace would lose what cannot be read of the archive; nothing was deleted")
    events = await asyncio.to_thread(replaced.check, reader.hours)
    if options.dry_run:
        return {"to_delete": events}
    if not options.yes:
        raise CommandRefused(
            f"--replace deletes the rows of {events} events before it publishes {reader.counts.hits} hits again; look "
            "at --dry-run, then add --yes"
        )
    began = datetime.now(UTC)
    deleted = await asyncio.to_thread(replaced.remove)
    print(f"replay: the rows as they were: FOR SYSTEM_TIME AS OF '{began.isoformat()}', for a week", file=sys.stderr)
    return {"deleted": deleted}


def _told(options: argparse.Namespace, reader: archive_replay.ArchiveReader, more: dict[str, Any]) -> int:
    output.show(options, {**more, **asdict(reader.counts)})
    return 0 if reader.counts.whole else 1
