"""What a reconciliation found, as one report that is printed, sent and scraped. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from services.ops.dead_letter import printable
from services.ops.dead_tally import DeadTally

COUNTS = (
    "acknowledged", "loaded", "rejected", "sampled_out", "dead_lettered", "dropped", "refused", "ingested", "in_flight",
    "difference", "unfinished_collectors",
)  # fmt: skip
OUTCOMES = COUNTS[:-2]  # what became of hits
_ALWAYS_SHOWN = ("acknowledged", "loaded", "rejected", "difference")


@dataclass(frozen=True)
class Group:
    """A row of the view: an hour and a protocol, None where nobody can tell that of dead letters."""

    hour: datetime
    protocol: str | None
    counts: Mapping[str, int]

    @property
    def difference(self) -> int:
        return self.counts["difference"]

    def shown(self) -> dict[str, Any]:
        return {"hour": _moment(self.hour), "protocol": self.protocol, **self.counts}


@dataclass(frozen=True)
class Told:
    """When a collector last told its counts; `stale` if that is too long ago, and it was not the end of all."""

    at: datetime
    stale: bool


def missing(groups: Sequence[Group]) -> dict[datetime, int]:
    """How many hits are missing, by hour, where any are.

    A surplus of one protocol does not make up for what another lacks, but dead letters that cannot be read may be of
    any.
    """
    found = {}
    for hour, own in _by_hour(groups):
        unknown = sum(-one.difference for one in own if one.protocol is None)
        lacking = sum(max(0, one.difference) for one in own if one.protocol is not None)
        if lacking > unknown:
            found[hour] = lacking - unknown
    return found


def surplus(groups: Sequence[Group]) -> int:
    """How many hits arrived that nobody told of: as many missing ones would not show."""
    found = 0
    for _, own in _by_hour(groups):
        unknown = sum(-one.difference for one in own if one.protocol is None)
        known = [one.difference for one in own if one.protocol is not None]
        found += sum(max(0, -one) for one in known) + max(0, unknown - sum(max(0, one) for one in known))
    return found


def report(
    dataset: str,
    groups: Sequence[Group],
    since: datetime,
    told: Told | None,
    lost: Mapping[datetime, int],
    collectors: Mapping[datetime, Sequence[str]],
    dead: DeadTally | None,
    dead_before: int = 0,
) -> dict[str, Any]:
    """The report as JSON has it. `lost` is what `missing` says, `collectors` who acknowledged hits in those hours.

    `dead_before` is how many dead hits the count before this one had.
    """
    sums = {name: sum(one.counts[name] for one in groups) for name in (*OUTCOMES, "difference")}
    # What arrived before its tally is no less in flight for what waits elsewhere.
    sums["in_flight"] = sum(max(0, one.counts["in_flight"]) for one in groups)
    sums["untold"] = sum(max(0, -one.counts["in_flight"]) for one in groups)
    sums["surplus"] = surplus(groups)
    # The view says it of an hour, beside each of its protocols.
    unfinished = sum(max(one.counts["unfinished_collectors"] for one in own) for _, own in _by_hour(groups))
    count, from_ = sum(lost.values()), _moment(since)
    verdict = _verdict(count, told, certain=not sums["surplus"] and not unfinished)
    parts = [f"{sums[name]} {name.replace('_', '-')}" for name in COUNTS[:4]] + [f"{sums['in_flight']} in flight"]
    if sums["untold"]:
        parts.append(f"{sums['untold']} arrived ahead of their tally")
    if sums["surplus"]:
        parts.append(f"{sums['surplus']} more arrived than were acknowledged")
    if unfinished:
        parts.append(f"{unfinished} collector{'s' * (unfinished > 1)} ended without their last tally")
    letters = {"hits": dead.hits, "hits_before": dead_before, "first_event_ids": dead.ids} if dead else None
    return {
        "dataset": dataset,
        "since": from_,
        "as_of": None if told is None else _moment(told.at),
        "stale": told is None or told.stale,
        "subject": f"pixelpipe: {verdict} ({dataset} since {from_})",
        "text": f"pixelpipe since {from_}: {verdict} ({', '.join(parts)})",
        "missing": count,
        "sums": sums,
        "unfinished_collectors": unfinished,
        "missing_by_hour": [
            {"hour": _moment(hour), "hits": hits, "collectors": list(collectors.get(hour, []))}
            for hour, hits in lost.items()
        ],
        "hours": [one.shown() for one in groups],
        "dead_letters": letters,
    }


def _verdict(count: int, told: Told | None, *, certain: bool) -> str:
    if count:
        return "1 hit is missing" if count == 1 else f"{count} hits are missing"
    if told is None:
        return "no collector has told its counts"
    if told.stale:
        return f"no collector has told its counts since {told.at:%Y-%m-%d %H:%M}, and what happened since is not known"
    return f"nothing is {'' if certain else 'known to be '}missing as of {told.at:%Y-%m-%d %H:%M}"


def text(found: Mapping[str, Any]) -> str:
    """The report as a table, what is missing, and the verdict as the last line."""
    # A terminal has 80 columns: what is 0 in every line is left out.
    names = [name for name in COUNTS if name in _ALWAYS_SHOWN or any(one[name] for one in found["hours"])]
    lines = [["hour", "protocol", *(name.replace("_", " ") for name in names)]]
    for one in found["hours"]:
        hour = one["hour"][:16].replace("T", " ")
        lines.append([hour, printable(one["protocol"] or "unknown"), *(str(one[name]) for name in names)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    for one in found["missing_by_hour"]:
        collectors = printable(", ".join(one["collectors"]) or "unknown")
        shown.append(f"{one['hour']}: {one['hits']} missing, of collectors {collectors}")
    if dead := found["dead_letters"]:
        if found["missing"] and dead["hits"] < dead["hits_before"]:
            shown.append(
                f"dead letters hold {dead['hits_before'] - dead['hits']} hits fewer than when they were last counted: "
                "unless they were dropped, somebody has just looked at them; run it again in ten minutes"
            )
        if dead["hits"]:
            shown.append(f"dead letters, see `pixelpipe dead list`: {', '.join(dead['first_event_ids']) or 'no ids'}")
    return "\n".join([*shown, found["text"]])


def _by_hour(groups: Sequence[Group]) -> list[tuple[datetime, list[Group]]]:
    ordered = sorted(groups, key=lambda one: one.hour)
    return [(hour, list(own)) for hour, own in groupby(ordered, lambda one: one.hour)]


def _moment(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
