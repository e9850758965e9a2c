"""Makes one table for each tenant of a table of the schema file whose name holds {tenant}."""

from __future__ import annotations

import dataclasses
import re

import yaml

from services.shared import schema
from services.shared.schema import Condition, Table
from services.shared.schema_nodes import NodeReader, near, quoted
from services.shared.schema_tenants import COLUMN, condition_source
from services.shared.tenants import Tenants


class TenantTables(NodeReader):
    def read(self, table: Table, node: yaml.Node | None, place: yaml.Node, tenants: Tenants) -> list[Table]:
        """The table, or one for each tenant that it lists; all tenants of the file if it lists none."""
        if schema.TENANT not in table.name:
            if node is not None:
                self._error(node, f"table {table.name}: `tenants` goes with a name that holds {schema.TENANT}")
            return [table]
        names = self._texts(node, f"table {table.name}: tenants") if node is not None else list(tenants.by_name)
        if node is None and not tenants:
            self._error(place, f"table {table.name}: list its `tenants`: a query string must never create a table")
        column = next((column for column in table.columns if column.name == COLUMN), None)
        if column is None or not column.sources:
            self._error(place, f"table {table.name}: it needs a column `{COLUMN}` to choose the table by")
            return []
        source = condition_source(column.sources, tenants)
        tables = []
        for name in names:
            if not re.fullmatch(r"[A-Za-z0-9_]{1,100}", name):
                self._error(node or place, f"tenant {quoted(name)}: letters, digits and underscores only, at most 100")
            tenant = tenants.by_name.get(name)
            if tenants and tenant is None:
                known = near(name, tenants.by_name)
                self._error(
                    node or place, f"table {table.name}: tenants: {quoted(name)} is not in `tenants.list`{known}"
                )
            tables.append(
                dataclasses.replace(
                    table,
                    name=table.name.replace(schema.TENANT, name),
                    conditions=(*table.conditions, Condition(source, frozenset({name}))),
                    expire_days=tenant.expire_days if tenant and tenant.expire_days else table.expire_days,
                )
            )
        return tables
