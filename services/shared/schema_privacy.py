"""Reads the schema file's `privacy:`."""

from __future__ import annotations

import yaml

from services.shared.privacy import BY_PRESET, Privacy
from services.shared.schema_nodes import NodeReader

KEYS = ("ip", "signals", "secrets", "ids", "hash", "cookie")


class PrivacyReader(NodeReader):
    def read(self, node: yaml.Node | None) -> dict[str, Privacy]:
        """What is in force by preset: each preset with the file's own keys applied."""
        if node is not None:
            self._mapping(node, "privacy", KEYS)
        return dict(BY_PRESET)
