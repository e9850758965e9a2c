"""What must hold after a run, whatever its seed has done to the services. Each check yields a sentence a violation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import generate_latest

from services.collector import pack_file
from services.shared import reconciliation, rows, zstd_frame
from services.shared.errors import Poison
from tests.simulation.clients import Clients
from tests.simulation.events import KINDS, events_of
from tests.simulation.fleet import Fleet
from tests.simulation.pubsub import Message
from tests.simulation.world import value

_SHOWN = 5  # events that a sentence names


def well(fleet: Fleet) -> Iterator[str]:
    """Soon after everything works again, each collector is as if nothing had been."""
    if not fleet.collectors:
        yield "no collector accepts requests"
    for collector in fleet.collectors:
        name, metrics = collector.process.name, collector.metrics
        if state := value(metrics.breaker):
            yield f"{name}: the breaker is not closed but {state:.0f}"
        if unsafe := collector.outbox.unsafe:
            yield f"{name}: not ready: {unsafe}"
        if pending := value(metrics.pending_bytes):
            yield f"{name}: {pending:.0f} bytes are still pending"


def alive(fleet: Fleet) -> Iterator[str]:
    """No probe of liveness fails."""
    for process in fleet.running.values():
        if process.alive and process.background is not None and (stuck := process.background.stuck):
            yield f"{process.name}: not alive: {stuck}"


def drained(fleet: Fleet) -> Iterator[str]:
    """The spools are empty, but for what a crash has cut off before it was acknowledged."""
    for collector in fleet.collectors:
        name, shown = collector.process.name, value(collector.metrics.spool_bytes)
        if packs := value(collector.metrics.spool_packs):
            yield f"{name}: {packs:.0f} packs are still in the spool"
        if shown != (held := sum(pack_file.bytes_on_disk(len(data)) for data in collector.folder.files.values())):
            yield f"{name}: the spool counts {shown:.0f} bytes, its disk holds {held}"
    for slot, folder in fleet.folders.items():
        if left := [name for name in folder.files if not name.endswith(pack_file.DAMAGED)]:
            yield f"{slot}: the spool is not empty: {_some(left)}"
        if whole := [name for name, data in folder.files.items() if name not in left and _is_whole(data)]:
            yield f"{slot}: set aside as damaged, but whole: {_some(whole)}"


def settled(fleet: Fleet, clients: Clients) -> Iterator[str]:
    """In the end nothing is on its way, and every event is where it belongs, once."""
    for subscription in (fleet.broker.hits, fleet.broker.rows):
        if subscription.waiting:
            yield f"the subscription {subscription.name} still holds {len(subscription.waiting)} messages"
    if unacknowledged := [event.id for event in clients.events if not event.acknowledged]:
        yield f"never acknowledged: {_some(unacknowledged)}"
    shown = Counter((table, row.event_id) for table in set(KINDS.values()) for row in fleet.bigquery.view(table))
    dead = {identity for message in fleet.broker.dead for identity in _events(message)}
    lost = [
        f"{event.id} (acknowledged {event.acknowledged})"
        for event in clients.events
        if event.acknowledged and event.id not in dead and not shown[KINDS[event.kind], event.id]
    ]
    if lost:
        yield f"acknowledged and lost: {_some(lost)}"
    wanted = {(KINDS[event.kind], event.id) for event in clients.events}
    if more := [f"{identity} in {table}" for (table, identity), times in shown.items() if times > 1]:
        yield f"more than once in a view: {_some(more)}"
    if strange := [f"{identity} in {table}" for table, identity in shown if (table, identity) not in wanted]:
        yield f"in a view where they do not belong: {_some(strange)}"
    buried = [message for message in fleet.broker.dead if "dead_reason" in message.attributes]
    if needless := [message for message in buried if zstd_frame.decompress(message.data) not in clients.broken]:
        yield f"{len(needless)} dead letters hold more than what is broken: {needless[0].attributes['dead_reason']}"
    if missing := clients.broken - {zstd_frame.decompress(message.data) for message in buried}:
        yield f"broken and in no dead letter: {_some([line.decode() for line in missing])}"


def reconciled(fleet: Fleet) -> Iterator[str]:
    """Where no process has ended, and its counts with it, the metrics account for every hit."""
    if len(fleet.all) == len(fleet.running):
        found = reconciliation.reconcile(
            {process.name: generate_latest(process.registry).decode() for process in fleet.all}
        )
        if found.missing:
            yield f"the metrics miss {found.missing} hits: {found.hops}"


def left_running(fleet: Fleet) -> Iterator[str]:
    """A process that has ended runs no task any more."""
    for process in fleet.all:
        if not process.alive and (left := process.left_running):
            yield f"{process.name} has ended, but not {_some(left)}"


def _events(message: Message) -> list[str]:
    """The ids of the events in a dead letter."""
    if message.attributes["schema"] == rows.SCHEMA:
        return list(rows.unpack(message.data, message.attributes).column("event_id").to_pylist())
    return events_of(message.data)


def _is_whole(pack: bytes) -> bool:
    try:
        return bool(events_of(pack))
    except Poison:
        return False


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{len(items)}: {', '.join(items[:_SHOWN])}{more}"
