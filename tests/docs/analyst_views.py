"""The generated parts of docs/sql.md: each view and function for analysts, what it reads, and its columns."""

from __future__ import annotations

from services.provision import analyst_views
from tests.docs.markers import table

DOCUMENT = "docs/sql.md"
READS = {"sessions": "the days asked for, one before and one after", "live": "today and yesterday"}


def parts() -> dict[str, str]:
    rows = [(f"[`{one.name}`](#{one.name})", one.description, _reads(one)) for one in analyst_views.ALL]
    columns = "\n".join(f"### {one.name}\n\n{_arguments(one)}{_columns(one)}" for one in analyst_views.ALL)
    return {"views": table(("view", "what it has", "reads"), rows), "columns of the views": columns}


def _columns(one: analyst_views.AnalystView) -> str:
    return table(("column", "meaning"), [(f"`{name}`", text) for name, text in one.columns.items()])


def _arguments(one: analyst_views.AnalystView) -> str:
    if not one.arguments:
        return ""
    rows = [(f"`{name}`", one_.type, one_.description) for name, one_ in one.arguments.items()]
    return f"{table(('parameter', 'type', 'meaning'), rows)}\n"


def _reads(one: analyst_views.AnalystView) -> str:
    return READS.get(one.name, "the days asked for" if one.days else "all days")
