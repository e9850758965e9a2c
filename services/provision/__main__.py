"""Make or mend everything the services need in a project: `python -m services.provision [--dry-run]`.

A line for each resource. `python -m services.provision iam` prints who needs which role, and does nothing.
Exit codes: 0 done, 1 refused or failed, 2 for options, settings or a schema file that are wrong.
"""

from __future__ import annotations

import argparse
import os
import sys

from google.auth.exceptions import GoogleAuthError

from services.provision import iam
from services.provision.config import Config
from services.provision.resource import Failed, Refused, settle
from services.provision.wanted import resources
from services.shared import config, log, schema_file


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m services.provision",
        description="Make or mend topics, subscriptions, dataset, tables and views. Settings come from PIPE_*.",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    commands = parser.add_subparsers(dest="command", title="or")
    permissions = commands.add_parser("iam", help="print who needs which role, and do nothing", description=iam.__doc__)
    iam.add_options(permissions)
    arguments = parser.parse_args()
    try:
        if arguments.command == "iam":
            sys.stdout.write(iam.text(arguments))
            return 0
        cfg = config.read(Config, os.environ)
        schema = schema_file.load(cfg.schema)
    except config.ConfigError as error:
        print(f"provision: cannot start:\n{error}", file=sys.stderr)
        return 2
    log.start("provision", cfg.log_level)
    try:
        for line in settle(resources(cfg, schema), dry_run=arguments.dry_run):
            print(line, flush=True)
    except Refused as error:
        print(f"provision: refused:\n{error}", file=sys.stderr)
        return 1
    except (Failed, GoogleAuthError) as error:
        print(f"provision: failed; put this right and run it again:\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
