"""The access entries of a dataset: checked and kept. There are no identities here, so they keep nobody out."""

from __future__ import annotations

from typing import Any

from emulators.bigquery.catalog import Catalog
from emulators.bigquery.errors import invalid, not_found

MEMBERS = ("userByEmail", "groupByEmail", "domain", "specialGroup", "iamMember")
AUTHORIZED = ("view", "routine", "dataset")  # what reads the dataset for others, and has no role
SPECIAL = ("projectOwners", "projectReaders", "projectWriters", "allAuthenticatedUsers")
# The names that BigQuery gives back for these roles.
BASIC = {
    "roles/bigquery.dataViewer": "READER",
    "roles/bigquery.dataEditor": "WRITER",
    "roles/bigquery.dataOwner": "OWNER",
}
DEFAULT = [
    {"role": "WRITER", "specialGroup": "projectWriters"},
    {"role": "OWNER", "specialGroup": "projectOwners"},
    {"role": "READER", "specialGroup": "projectReaders"},
]


def checked(catalog: Catalog, entries: Any) -> list[dict[str, Any]]:
    """The entries as BigQuery gives them back; ApiError for one it would not take."""
    found: list[dict[str, Any]] = []
    for entry in entries:
        if not isinstance(entry, dict):
            raise invalid("Invalid value at 'access': an object is expected")
        entity = [name for name in (*MEMBERS, *AUTHORIZED) if entry.get(name)]
        if len(entity) != 1:
            raise invalid(f"An access entry names exactly one of {', '.join((*MEMBERS, *AUTHORIZED))}, not {entity}")
        if set(entry) - {"role", *MEMBERS, *AUTHORIZED}:
            raise invalid("The local BigQuery emulator does not support conditions of an access entry")
        (name,) = entity
        kept = _authorized(catalog, name, entry) if name in AUTHORIZED else _member(name, entry)
        if kept not in found:
            found.append(kept)
    return found


def _member(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    role, who = entry.get("role"), entry[name]
    if not isinstance(role, str) or not role:
        raise invalid(f"An access entry of {name} needs a role")
    if role not in BASIC.values() and not role.startswith(("roles/", "projects/", "organizations/")):
        raise invalid(f"Invalid role of an access entry: {role[:200]}")
    if not isinstance(who, str) or (name == "specialGroup" and who not in SPECIAL):
        raise invalid(f"Invalid {name} of an access entry: {str(who)[:200]}")
    return {"role": BASIC.get(role, role), name: who}


def _authorized(catalog: Catalog, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    if entry.get("role"):
        raise invalid(f"An access entry of a {name} has no role")
    if name != "view":
        raise invalid(f"The local BigQuery emulator does not support an authorized {name}")
    view = entry["view"]
    parts = [view.get(part) for part in ("projectId", "datasetId", "tableId")] if isinstance(view, dict) else []
    if len(parts) != 3 or not all(isinstance(part, str) and part for part in parts):
        raise invalid("An authorized view needs projectId, datasetId and tableId")
    project, dataset, table = map(str, parts)
    found = catalog.tables.get((project, dataset, table))
    if found is None:
        raise not_found(f"Table {project}:{dataset}.{table}")
    if found.view is None:
        raise invalid(f"{found.title} is not allowed for this operation because it is currently a TABLE")
    return {"view": {"projectId": project, "datasetId": dataset, "tableId": table}}
