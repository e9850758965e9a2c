"""The reconciliation: is every acknowledged hit in BigQuery? Computed from the services' metrics alone. Pure.

    collected + copies = loaded + rejected + dead + sampled out + spooled + in flight

Everything is counted in hits; from the processor on, a hit is one row, but for those that a table's `sample` leaves
out. The rows of tables with `copy` enter at the processor, beside those of their hits. What is in flight sits in
Pub/Sub and cannot be counted, so it is what remains of the equation: it returns to 0, and whatever stays is lost.
Delivering or appending something twice only ever makes the later side larger: a remainder below 0 means duplicates (or
a replay), never loss.

A surplus in one place could hide a loss in another, so each hop is reconciled by itself, counting the duplicates that
were noticed: `spool` (collector to disk and back), `hits` (collector to processor), `rows` (processor to loader).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from services.shared.schema import REJECTS

SERVICES = ("loader", "processor", "collector")  # scraped in this order, so that no hit is seen arriving before it left
TOGETHER = 60.0  # processes that start within so many seconds count as started together


class Incomplete(Exception):
    """These metrics are not enough for a reconciliation; the text says why."""


@dataclass(frozen=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Series:
    """The series of a metric whose labels match: (label, `=~` or `!~`, values), as in Prometheus."""

    metric: str
    where: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def selector(self, scope: str = "") -> str:
        """`scope` adds matchers, such as namespace="web",release="pixelpipe"."""
        own = (f'{label}{how}"{"|".join(values)}"' for label, how, values in self.where)
        matchers = ",".join(filter(None, (scope, *own)))
        return f"{self.metric}{{{matchers}}}" if matchers else self.metric

    def matches(self, sample: Sample) -> bool:
        return sample.name == self.metric and all(
            (sample.labels.get(label) in values) == (how == "=~") for label, how, values in self.where
        )


def _collector(*outcomes: str) -> Series:
    return Series("pixelpipe_collector_hits_settled_total", (("outcome", "=~", outcomes),))


def _processor(kind: str, *outcomes: str) -> Series:
    return Series("pixelpipe_processor_hits_settled_total", (("kind", "=~", (kind,)), ("outcome", "=~", outcomes)))


def _loaded(how: str) -> Series:
    return Series("pixelpipe_loader_rows_loaded_total", (("table", how, (REJECTS,)),))


_DRAINED = Series("pixelpipe_collector_spool_drained_hits_total")
_COPIES = Series("pixelpipe_processor_copies_total")
_DEAD_ROWS = Series("pixelpipe_loader_rows_dead_total")
_KNOWN_ROWS = Series("pixelpipe_loader_rows_duplicate_total")
# Gauges: over a window, what counts is how they changed.
_IN_SPOOL = Series("pixelpipe_collector_spool_hits")
_FOUND = Series("pixelpipe_collector_spool_found_hits")
_GAUGES = (_IN_SPOOL, _FOUND)

# Load-balancer logs enter at the processor: no collector counts them.
COLLECTED = (
    _collector("published", "spooled"),
    _processor("log_entry", "published", "sampled_out", "dead"),
    _FOUND,
)
COPIES = (_COPIES,)
LOADED = (_loaded("!~"),)
REJECTED = (_loaded("=~"),)
DEAD = (_processor("pack", "dead"), _processor("log_entry", "dead"), _DEAD_ROWS)
SAMPLED_OUT = (_processor("pack", "sampled_out"), _processor("log_entry", "sampled_out"))
SPOOLED = (_IN_SPOOL,)

Sum = tuple[Series, ...]
IN_FLIGHT: tuple[Sum, Sum] = ((*COLLECTED, *COPIES), (*LOADED, *REJECTED, *DEAD, *SAMPLED_OUT, *SPOOLED))
# What went into each hop, and what came out of it.
HOPS: Mapping[str, tuple[Sum, Sum]] = {
    "spool": ((_collector("spooled"), _FOUND), (_DRAINED, _IN_SPOOL)),
    "hits": (
        (_collector("published"), _DRAINED),
        (_processor("pack", "published", "sampled_out", "duplicate", "dead"),),
    ),
    "rows": (
        (_processor("pack", "published"), _processor("log_entry", "published"), _COPIES),
        (*LOADED, *REJECTED, _DEAD_ROWS, _KNOWN_ROWS),
    ),
}


def in_flight(window: str, scope: str = "") -> str:
    """PromQL: how many more hits were collected than arrived within `window`, such as 1h; `scope` as in a selector."""
    return _difference(IN_FLIGHT, window, scope)


def hop(name: str, window: str, scope: str = "") -> str:
    """PromQL: how many more hits went into one of HOPS than came out of it within `window`."""
    return _difference(HOPS[name], window, scope)


def missing(window: str, scope: str = "") -> str:
    """PromQL for an alert: hits that went into some hop within `window` and did not come out of it.

    Never below 0: duplicates on one hop do not make up for a loss on another.
    """
    return "\n  + ".join(f"clamp_min({hop(name, window, scope)}, 0)" for name in HOPS)


def total(side: Sum, window: str, scope: str = "") -> str:
    """PromQL: one side, such as COLLECTED, within `window`."""
    return " + ".join(_promql(one, window, scope) for one in side if one != _FOUND)


def _difference(sides: tuple[Sum, Sum], window: str, scope: str) -> str:
    into, out = (total(side, window, scope) for side in sides)
    return f"({into}) - ({out})"


def _promql(series: Series, window: str, scope: str) -> str:
    selector = series.selector(scope)
    if series in _GAUGES:
        return f"((sum({selector}) or vector(0)) - (sum({selector} offset {window}) or vector(0)))"
    return f"(sum(increase({selector}[{window}])) or vector(0))"


@dataclass(frozen=True)
class Reconciliation:
    """Where the hits are that were counted since these processes started.

    `collected` includes what an earlier process had left in the spool, `loaded` the `copies`. `hops` says for each of
    HOPS what remains in it: above 0 in flight or lost, below 0 duplicated. `duplicates` were noticed and dropped by
    these services. `notes` say why the numbers may not belong together.
    """

    collected: int
    copies: int
    loaded: int
    rejected: int
    dead: int
    sampled_out: int
    spooled: int
    in_flight: int
    hops: dict[str, int]
    duplicates: dict[str, int]
    started: dict[str, list[str]]
    notes: list[str]

    @property
    def missing(self) -> int:
        return sum(max(0, left) for left in self.hops.values())

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "missing": self.missing}


def reconcile(scrapes: Mapping[str, str]) -> Reconciliation:
    """Reconcile running processes, given what each answers at /metrics by its name or URL. Raises Incomplete."""
    return reconcile_samples({where: samples(where, text) for where, text in scrapes.items()})


def reconcile_samples(processes: Mapping[str, Sequence[Sample]]) -> Reconciliation:
    """The same of what is parsed already."""
    everything = [sample for process in processes.values() for sample in process]
    started: dict[str, list[float | None]] = {name: [] for name in SERVICES}
    for where, process in processes.items():
        started.setdefault(_service(where, process), []).append(_start(process))
    if absent := [name for name in SERVICES if not started[name]]:
        raise Incomplete(
            f"there are no metrics of {' and '.join(absent)}; a reconciliation needs all of {', '.join(SERVICES)}"
        )

    def count(side: Sum) -> int:
        return round(sum(sample.value for one in side for sample in everything if one.matches(sample)))

    def remainder(sides: tuple[Sum, Sum]) -> int:
        return count(sides[0]) - count(sides[1])

    return Reconciliation(
        collected=count(COLLECTED),
        copies=count(COPIES),
        loaded=count(LOADED),
        rejected=count(REJECTED),
        dead=count(DEAD),
        sampled_out=count(SAMPLED_OUT),
        spooled=count(SPOOLED),
        in_flight=remainder(IN_FLIGHT),
        hops={name: remainder(sides) for name, sides in HOPS.items()},
        duplicates={
            "processor": count((_processor("pack", "duplicate"), _processor("log_entry", "duplicate"))),
            "loader": count((_KNOWN_ROWS,)),
        },
        started={name: [_utc(at) for at in times if at is not None] for name, times in started.items()},
        notes=_notes(started),
    )


def samples(where: str, text: str) -> list[Sample]:
    """What a process answers at /metrics. Raises Incomplete, naming it, for anything else."""
    try:
        return [
            Sample(sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]
    except (ValueError, IndexError) as error:
        raise Incomplete(f"{where} answers {text[:80]!r} instead of metrics; is it an admin port?") from error


def _service(where: str, samples: Sequence[Sample]) -> str:
    for sample in samples:
        if sample.name == "pixelpipe_build_info":
            return sample.labels.get("service", "")
    raise Incomplete(f"{where} has no metric pixelpipe_build_info: it is not a pixelpipe service, or is still starting")


def _start(samples: Sequence[Sample]) -> float | None:
    return next((sample.value for sample in samples if sample.name == "process_start_time_seconds"), None)


def _notes(started: Mapping[str, Sequence[float | None]]) -> list[str]:
    """Each process counts from 0, so a restarted one has lost the counts of the one before."""
    known = [(at, name) for name, times in started.items() for at in times if at is not None]
    notes = [f"{name} does not say when it started" for name, times in started.items() if None in times]
    first = min((at for at, _ in known), default=0.0)
    for at, name in sorted(known):
        if at - first > TOGETHER:
            notes.append(
                f"{name} has counted only since {_utc(at)}, {at - first:.0f} s after the first process: if it replaced "
                "another, what that one counted is missing here"
            )
    return notes


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
