"""A report's numbers at /metrics, for as long as a Prometheus needs to see them: a Job ends too soon otherwise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from services.ops.deployment import CommandRefused
from services.ops.reconcile_report import OUTCOMES
from services.shared import fault


def registry(report: Mapping[str, Any]) -> CollectorRegistry:
    """The numbers of a report that was made just now. No label takes a value that a stranger sends."""
    found = CollectorRegistry()
    hits = Gauge(
        "pixelpipe_reconciliation_hits",
        "Hits since the report's first hour, by what became of them",
        ("outcome",),
        registry=found,
    )
    for name in OUTCOMES:
        hits.labels(name).set(report["sums"][name])
    for name, text, value in (
        ("missing_hits", "Hits that were acknowledged and never arrived", report["missing"]),
        (
            "unfinished_collectors",
            "Collectors that ended without their last tally; around a full hour one counts twice",
            report["unfinished_collectors"],
        ),
        ("timestamp_seconds", "When the report was made, in Unix time", time.time()),
    ):
        Gauge(f"pixelpipe_reconciliation_{name}", text, registry=found).set(value)
    return found


async def serve(found: CollectorRegistry, address: tuple[str, int], seconds: float) -> None:
    """Answer on this host and port for so long. Raises CommandRefused where nobody may listen there."""
    host, port = address
    try:
        server, thread = start_http_server(port, host, found)
    except OSError as error:
        why = error.strerror or fault.words(error)
        raise CommandRefused(f"--metrics {host}:{port}: nobody can listen there: {why}; use another") from None
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
