"""A dataset for each tenant with readers: views of its own rows, which are authorized to read the tables. Pure.

The views let readers in, the row access policies keep them to their rows: a reader needs no role on the shared dataset,
and one who got it by mistake still sees no other tenant's rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.cloud.bigquery import AccessEntry

from services.provision import row_access, view
from services.shared.schema import Schema, Table
from services.shared.tenants import Tenant

READER = "READER"  # as BigQuery gives back roles/bigquery.dataViewer of a dataset
_KINDS = {"user": "userByEmail", "serviceAccount": "userByEmail", "group": "groupByEmail", "domain": "domain"}


@dataclass(frozen=True)
class TenantView:
    """The view of one tenant's rows of a table; it has the table's name."""

    tenant: Tenant
    table: Table


def dataset_name(dataset: str, tenant: Tenant) -> str:
    return f"{dataset}_{tenant.name}"


def views(schema: Schema) -> Iterator[TenantView]:
    """Those of each tenant together."""
    for tenant in schema.tenants.by_name.values():
        for table in schema.tables.values():
            if tenant in row_access.readers(schema, table):
                yield TenantView(tenant, table)


def sql(wanted: TenantView, project: str, dataset: str, columns: Sequence[str]) -> str:
    """The view's own SQL, over this tenant's rows. It reads the table, not the view, so that one authorization will do.

    The rows are chosen before they are counted once: another tenant's event can hide none of them.
    """
    column = row_access.column(wanted.table)
    return view.sql(wanted.table, project, dataset, columns, f"`{column}` = '{wanted.tenant.name}'")


def reader_entry(member: str) -> AccessEntry:
    kind, _, name = member.partition(":")
    if kind in _KINDS:
        return AccessEntry(READER, _KINDS[kind], name)
    return AccessEntry(READER, "iamMember", member)


def identity(entry: AccessEntry) -> tuple[str | None, str, str]:
    """What an entry says and of whom, to be compared: BigQuery gives addresses back in lower case."""
    return entry.role, entry.entity_type, str(entry.entity_id).lower()
