"""Creates or repairs everything the services need in a project: `python -m services.provision [--dry-run]`.

A line for each resource. `python -m services.provision iam` prints who needs which role, `policies` prints who sees
which rows; neither changes anything.
Exit codes: 0 done, 1 refused or failed, 2 for options, settings or a schema file that are wrong.
"""

from __future__ import annotations

import argparse
import os
import sys

from google.auth.exceptions import GoogleAuthError

from services.provision import archive, bucket, iam, inventory, row_access
from services.provision.config import Config
from services.provision.resource import ProvisionError, ProvisionRefused, settle
from services.shared import config, emulators, event_engine, fault, log, schema_file

_EMULATORS_SECONDS = 30.0  # they may start at the same time, as with the chart's values-dev.yaml


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.provision",
        description="Create or repair topics, subscriptions, dataset, tables and views. Settings come from PIPE_*.",
    )
    parser.add_argument(
        "--archive",
        metavar="gs://BUCKET[/FOLDER]",
        help="have Pub/Sub archive hits in Cloud Storage, for `pixelpipe replay --archive` (environment PIPE_ARCHIVE)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    commands = parser.add_subparsers(dest="command", title="or")
    permissions = commands.add_parser("iam", help="print who needs which role, and do nothing", description=iam.__doc__)
    iam.add_options(permissions)
    commands.add_parser("policies", help="print who sees which rows, as SQL, and do nothing")
    arguments = parser.parse_args()
    try:
        if arguments.command == "iam":
            sys.stdout.write(iam.text(arguments))
            return 0
        given = {} if arguments.archive is None else {"PIPE_ARCHIVE": arguments.archive}
        cfg = config.read(Config, {**os.environ, **given})
        schema = schema_file.load(cfg.schema)
        if arguments.command == "policies":
            sys.stdout.write(row_access.script(schema, inventory.tables(schema), cfg.project, cfg.dataset))
            return 0
        emulators.check(emulators.PUBSUB, emulators.BIGQUERY, wait=_EMULATORS_SECONDS)
    except config.ConfigError as error:
        print(f"provision: cannot start:\n{error}", file=sys.stderr)
        return 2
    log.start("provision", cfg.log_level)
    event_engine.keep()
    try:
        for line in settle(inventory.resources(cfg, schema), dry_run=arguments.dry_run):
            print(line, flush=True)
        if (store := archive.of(cfg.archive)) is not None:
            print("", *bucket.commands(store, cfg.project, cfg.archive_days), sep="\n", flush=True)
    except ProvisionRefused as error:
        print(f"provision: refused:\n{error}", file=sys.stderr)
        return 1
    except (GoogleAuthError, ProvisionError, OSError) as error:  # OSError: a file of credentials that cannot be read
        print(f"provision: failed: {fault.words(error)}; fix it and run this again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
