"""Whose a request's hits are, and what becomes of those over a tenant's rate."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from services.collector import tenant_keys
from services.collector.cut import Cut
from services.collector.metrics import Metrics
from services.collector.rate_limit import RateLimits
from services.collector.refusals import TOO_MANY, UNAUTHORIZED, PostRefused
from services.collector.routes import Route
from services.collector.tenant_keys import Keys
from services.shared.hit import Hit
from services.shared.signals import CONSENT
from services.shared.tenants import DROP, KEY_PARAMETER, REFUSE, Resolver, Tenants, in_query

ADMITTED, LIMITED, DROPPED, REFUSED = "admitted", "limited", "dropped", "refused"  # outcomes of hits, as counted
_POST = "POST"


class Fate(NamedTuple):
    """Of a hit: its tenant, "" for none, whether it is over that tenant's rate, or even dropped for it.

    `denied`: the tenant has its events taken as opted out.
    """

    tenant: str = ""
    limited: bool = False
    drop: bool = False
    denied: bool = False

    @property
    def members(self) -> bytes:
        """What a line says of it, after its other members."""
        tenant = b',"tenant":"%b"' % self.tenant.encode() if self.tenant else b""
        return tenant + b',"limited":true' if self.limited else tenant

    @property
    def signal(self) -> str:
        """The opt-out signal that its tenant is for it, or ""."""
        return CONSENT if self.denied else ""


NOBODYS = Fate()


class Tenancy:
    """Says whose hits are, counts them, and limits them; one for each process. Without tenants it is not `on`.

    `headers` have a `getall`, and are those of the request as it was sent.
    """

    def __init__(self, tenants: Tenants, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._tenants, self.on = tenants, bool(tenants)
        self._resolver = Resolver(tenants)
        self._limits = RateLimits(tenants, clock)
        self._hits, self._unknown = metrics.tenant_hits.by_labels, metrics.unknown_tenant_hits.by_labels
        if self.on:  # from 0, or the first hit of nobody would be in no rate
            self._unknown.update(dict.fromkeys(((ADMITTED,), (REFUSED,)), 0))
        marks = (KEY_PARAMETER, tenants.parameter) if tenants.parameter else (KEY_PARAMETER,)
        self._marks = [f"{mark}=".encode() for mark in marks]

    def of_line(self, lines: Sequence[bytes], path: bytes, query: bytes) -> Fate:
        """The fate of a plain pixel that has none of HEADERS; `lines` are its header lines."""
        found, said = Keys([], []), ""
        if any(mark in query for mark in self._marks):
            text = query.decode()
            found, said = Keys(in_query(text, KEY_PARAMETER), []), self._resolver.said(text)
        host = next((line[5:].strip(b" \t") for line in lines if line[:5].lower() == b"host:"), b"")
        return self._admit(self._resolve(found, host.decode("latin-1"), path.decode(), said), 1)

    def of_request(self, headers: Any, path: str, query: str, route: Route) -> Fate:
        """The fate of a request that is one hit by itself: a pixel or a redirect."""
        if not self.on:
            return NOBODYS
        found = tenant_keys.of_request(route.protocol, headers, query)
        return self._admit(self._resolve(found, _host(headers), path, self._resolver.said(query)), 1)

    def of_items(self, headers: Any, method: str, path: str, query: str, found: Cut) -> list[Fate]:
        """The fate of each item; without tenants no list of them.

        Raises PostRefused for a post that is over the limit, or of no tenant where the schema file refuses those.
        """
        if not self.on:
            return []
        names = self._names(headers, path, query, found)
        counts = Counter(names)
        if method == _POST:
            if self._tenants.unknown == REFUSE and set(counts) == {""}:
                self._unknown[REFUSED,] += len(names)
                raise PostRefused(UNAUTHORIZED, found)
            self._take_all(counts, found)
            fates = {name: self._admitted(name, count) for name, count in counts.items()}
        else:
            fates = {name: self._admit(name, count) for name, count in counts.items()}
        return [fates[name] for name in names]

    def _resolve(self, found: Keys, host: str, path: str, said: str) -> str:
        return self._resolver.resolve(found.keys, host, path, said, ids=found.ids)

    def _names(self, headers: Any, path: str, query: str, found: Cut) -> list[str]:
        """The tenant of each item. A key of the request decides; if it has none that is known, each item's own does."""
        protocol, host, said = found.route.protocol, _host(headers), self._resolver.said(query)
        of_all = tenant_keys.of_request(protocol, headers, query, found)
        # What a hook's body holds is another service's own.
        if protocol == "hook" or any(map(self._resolver.owner, (*of_all.keys, *of_all.ids))):
            return [self._resolve(of_all, host, path, said)] * len(found.items)
        wrong = of_all.keys[:1]
        known: dict[tuple[tuple[str, ...], tuple[str, ...], str], str] = {}
        names = []
        for item in found.items:
            keys, ids, own = tenant_keys.of_item(protocol, item, self._resolver.parameter)
            one = (tuple(keys), tuple(ids), own)
            if (name := known.get(one)) is None:
                name = known[one] = self._resolve(Keys(wrong + keys, ids), host, path, own or said)
            names.append(name)
        return names

    def _take_all(self, counts: Mapping[str, int], found: Cut) -> None:
        """Take the tokens of a post, all of them or none. Raises PostRefused."""
        taken: list[tuple[str, int]] = []
        for name, count in counts.items():
            if wait := self._limits.take(name, count):
                for other in taken:
                    self._limits.give_back(*other)
                for one, hits in counts.items():
                    self._count(one, REFUSED, hits)
                raise PostRefused(TOO_MANY, found, wait)
            taken.append((name, count))

    def _admit(self, name: str, hits: int) -> Fate:
        """The fate of hits that are not to be refused: their clients would not send them again."""
        if not self._limits.take(name, hits):
            return self._admitted(name, hits)
        drop = self._tenants.limited == DROP
        self._count(name, DROPPED if drop else LIMITED, hits)
        return Fate(name, True, drop, name in self._resolver.denied)

    def _admitted(self, name: str, hits: int) -> Fate:
        self._count(name, ADMITTED, hits)
        return Fate(name, denied=name in self._resolver.denied)

    def _count(self, name: str, outcome: str, hits: int) -> None:
        if name:
            self._hits[name, outcome] += hits
        else:
            self._unknown[outcome,] += hits


def fated(likes: Sequence[Hit | None], fates: Sequence[Fate]) -> list[Hit | None]:
    """The hits that items are like, of their tenants, None for those dropped; without any fate there are no tenants."""
    if not fates:
        return list(likes)
    marked: dict[tuple[int, Fate], Hit | None] = {}
    found = []
    for like, fate in zip(likes, fates, strict=True):
        key = id(like), fate
        if key not in marked:
            marked[key] = None
            if like is not None and not fate.drop:
                marked[key] = msgspec.structs.replace(like, tenant=fate.tenant, limited=fate.limited)
        found.append(marked[key])
    return found


def _host(headers: Any) -> str:
    return str(headers.get("Host", ""))
