"""`page`: the same page, only looking, at a pipeline on Google Cloud: its admin ports forwarded, its own BigQuery."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery

from emulators.arguments import HOST, port
from local import page
from local.ports import Ports
from local.restart import Restarts
from local.watched import SERVICES, Watched
from services.ops import deployment, option
from services.shared import schema_file
from services.shared.config import ConfigError

MOST_BILLED = 10 * 2**30  # bytes that one query may read: about six cents


def add_options(parser: argparse.ArgumentParser) -> None:
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    for name in SERVICES:
        parser.add_argument(
            f"--{name}-admin",
            type=option.url,
            default=f"http://{HOST}:{getattr(Ports(), f'{name}_admin')}",
            metavar="URL",
            help=f"where kubectl port-forward has the {name}'s admin port (%(default)s)",
        )
    parser.add_argument(
        "--collector",
        type=option.url,
        default="https://track.example.com",
        metavar="URL",
        help="the public address, for the snippets and requests that the page shows (%(default)s stands for it)",
    )
    parser.add_argument("--page-port", type=port, default=Ports().page, metavar="N", help="(%(default)s)")


def serve(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Until Ctrl-C; 2 for settings that cannot be used, 1 for a port that is taken."""
    watched = Watched(
        project=options.project,
        dataset=options.dataset,
        schema=str(options.schema),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        ready=True,
        collector=options.collector.rstrip("/"),
        admin={name: getattr(options, f"{name}_admin").rstrip("/") for name in SERVICES},
        page_port=options.page_port,
        read_only=True,
    )
    try:
        schema = schema_file.load(options.schema)
        client = deployment.bigquery_client(options.project)
        client.default_query_job_config = bigquery.QueryJobConfig(maximum_bytes_billed=MOST_BILLED)
        # A subscription of its own would be a change there: raw requests are known of rejects only.
        app = page.application(lambda: watched, schema, client, Restarts(None), environ, tap=False)
    except (ConfigError, GoogleAuthError) as error:
        print(f"page: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"only looking at {options.project}.{options.dataset}: http://{HOST}:{options.page_port}/", flush=True)
    try:
        page.serve(app, options.page_port)
    except ConfigError as error:
        print(f"page: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"page: port {options.page_port}: {error.strerror}; choose another with --page-port", file=sys.stderr)
        return 1
    return 0
