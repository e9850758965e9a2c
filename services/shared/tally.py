"""Tallies: what collectors, loaders and `pixelpipe reconcile` counted, by the hour of receipt, all in one table.

The hour of a hit is that of its `at`, in hours since 1970: everyone who counts it has that, whenever it arrives.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

HOUR_US = 3_600_000_000

# Who counted: collectors running totals, loaders what a pack of rows brought, `pixelpipe reconcile` all dead letters.
COLLECTOR, LOADER, DEAD_LETTERS = "collector", "loader", "dead_letters"
ACKNOWLEDGED, REFUSED, DROPPED = "acknowledged", "refused", "dropped"  # what a collector did with hits
LOADED, REJECTED, INGESTED = "loaded", "rejected", "ingested"  # what became of rows; INGESTED ones no collector counts
SAMPLED_OUT = "sampled_out"  # what a table's `sample` left out
DEAD_LETTERED = "dead_lettered"

# Within what a TIMESTAMP takes.
Hour = Annotated[int, msgspec.Meta(ge=-17_259_888, le=70_389_527)]
Hits = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

Label = tuple[int, str, str]  # hour, protocol, and tenant or ""


class Count(msgspec.Struct, frozen=True, array_like=True):
    """So many hits; `protocol` is empty where nobody can tell."""

    hour: Hour
    protocol: str
    tenant: str
    outcome: str
    hits: Hits


class Tally(msgspec.Struct, frozen=True):
    """What one process counted: `id` is its own, or that of a pack, `sequence` numbers the tallies of one id.

    `final` says that a collector ended in order. Without counts it says that it is there.
    """

    id: str
    source: str
    sequence: int = 0
    final: bool = False
    counts: tuple[Count, ...] = ()
