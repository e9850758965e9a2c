"""The documents with generated parts, and what should stand in them today."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.chart import write
from tests.chart.release import CHART
from tests.docs import (
    alerts,
    analyst_views,
    costs,
    json_schema,
    logs,
    protocols,
    retention,
    schema_file,
    tables,
    tag,
    tenants,
)
from tests.docs.markers import put
from tests.process import ROOT

SERVICES = ROOT / "services"
LOGS = SERVICES / "LOGS.md"


def documents() -> Iterator[tuple[Path, str]]:
    """Each document and its text as the code has it; everything outside the markers stays as it is."""
    for service in tables.SERVICES:
        path = SERVICES / service / "README.md"
        text = put(path.read_text(), "settings", tables.settings(service))
        if service in tables.METERED:
            text = put(text, "metrics", tables.metrics(service))
        yield path, text
    yield ROOT / json_schema.PATH, json_schema.text()
    yield LOGS, put(LOGS.read_text(), "log lines", logs.render(LOGS.read_text()))
    others = {
        "docs/schema.md": schema_file.parts(),
        "docs/cost.md": costs.parts(),
        "docs/privacy.md": retention.parts(),
        "README.md": {"script": tag.script()},
        "docs/tracker.md": {"tag": tag.tag()},
        protocols.DOCUMENT: protocols.parts(),
        tenants.DOCUMENT: tenants.parts(),
        analyst_views.DOCUMENT: analyst_views.parts(),
        "docs/operating.md": {"alerts": alerts.alerts()},
        "local/README.md": {"ports": tables.ports()},
        "tests/observability/README.md": {"proofs": alerts.proofs()},
    }
    for name, parts in others.items():
        text = (ROOT / name).read_text()
        for part, body in parts.items():
            text = put(text, part, body)
        yield ROOT / name, text
    yield from (made for made in write.chart() if made[0] == CHART / "README.md")
