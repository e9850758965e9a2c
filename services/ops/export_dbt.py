"""dbt's sources.yml: https://docs.getdbt.com/reference/source-properties. Pure.

Texts are JSON strings, which are YAML too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from services.ops.exported import Exported, Field

TESTED_DAYS = 3  # a test that read all days would cost as much as the table


def files(views: Sequence[Exported], project: str, dataset: str) -> dict[str, str]:
    """The one file, by its name."""
    lines = [
        "# Written by `pixelpipe export dbt` from the schema file.",
        "version: 2",
        "",
        "sources:",
        "  - name: pixelpipe",
        "    description: Events of pixelpipe, each counted once",
        f"    database: {json.dumps(project)}",
        f"    schema: {json.dumps(dataset)}",
        "    tables:",
        *(f"      {line}".rstrip() for view in views for line in _table(view)),
    ]
    return {"sources.yml": "\n".join(lines) + "\n"}


def _table(view: Exported) -> Iterator[str]:
    yield f"- name: {json.dumps(view.name)}"
    if view.description:
        yield f"  description: {_text(view.description)}"
    if view.key:
        whole = f"TO_JSON_STRING(STRUCT({', '.join(f'`{name}`' for name in view.key)}))"
        yield "  data_tests:"
        yield "    - unique:"
        yield f"        column_name: {json.dumps(whole)}"
        yield f"        config: {_lately(view)}"
    yield "  columns:"
    for field in view.fields:
        yield from (f"    {line}" for line in _column(view, field))


def _column(view: Exported, field: Field) -> Iterator[str]:
    yield f"- name: {json.dumps(field.name)}"
    yield f"  data_type: {json.dumps(field.data_type)}"
    if field.description:
        yield f"  description: {_text(field.description)}"
    if field.required and view.key:
        yield "  data_tests:"
        yield "    - not_null:"
        yield f"        config: {_lately(view)}"


def _lately(view: Exported) -> str:
    where = f"`{view.day}` >= DATE_SUB(CURRENT_DATE(), INTERVAL {TESTED_DAYS} DAY)"
    return f"{{where: {json.dumps(where)}}}"


def _text(text: str) -> str:
    """A description; dbt would take braces in it for a template of its own."""
    return json.dumps(text.replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #"), ensure_ascii=False)
