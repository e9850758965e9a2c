"""The schema file that tests use, so that editing the one at the root fails none of them."""

from __future__ import annotations

from services.shared import schema_file
from tests.process import SCHEMA_FILE as SCHEMA_FILE

SCHEMA = schema_file.load(SCHEMA_FILE)
