"""Which pipeline a command works on: its project, dataset and schema file, by options or environment."""

from __future__ import annotations

import argparse
import os
import re
from datetime import datetime, timedelta
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.ops import option
from services.shared import config, emulators, fault, hash_keys, privacy, resource_names, schema
from services.shared.config import ConfigError
from services.shared.policy import Policy
from services.shared.privacy import Privacy
from services.shared.schema import Schema

TIMEOUT = 30.0  # seconds one request to BigQuery may take
MOST_TIME_TRAVEL = timedelta(hours=168)  # and what a dataset has that says nothing
_UNSEEN = "does not exist, or you may not see it: check"
_REQUEST = re.compile(r"(?:\d{3} )?(?:GET|POST|PUT|PATCH|DELETE) \S+: ")
_TOPIC = re.compile(r"(?:404 )?Resource not found \(resource=([^)]+)\)\.?")  # or subscription
_ABSENT = re.compile(r"Not found: (Project|Dataset|Table) ([\w.:-]+)")


class CommandRefused(Exception):
    """The command cannot do this, or must not; the text says why and what to do instead, in one line."""


def add_project(parser: argparse.ArgumentParser) -> None:
    project = os.environ.get("PIPE_PROJECT")
    parser.add_argument(
        "--project",
        type=option.name("project"),
        default=project,
        required=project is None,
        help="the Google Cloud project (environment PIPE_PROJECT)",
    )


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """`--dataset` and `--schema`, which belong together."""
    parser.add_argument(
        "--dataset",
        type=option.name("dataset"),
        default=os.environ.get("PIPE_DATASET") or resource_names.DATASET,
        help="the dataset of tables and views (%(default)s; environment PIPE_DATASET)",
    )
    add_schema(parser)


def add_schema(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--schema",
        type=option.file,
        default=os.environ.get("PIPE_SCHEMA") or str(schema.DEFAULT_FILE),
        help="the schema file (the one that comes with pixelpipe; environment PIPE_SCHEMA)",
    )


def add_preset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--privacy",
        choices=privacy.PRESETS,
        default=os.environ.get("PIPE_PRIVACY") or privacy.BALANCED,
        help="the preset of the collectors, the chart's `privacy` (%(default)s; environment PIPE_PRIVACY)",
    )


def add_privacy(parser: argparse.ArgumentParser) -> None:
    """`--privacy` and `--hash-key-file`: what the collector and the processor have as settings."""
    add_preset(parser)
    parser.add_argument(
        "--hash-key-file",
        default=os.environ.get("PIPE_HASH_KEY_FILE", ""),
        metavar="FILE",
        help="the keys of the schema file's `privacy.hash` (environment PIPE_HASH_KEY_FILE)",
    )


def in_force(options: argparse.Namespace, schema: Schema) -> Privacy:
    """The schema file's privacy under the preset of `--privacy`. Raises ConfigError."""
    if options.privacy not in privacy.PRESETS:  # argparse does not check a default
        raise ConfigError(f"PIPE_PRIVACY={config.shown(options.privacy)}: use one of {', '.join(privacy.PRESETS)}")
    return schema.privacy[options.privacy]


def policy(options: argparse.Namespace, schema: Schema) -> Policy:
    """The privacy policy, and the tenants, by these options. Raises ConfigError."""
    found = in_force(options, schema)
    return Policy(found, hash_keys.of_setting(found, options.hash_key_file), schema.tenants)


def time_travel(client: Any, dataset: str) -> timedelta:
    """For how long the dataset PROJECT.DATASET shows rows that were deleted. Raises GoogleAPIError."""
    hours = client.get_dataset(dataset, timeout=TIMEOUT).max_time_travel_hours
    return timedelta(hours=int(hours)) if hours else MOST_TIME_TRAVEL


def bigquery_client(project: str, emulator: str | None = None) -> Any:
    """Google's client; `emulator` is the URL of one, else the environment's BIGQUERY_EMULATOR_HOST decides.

    Raises ConfigError for an emulator that does not answer.
    """
    if emulator is not None:
        emulators.check("--bigquery", environ={"--bigquery": emulator})
        options = ClientOptions(api_endpoint=emulator)
        return bigquery.Client(project, credentials=AnonymousCredentials(), client_options=options)
    emulators.check(emulators.BIGQUERY)
    # Unlike Pub/Sub's, this client looks for credentials also where it talks to an emulator.
    anonymous = AnonymousCredentials() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None
    return bigquery.Client(project, credentials=anonymous)


def now(client: Any) -> datetime:
    """By BigQuery's clock, which its views go by; this machine's may be wrong."""
    (row,) = client.query("SELECT CURRENT_TIMESTAMP()", timeout=TIMEOUT).result(timeout=TIMEOUT)
    found: datetime = row[0]
    return found


def one_line(error: Exception) -> str:
    """What an error says, without the request it answers; of what is not there, in BigQuery or Pub/Sub, what to do."""
    text = _REQUEST.sub("", fault.words(error), count=1)
    text = _TOPIC.sub(rf"\1 {_UNSEEN} --project, or provision it", text)
    found = _ABSENT.search(text)
    if found is None:
        return text
    kind, name = found[1].lower(), found[2]
    if kind == "project":
        return f"project {name} {_UNSEEN} --project"
    project, _, inside = name.rpartition(":")
    if kind == "dataset":
        what, check = f"dataset {inside} of project {project}", "--project and --dataset"
    else:
        dataset, _, table = inside.partition(".")
        what, check = f"table {table} of dataset {dataset} of project {project}", "--dataset and --schema"
    return f"{what} {_UNSEEN} {check}, or provision it"
