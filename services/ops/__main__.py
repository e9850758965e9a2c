"""What an operator types: `python -m services.ops load --help`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from services.ops import load


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.ops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    load.add_options(commands.add_parser("load", help="fire hits at a collector and count what arrives in BigQuery"))
    return asyncio.run(load.run(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
