"""Reads the schema file's `tenants:`."""

from __future__ import annotations

import yaml

from services.shared.schema_nodes import NodeReader
from services.shared.tenants import Tenants

KEYS = ("parameter", "unknown", "limited", "list")


class TenantsReader(NodeReader):
    def read(self, node: yaml.Node | None) -> Tenants:
        if node is not None:
            self._mapping(node, "tenants", KEYS)
        return Tenants()
