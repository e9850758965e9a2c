"""Write all of the chart that is made of something else: `python -m tests.chart.write`.

The settings in values.yaml and values.schema.json (from services/*/config.py), the default schema file, the table of
values in the README, and the golden renders. Tests compare each with what this would write, except the schema file:
editing schema.yaml fails no test, and `make check` says that the chart's copy is old.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from services.shared.schema import DEFAULT_FILE
from tests.chart import reference, release, settings
from tests.chart.release import CHART, GOLDEN, KEPT, SCHEMA_FILE

Made = Iterator[tuple[Path, str]]


def chart() -> Made:
    """Files and what should stand in them; each rests on the ones before being right."""
    yield SCHEMA_FILE, DEFAULT_FILE.read_text()
    values = settings.put_values((CHART / "values.yaml").read_text())
    yield CHART / "values.yaml", values
    schema = json.loads((CHART / "values.schema.json").read_text())
    yield CHART / "values.schema.json", settings.dumps(settings.put_schema(schema)) + "\n"
    yield CHART / "README.md", reference.put((CHART / "README.md").read_text(), values)


def golden() -> Made:
    for case in KEPT:
        yield GOLDEN / f"{case}.yaml", release.golden(case)


def main() -> None:
    for file, wanted in [*chart()]:
        file.write_text(wanted)
    GOLDEN.mkdir(exist_ok=True)
    for file in GOLDEN.glob("*.yaml"):
        if file.stem not in KEPT:
            file.unlink()
    for file, wanted in golden():
        file.write_text(wanted)


if __name__ == "__main__":
    main()
