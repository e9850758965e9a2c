"""What the privacy policy makes of a request before anything is published: which signal it has, and what goes.

The order is fixed: signal, tenant, limit, then the guard. A tenant is known by values that the guard may remove.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from services.collector.json_items import Item
from services.collector.metrics import Metrics
from services.collector.signals import Signals
from services.shared.guard import Guard, HashKeys
from services.shared.hit import Hit
from services.shared.privacy import ANONYMIZE, DROP, RECORD, SIGNALS, Privacy

_RANK = {name: rank for rank, name in enumerate((*SIGNALS, ""))}


class Treatment(NamedTuple):
    """What becomes of one hit: `signal` is how its sender opted out, or ""; `action` is the policy for that."""

    signal: str = ""
    action: str = RECORD

    @property
    def anonymize(self) -> bool:
        return self.action == ANONYMIZE

    @property
    def drop(self) -> bool:
        return self.action == DROP


UNTREATED = Treatment()


def first(*signals: str) -> str:
    """Of several signals the one that names the hit; "" for none."""
    return min(signals, key=_RANK.__getitem__, default="")


class Protection:
    """The policy in force, applied to requests. Counts what it finds and removes."""

    def __init__(self, policy: Privacy, keys: HashKeys | None, metrics: Metrics) -> None:
        self._actions = {"": RECORD, **policy.signals}
        self._signals = Signals(policy)
        self._opt_outs = metrics.opt_outs.by_labels
        self._removed = metrics.values_removed.by_labels
        self._guard = Guard(policy, keys, self._count_removed)

    def passes(self, query: bytes) -> bool:
        """Whether a query string of a request without a signal certainly has none itself, and nothing that goes."""
        return self._signals.passes(query) and self._guard.passes(query)

    def signal(self, headers: Mapping[str, str], query: str) -> str:
        """The signal of a whole request; its items may have their own."""
        return first(self._signals.of_headers(headers), self._signals.of_params(query))

    def signal_of(self, item: Item) -> str:
        """The signal of one item of a body, or of what surrounds the items."""
        return self._signals.of_item(item)

    def signal_of_header(self, name: str, value: str) -> str:
        return self._signals.of_headers({name: value})

    def signal_of_query(self, query: str) -> str:
        return self._signals.of_params(query)

    def treatment(self, signal: str) -> Treatment:
        """What becomes of one hit, which is counted if its sender opted out."""
        action = self._actions[signal]
        if signal:
            self._opt_outs[signal, action] += 1
        return Treatment(signal, action)

    def clean(self, hit: Hit, treatment: Treatment) -> Hit:
        """The hit without what must not be stored, but for `body` and `text`, which are items."""
        anonymize = treatment.anonymize
        guard = self._guard
        return msgspec.structs.replace(
            hit,
            query=guard.query(hit.query, anonymize),
            headers=guard.headers(hit.headers, anonymize),
            ip=guard.ip(hit.ip, anonymize),
            envelope=msgspec.Raw(guard.json(bytes(hit.envelope), anonymize)) if hit.envelope else hit.envelope,
            opt_out=treatment.signal,
            anonymized=anonymize,
        )

    def clean_header(self, name: str, value: str, *, anonymize: bool) -> str | None:
        """The value of one header as it is kept; None if it is not."""
        return self._guard.headers({name: value}, anonymize).get(name)

    def clean_query(self, query: str, *, anonymize: bool) -> str:
        return self._guard.query(query, anonymize)

    def clean_ip(self, ip: str, *, anonymize: bool) -> str:
        return self._guard.ip(ip, anonymize)

    def clean_items(self, like: Hit, items: Sequence[Item], signal: str) -> tuple[list[Hit | None], list[Item]]:
        """The hits that the items of a body are like, and the items; None for those that are dropped.

        `signal` is that of the whole request. An item may have its own, which counts for it alone.
        """
        likes: list[Hit | None] = []
        cleaned: list[Item] = []
        by_treatment: dict[Treatment, Hit] = {}
        for item in items:
            treatment = self.treatment(first(signal, self.signal_of(item)))
            if treatment.drop:
                likes.append(None)
                cleaned.append(b"")
                continue
            if (kept := by_treatment.get(treatment)) is None:
                kept = by_treatment[treatment] = self.clean(like, treatment)
            likes.append(kept)
            cleaned.append(self._clean_item(item, treatment))
        return likes, cleaned

    def _clean_item(self, item: Item, treatment: Treatment) -> Item:
        if isinstance(item, bytes):
            return self._guard.json(item, treatment.anonymize)
        return self._guard.text(item, treatment.anonymize)

    def _count_removed(self, name: str) -> None:
        self._removed[name,] += 1
