"""Prints every row of people in the tables of the schema file, in `conflicts` and in dead letters.

Rows come from the log tables: one that was appended twice is there twice. Changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from services.ops import dead_letter, dead_letter_erasure, dead_letter_queue, deployment, output, people
from services.ops.dead_letter_queue import DeadLetterQueue
from services.ops.deployment import CommandRefused
from services.ops.person_search import PersonSearch
from services.shared import emulators, schema_file

DEAD_LETTERS = "dead letters"


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    people.add_options(parser)
    dead_letter_queue.add_options(parser)
    output.add_json(parser, "one JSON object a row, also on a terminal")


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if some place could not be read; stderr names it."""
    schema = schema_file.load(options.schema)
    meant = people.read(options, schema)
    client = deployment.bigquery_client(options.project)
    await asyncio.to_thread(emulators.check, emulators.PUBSUB)
    search = PersonSearch(client, options.project, options.dataset, schema, meant)
    with output.working("looking"):
        targets, columns, absent = await asyncio.to_thread(search.tables)
        if not columns:
            raise CommandRefused(
                f"no table of {options.schema} is in dataset {options.dataset} of project {options.project}, or you "
                "may not see it: check --project and --dataset, or provision it"
            )
        counts: dict[str, int] = {}
        failed = []
        for target in targets:
            counts[target.name] = 0
            try:
                found = await asyncio.to_thread(search.find, target, columns[target.name])
                for row in search.export(found):
                    output.line(options, f'{{"table": "{target.name}", "row": {row}}}')
                    counts[target.name] += 1
            except exceptions.GoogleAPIError as error:  # the other tables are not affected
                failed.append(f"{target.name}: {deployment.one_line(error)}")
        try:
            counts[DEAD_LETTERS] = await _dead_letters(options, search)
        except (CommandRefused, GoogleAuthError, exceptions.GoogleAPIError) as error:
            failed.append(f"{DEAD_LETTERS}: {deployment.one_line(error)}")
    for name, count in counts.items():
        print(f"access: {name}: {count}", file=sys.stderr)
    for name in absent:
        print(f"access: {name}: there is no such table", file=sys.stderr)
    for text in failed:
        print(f"access: not read: {text}", file=sys.stderr)
    return 1 if failed else 0


async def _dead_letters(options: argparse.Namespace, search: PersonSearch) -> int:
    count = 0
    async with DeadLetterQueue(options.project, options.subscription, wait=options.wait) as queue:
        async for letter in queue.messages():
            for event in dead_letter_erasure.events_of(letter, search.matcher):
                output.line(options, dead_letter.to_json({"table": DEAD_LETTERS, "id": letter.id, "row": event}))
                count += 1
        if queue.full:
            raise CommandRefused("there are more than could be read")
    return count
