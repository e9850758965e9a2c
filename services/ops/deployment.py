"""Which pipeline a command works on: its project, dataset and schema file, by options or environment."""

from __future__ import annotations

import argparse
import os
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from services.ops import option
from services.shared import emulators, hash_keys, privacy, resource_names, schema
from services.shared.policy import Policy
from services.shared.schema import Schema

TIMEOUT = 30.0  # seconds one request to BigQuery may take


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


def add_privacy(parser: argparse.ArgumentParser) -> None:
    """`--privacy` and `--hash-key-file`: what the collector and the processor have as settings."""
    parser.add_argument(
        "--privacy",
        choices=privacy.PRESETS,
        default=os.environ.get("PIPE_PRIVACY") or privacy.BALANCED,
        help="the preset of the schema file's `privacy` (%(default)s; environment PIPE_PRIVACY)",
    )
    parser.add_argument(
        "--hash-key-file",
        default=os.environ.get("PIPE_HASH_KEY_FILE", ""),
        metavar="FILE",
        help="the keys of the schema file's `privacy.hash` (environment PIPE_HASH_KEY_FILE)",
    )


def policy(options: argparse.Namespace, schema: Schema) -> Policy:
    """The privacy policy, and the tenants, by these options. Raises ConfigError."""
    in_force = schema.privacy[options.privacy]
    return Policy(in_force, hash_keys.of_setting(in_force, options.hash_key_file), schema.tenants)


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
