"""Writes what other tools need to know of the tables and views: a LookML project for Looker, or dbt's sources.yml.

It reads the schema file alone, and asks nothing of BigQuery.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from services.ops import deployment, export_dbt, export_lookml, option, output
from services.ops.deployment import CommandRefused
from services.ops.exported import exported
from services.shared import schema_file


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", choices=("lookml", "dbt"), help="for Looker, or for dbt")
    deployment.add_project(parser)
    deployment.add_dataset(parser)
    parser.add_argument("--to", type=option.file, metavar="FOLDER", help="write files into it (stdout)")
    output.add_json(parser, "one JSON object: the files by name, or with --to which were written")
    parser.add_argument("--force", action="store_true", help="write over files that are there and differ")
    parser.add_argument(
        "--connection",
        default="bigquery",
        metavar="NAME",
        help="Looker's name of the connection (%(default)s)",
    )


async def run(options: argparse.Namespace) -> int:
    schema = schema_file.load(options.schema)
    place = (options.project, options.dataset)
    if options.format == "dbt":
        files = export_dbt.files(exported(schema), *place)
    else:
        files = export_lookml.files(exported(schema), *place, options.connection)
    if options.to is not None:
        written = _write(options.to, files, force=options.force)
        if options.json:
            print(json.dumps({"folder": str(options.to), "written": written}))
    elif options.json:
        print(json.dumps({"files": files}))
    else:
        sys.stdout.write("\n".join(f"# {name}\n{text}" if len(files) > 1 else text for name, text in files.items()))
    return 0


def _write(folder: Path, files: dict[str, str], *, force: bool) -> list[str]:
    """All of them or, where one is there and differs, none; those that changed. Says on stderr what was done."""
    changed = {name: text for name, text in files.items() if _present(folder / name) != text}
    taken = [name for name in changed if (folder / name).exists()]
    if taken and not force:
        raise CommandRefused(
            f"{', '.join(str(folder / name) for name in taken)}: there already, and different; look at the difference "
            "with another --to, or write over with --force"
        )
    for name, text in changed.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    same = f", {len(files) - len(changed)} were so already" if len(files) > len(changed) else ""
    print(f"export: {len(changed)} files written into {folder}{same}", file=sys.stderr)
    return list(changed)


def _present(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        return ""  # somebody's own, which is not text
