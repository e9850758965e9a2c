"""Row access policies: whose rows of a table each tenant's readers see, and who sees them all. Pure.

BigQuery hides every row from whoever no policy of the table names, so a table either has none, or one that names those
who see all of it (`tenants.admins`): DML needs it, hence compaction and `pixelpipe forget` do. Appends need none. A
policy is evaluated for whoever queries, through any view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.shared.schema import TENANT_SOURCE, Schema, Table
from services.shared.tenants import Tenant

PREFIX = "pixelpipe_"  # of the names of policies that are ours; others are left alone
EVERYONE = PREFIX + "all"


@dataclass(frozen=True)
class RowPolicy:
    name: str
    filter: str
    members: tuple[str, ...]


def column(table: Table) -> str | None:
    """The column that says whose row it is: filled by what the collector found, never by what an event claims."""
    return next((one.name for one in table.columns if one.sources == (TENANT_SOURCE,)), None)


def readers(schema: Schema, table: Table) -> tuple[Tenant, ...]:
    """The tenants that have readers and rows in the table: all of them, or the one that it is made for."""
    if column(table) is None:
        return ()
    names = set(schema.tenants.by_name)
    for condition in table.conditions:
        if condition.source == TENANT_SOURCE:
            names &= condition.values
    return tuple(tenant for name, tenant in schema.tenants.by_name.items() if name in names and tenant.readers)


def policies(schema: Schema, table: Table) -> tuple[RowPolicy, ...]:
    """What the table should have, those who see everything first; none if no `tenants.admins` are named.

    A table without such a column, as `conflicts` is, has rows of everyone: only the admins see them.
    """
    if not schema.tenants.admins:
        return ()
    name = column(table)
    own = (
        RowPolicy(f"{PREFIX}tenant_{tenant.name}", f"`{name}` = '{tenant.name}'", tenant.readers)
        for tenant in readers(schema, table)
    )
    return (RowPolicy(EVERYONE, "TRUE", schema.tenants.admins), *own)


def create(policy: RowPolicy, path: str) -> str:
    """The statement; names of tenants and members hold no quote, which the schema file's reader checks."""
    members = ", ".join(f"'{member}'" for member in policy.members)
    return (
        f"CREATE OR REPLACE ROW ACCESS POLICY `{policy.name}` ON `{path}`\n"
        f"GRANT TO ({members})\n"
        f"FILTER USING ({policy.filter})"
    )


def drop(name: str, path: str) -> str:
    return f"DROP ROW ACCESS POLICY IF EXISTS `{name}` ON `{path}`"


def script(schema: Schema, tables: Iterable[Table], project: str, dataset: str) -> str:
    """All of them as one SQL script."""
    return "\n".join(_lines(schema, tables, project, dataset)) + "\n"


def _lines(schema: Schema, tables: Iterable[Table], project: str, dataset: str) -> Iterator[str]:
    if not schema.tenants.admins:
        yield "-- The schema file names no `tenants: admins`, so no table has a row access policy of ours."
        return
    yield "-- Who sees which rows of each table. The provisioner applies this, and drops what is no longer in here."
    for table in tables:
        path = f"{project}.{dataset}.{table.log_name}"
        for policy in policies(schema, table):
            yield f"\n{create(policy, path)};"
    yield ""
    for tenant in schema.tenants.by_name.values():
        if tenant.readers:
            yield f"-- {tenant.name}: {', '.join(tenant.readers)}"
            yield f"--   query the dataset {project}.{dataset}_{tenant.name}, which they may read"
            yield "--   and need roles/bigquery.jobUser on the project that pays for their queries"
