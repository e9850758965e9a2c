"""The lists that enrichments read, kept beside their code: YAML, with the day of their last update (`as_of`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def load(name: str) -> dict[str, Any]:
    """What the file of that name says."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / name).read_text("utf-8"))
    return found
