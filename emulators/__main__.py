"""`python -m emulators pubsub …` or `python -m emulators bigquery …`: runs that emulator with its own arguments."""

from __future__ import annotations

import runpy
import sys

NAMES = ("pubsub", "bigquery")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        print(f"usage: python -m emulators {'|'.join(NAMES)} [--help]", file=sys.stderr)
        sys.exit(2)
    runpy.run_module(f"emulators.{sys.argv.pop(1)}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
