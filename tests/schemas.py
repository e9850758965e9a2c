"""The schema file that tests use, so that editing the one at the root fails none of them."""

from __future__ import annotations

from pathlib import Path

from services.shared import schema_file

SCHEMA_FILE = Path(__file__).with_name("schema.yaml")
SCHEMA = schema_file.load(SCHEMA_FILE)
