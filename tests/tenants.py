"""The tests' schema file with tenants."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from services.shared import schema_file
from services.shared.schema import Schema
from tests.process import SCHEMA_FILE


def hashed(key: str) -> str:
    """A key as the schema file has it."""
    return f"sha256:{sha256(key.encode()).hexdigest()}"


def text(tenants: str) -> str:
    """The schema file's text with this under `tenants:`, two spaces in."""
    found = SCHEMA_FILE.read_text()
    if "[hit.tenant" not in found:
        found = found.replace("from: [param.tenant, ", "from: [hit.tenant, param.tenant, ")
    return f"tenants:\n{tenants}{found}"


def schema(tenants: str) -> Schema:
    return schema_file.parse(text(tenants))


def file(folder: Path, tenants: str) -> Path:
    path = folder / "schema.yaml"
    path.write_text(text(tenants))
    return path
