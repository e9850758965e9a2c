"""The ledger: are all hits that were acknowledged in BigQuery? Told from the services' metrics alone. Pure.

    collected = loaded + rejected + dead + spooled + in flight

All in hits; a hit is one row from the processor on. What is in flight cannot be counted: Pub/Sub holds it. So it is
what is left over, and time tells: it goes back to 0, and what stays is lost. Whatever is delivered or appended twice
makes the later side larger, never smaller: a rest below 0 means duplicates (or a replay), never loss.

A surplus in one place could hide a loss in another, so the same is told for each stretch of the way, duplicates that
were noticed included: `spool` (collector to disk and back), `hits` (collector to processor), `rows` (processor to
loader).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from services.shared.schema import REJECTS

SERVICES = ("loader", "processor", "collector")  # read in this order, so that no hit is seen arriving before it left
TOGETHER = 60.0  # seconds within which processes have started together


class Incomplete(Exception):
    """These metrics do not make a ledger; the text says why."""


@dataclass(frozen=True)
class Sample:
    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Series:
    """Those series of a metric whose labels match: (label, `=~` or `!~`, values), as Prometheus reads it."""

    metric: str
    where: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    def selector(self, within: str = "") -> str:
        """`within` are more matchers, such as namespace="web",release="pixelpipe"."""
        own = (f'{label}{how}"{"|".join(values)}"' for label, how, values in self.where)
        matchers = ",".join(filter(None, (within, *own)))
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
_DEAD_ROWS = Series("pixelpipe_loader_rows_dead_total")
_KNOWN_ROWS = Series("pixelpipe_loader_rows_duplicate_total")
# Gauges, so a stretch of time sees how they changed.
_IN_SPOOL = Series("pixelpipe_collector_spool_hits")
_FOUND = Series("pixelpipe_collector_spool_found_hits")
_GAUGES = (_IN_SPOOL, _FOUND)

# Load-balancer logs come in at the processor: nobody collected them, and Pub/Sub had them before.
COLLECTED = (_collector("published", "spooled"), _processor("log_entry", "published", "dead"), _FOUND)
LOADED = (_loaded("!~"),)
REJECTED = (_loaded("=~"),)
DEAD = (_processor("pack", "dead"), _processor("log_entry", "dead"), _DEAD_ROWS)
SPOOLED = (_IN_SPOOL,)

Sum = tuple[Series, ...]
IN_FLIGHT: tuple[Sum, Sum] = (COLLECTED, (*LOADED, *REJECTED, *DEAD, *SPOOLED))
# What went into a stretch of the way, and what came out of it.
STRETCHES: Mapping[str, tuple[Sum, Sum]] = {
    "spool": ((_collector("spooled"), _FOUND), (_DRAINED, _IN_SPOOL)),
    "hits": ((_collector("published"), _DRAINED), (_processor("pack", "published", "duplicate", "dead"),)),
    "rows": (
        (_processor("pack", "published"), _processor("log_entry", "published")),
        (*LOADED, *REJECTED, _DEAD_ROWS, _KNOWN_ROWS),
    ),
}


def in_flight(window: str, within: str = "") -> str:
    """PromQL: by how much more was collected than arrived within `window`, such as 1h; `within` as of a selector."""
    return _difference(IN_FLIGHT, window, within)


def stretch(name: str, window: str, within: str = "") -> str:
    """PromQL: by how much more went into one of STRETCHES than came out of it within `window`."""
    return _difference(STRETCHES[name], window, within)


def missing(window: str, within: str = "") -> str:
    """PromQL for an alert: hits that some stretch of the way took in within `window` and did not give back.

    Never below 0: what came twice on one stretch makes up for nothing on another.
    """
    return "\n  + ".join(f"clamp_min({stretch(name, window, within)}, 0)" for name in STRETCHES)


def total(side: Sum, window: str, within: str = "") -> str:
    """PromQL: one side, such as COLLECTED, within `window`."""
    return " + ".join(_promql(one, window, within) for one in side if one != _FOUND)


def _difference(sides: tuple[Sum, Sum], window: str, within: str) -> str:
    came, went = (total(side, window, within) for side in sides)
    return f"({came}) - ({went})"


def _promql(series: Series, window: str, within: str) -> str:
    selector = series.selector(within)
    if series in _GAUGES:
        return f"((sum({selector}) or vector(0)) - (sum({selector} offset {window}) or vector(0)))"
    return f"(sum(increase({selector}[{window}])) or vector(0))"


@dataclass(frozen=True)
class Row:
    """One line of the ledger: hits since these processes have started.

    `collected` includes what an earlier process had left in the spool. `stretches` says for each of STRETCHES what it
    holds: above 0 on its way or lost, below 0 come twice. `duplicates` were noticed, and dropped by these services.
    `notes` say why the numbers may not belong together.
    """

    collected: int
    loaded: int
    rejected: int
    dead: int
    spooled: int
    in_flight: int
    stretches: dict[str, int]
    duplicates: dict[str, int]
    started: dict[str, list[str]]
    notes: list[str]

    @property
    def missing(self) -> int:
        return sum(max(0, left) for left in self.stretches.values())

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "missing": self.missing}


def row(scrapes: Mapping[str, str]) -> Row:
    """The ledger of running processes, given what each answers at /metrics, by its name or URL. Raises Incomplete."""
    processes = {where: _samples(where, text) for where, text in scrapes.items()}
    samples = [sample for process in processes.values() for sample in process]
    started: dict[str, list[float | None]] = {name: [] for name in SERVICES}
    for where, process in processes.items():
        started.setdefault(_service(where, process), []).append(_start(process))
    if absent := [name for name in SERVICES if not started[name]]:
        raise Incomplete(f"there are no metrics of {' and '.join(absent)}; a ledger needs all of {', '.join(SERVICES)}")

    def count(side: Sum) -> int:
        return round(sum(sample.value for one in side for sample in samples if one.matches(sample)))

    def rest(sides: tuple[Sum, Sum]) -> int:
        return count(sides[0]) - count(sides[1])

    return Row(
        collected=count(COLLECTED),
        loaded=count(LOADED),
        rejected=count(REJECTED),
        dead=count(DEAD),
        spooled=count(SPOOLED),
        in_flight=rest(IN_FLIGHT),
        stretches={name: rest(sides) for name, sides in STRETCHES.items()},
        duplicates={
            "processor": count((_processor("pack", "duplicate"), _processor("log_entry", "duplicate"))),
            "loader": count((_KNOWN_ROWS,)),
        },
        started={name: [_utc(at) for at in times if at is not None] for name, times in started.items()},
        notes=_notes(started),
    )


def _samples(where: str, text: str) -> list[Sample]:
    try:
        return [
            Sample(sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]
    except (ValueError, IndexError) as error:
        raise Incomplete(f"{where} answers no metrics but {text[:80]!r}; is it an admin port?") from error


def _service(where: str, samples: Sequence[Sample]) -> str:
    for sample in samples:
        if sample.name == "pixelpipe_build_info":
            return sample.labels.get("service", "")
    raise Incomplete(f"{where} has no metric pixelpipe_build_info: it is no service of pixelpipe, or is just starting")


def _start(samples: Sequence[Sample]) -> float | None:
    return next((sample.value for sample in samples if sample.name == "process_start_time_seconds"), None)


def _notes(started: Mapping[str, Sequence[float | None]]) -> list[str]:
    """Each process counts from 0, so one that was started again has forgotten what was counted before it."""
    known = [(at, name) for name, times in started.items() for at in times if at is not None]
    notes = [f"{name} does not say since when it counts" for name, times in started.items() if None in times]
    first = min((at for at, _ in known), default=0.0)
    for at, name in sorted(known):
        if at - first > TOGETHER:
            notes.append(
                f"{name} counts only since {_utc(at)}, {at - first:.0f} s after the first process: if it took the "
                "place of another, what that one counted is not here"
            )
    return notes


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
