from __future__ import annotations

from tests.collector.conftest import start as start
