"""Checks a running release from outside: each line is ok, or says what to do. Changes nothing."""

from __future__ import annotations

import argparse
import asyncio
import os

from services.ops import deployment, doctor_checks, doctor_project, doctor_release, option, output
from services.provision.config import Config
from services.shared import config, emulators, schema_file


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    parser.add_argument("--url", type=option.url, help="where clients reach the collectors; its certificate is checked")
    parser.add_argument(
        "--admin",
        action="append",
        default=[],
        type=option.url,
        metavar="URL",
        help="the admin port of a process, loaders first, collectors last; repeatable",
    )
    output.add_json(parser)


async def run(options: argparse.Namespace) -> int:
    """The exit code is 1 if there is something to do. Other names of topics and the like come from PIPE_*."""
    given = {"PIPE_PROJECT": options.project, "PIPE_DATASET": options.dataset, "PIPE_SCHEMA": str(options.schema)}
    cfg = config.read(Config, {**os.environ, **given})
    schema = schema_file.load(cfg.schema)
    await asyncio.to_thread(emulators.check, emulators.PUBSUB, emulators.BIGQUERY)
    with output.working("examining"):
        parts = await asyncio.gather(
            doctor_project.examine(cfg, schema),
            doctor_release.processes(options.admin, schema.digest),
            doctor_release.public(options.url),
        )
    report = doctor_checks.report([finding for part in parts for finding in part])
    output.show(options, report, indent=2)
    return 1 if report["to_do"] else 0
