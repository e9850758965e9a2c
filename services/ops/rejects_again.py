"""Which rejects would be rows by another schema file: each is parsed again, and nothing is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from services.loader import reject_rows
from services.ops import reconstruct
from services.ops.reconstruct import NotReplayable
from services.ops.rejects import Reject
from services.processor.parse import Parser
from services.processor.parse import Reject as Refusal
from services.shared import hit
from services.shared.schema import Schema

# Beside a reason of the processor, what the other rejects become.
PASSES, OF_LOADER, LOST = "passes", "of_loader", "not_replayable"


@dataclass
class Again:
    """`became` counts by the reason before and what becomes of them now; `tables` which tables take those that pass."""

    became: Counter[tuple[str, str]] = field(default_factory=Counter)
    tables: Counter[str] = field(default_factory=Counter)

    @property
    def report(self) -> dict[str, Any]:
        before: Counter[str] = Counter()
        after: Counter[str] = Counter()
        for (reason, now), count in self.became.items():
            before[reason] += count
            after[now] += count
        rows = [
            {"reason": reason, "now": now, "rejects": count}
            for (reason, now), count in sorted(self.became.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
        ]
        return {
            "rejects": before.total(),
            "pass": after.pop(PASSES, 0),
            "of_loader": after.pop(OF_LOADER, 0),
            "not_replayable": after.pop(LOST, 0),
            "before": dict(before.most_common()),
            "after": dict(after.most_common()),
            "tables": dict(self.tables.most_common()),
            "by_reason": rows,
        }


class Judge:
    """Parses rejects again by a schema file; `now` is in microseconds since 1970."""

    def __init__(self, schema: Schema, parser: Parser, now: int) -> None:
        self._schema, self._parser, self._now = schema, parser, now
        self.again = Again()

    def page(self, rejects: list[Reject]) -> None:
        for reject in rejects:
            self.again.became[reject.reason, self._becomes(reject)] += 1

    def _becomes(self, reject: Reject) -> str:
        try:
            if reject.stage == reject_rows.STAGE:
                # Whether BigQuery takes the row now, only BigQuery knows.
                reconstruct.row_of(reject, self._schema)
                return OF_LOADER
            line = reconstruct.hit_of(reject)
        except NotReplayable:
            return LOST
        (one,) = hit.unpack(*hit.pack([line], "check"))
        outcome = self._parser.parse(one, self._now)
        if isinstance(outcome, Refusal):
            return outcome.reason
        self.again.tables[outcome.table] += 1
        return PASSES
