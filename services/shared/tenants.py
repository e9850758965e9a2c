"""Whose event it is: the schema file's `tenants:`. Frozen; `schema_tenants.py` reads it. Pure.

A tenant is known by its keys, hosts and paths, and by its name in a parameter, in this order. A key is a secret of a
kind: a tenant that has keys is never named by a parameter, and a wrong key is never made good by a host or a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from urllib.parse import unquote, unquote_plus

import msgspec

from services.shared.hit import Hit

REJECT, REFUSE = "reject", "refuse"  # unknown: a row of `rejects`; 401 for posts (pixels are rejects all the same)
UNKNOWN_CHOICES = (REJECT, REFUSE)
CAPTURE, DROP = "capture", "drop"  # limited: a row of `rejects`; counted and gone
LIMITED_CHOICES = (CAPTURE, DROP)
DENIED = "denied"
MAX_KEY = 1_024  # characters; a longer one is nobody's
KEY_PARAMETER = "write_key"  # of our own pixels and events

MAX_KEYS = 4  # that are looked for in one place
_MAX_PATH = 1_024  # characters of a path whose segments are looked at
_BURST_SECONDS = 10.0
_REMEMBERED = 1_024  # keys; 4 MB at most


@dataclass(frozen=True)
class Tenant:
    """One tenant: known by any of its keys (their SHA-256), hosts, path prefixes, or by its name in the parameter."""

    name: str
    key_hashes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    rate: float | None = None  # hits a second and pod; None: no limit
    burst: int | None = None  # hits at once; None: ten seconds' worth
    expire_days: int | None = None  # of its own tables
    consent: str = ""  # "denied": every event of this tenant is an opt-out
    readers: tuple[str, ...] = ()  # IAM members who see its rows, and no others, such as group:shop@example.com

    @property
    def most_at_once(self) -> float:
        """Hits at once, where there is a rate."""
        return self.burst or max(1.0, (self.rate or 0.0) * _BURST_SECONDS)


@dataclass(frozen=True)
class Tenants:
    """All tenants by name; no tenants: the column `tenant` is whatever the parameter says."""

    by_name: dict[str, Tenant] = field(default_factory=dict)
    parameter: str = ""  # "": a parameter cannot say it; else its name, such as `tenant`
    unknown: str = REJECT
    limited: str = CAPTURE
    admins: tuple[str, ...] = ()  # IAM members who see all rows where readers see their own; without any, no `readers`

    def __bool__(self) -> bool:
        return bool(self.by_name)


def hashed(key: str) -> str:
    """A key as the schema file has it, without `sha256:`: 64 hexadecimal digits, as of `printf %s KEY | sha256sum`."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def plain_host(host: str) -> str:
    """A Host header as tenants' hosts are written: in lower case, without port and final dot; "" if it is not ASCII.

    `lower` would make letters of Unicode, such as the Kelvin sign, the ASCII ones that they look like.
    """
    if not host.isascii():
        return ""
    return host.partition(":")[0].lower().removesuffix(".")


def segments(path: str) -> tuple[str, ...]:
    """The parts of a path between its slashes, percent-decoded; none of one that is too long."""
    if len(path) > _MAX_PATH:
        return ()
    return tuple(part for part in unquote(path.partition("#")[0], errors="replace").split("/") if part)


class Resolver:
    """Says whose an event is; build it once."""

    def __init__(self, tenants: Tenants) -> None:
        every = tenants.by_name.values()
        self.parameter = tenants.parameter
        self.denied = frozenset(tenant.name for tenant in every if tenant.consent == DENIED)
        self._by_hash = {one: tenant.name for tenant in every for one in tenant.key_hashes}
        self._by_host = {host: tenant.name for tenant in every for host in tenant.hosts}
        self._by_path = {segments(path): tenant.name for tenant in every for path in tenant.paths}
        self._deepest = max(map(len, self._by_path), default=0)
        self._keyed = frozenset(tenant.name for tenant in every if tenant.key_hashes)
        self._remembered = lru_cache(_REMEMBERED)(self._of_key)  # most come again and again, and hashing costs more
        self._sayable = frozenset(tenants.by_name) - self._keyed if tenants.parameter else frozenset[str]()

    def resolve(
        self, keys: Sequence[str], host: str, path: str, parameter: str = "", *, ids: Sequence[str] = ()
    ) -> str:
        """The tenant's name, or "" where it is unknown.

        `keys` are those that a request has in the places of its protocol; `ids` are what is no secret but may be listed
        like a key, such as a site's number: an unknown one is not a wrong key. `host` is the Host header, `path` as it
        was sent, `parameter` the value of the parameter that may say it. Keys of two tenants are nobody's.
        """
        if (keys or ids) and (named := {name for key in (*keys, *ids) if (name := self.owner(key))}):
            return named.pop() if len(named) == 1 else ""
        name = self._placed(host, path)
        if not name and parameter in self._sayable:
            name = parameter
        return "" if any(keys) and name in self._keyed else name

    def owner(self, key: str) -> str:
        """The tenant that has this key, or ""."""
        return self._remembered(key) if 0 < len(key) <= MAX_KEY else ""  # what is too long is not remembered either

    def _of_key(self, key: str) -> str:
        return self._by_hash.get(hashed(key), "")

    def again(self, host: str, path: str) -> str:
        """Likewise for a hit without a tenant, whose key, if it had one, is gone: "" for any tenant that has keys."""
        name = self._placed(host, path)
        return "" if name in self._keyed else name

    def named(self, hit: Hit) -> Hit:
        """A hit of our own pixel that no collector has seen, such as of a log entry, with its tenant."""
        keys = in_query(hit.query, KEY_PARAMETER)
        tenant = self.resolve(keys, hit.headers.get("host", ""), hit.path, self.said(hit.query))
        return msgspec.structs.replace(hit, tenant=tenant)

    def said(self, query: str) -> str:
        """What a query string or form says in the parameter; the first counts."""
        return next(iter(in_query(query, self.parameter)), "") if self._sayable else ""

    def _placed(self, host: str, path: str) -> str:
        if self._by_host and (name := self._by_host.get(plain_host(host))):
            return name
        if self._deepest:
            parts = segments(path)[: self._deepest]
            for size in range(1, len(parts) + 1):
                if name := self._by_path.get(parts[:size]):
                    return name
        return ""


def in_query(query: str, *names: str) -> list[str]:
    """The values that a query string or form has under these names, without empty ones; at most MAX_KEYS of each name.

    A name with escapes is not found: nobody but its sender gains or loses by that.
    """
    found = []
    text = ""
    for name in names:
        mark, left = f"{name}=", MAX_KEYS
        at = query.find(mark)  # finds nothing in most, and quickly
        if at >= 0 and not text:
            text = query.partition("#")[0]
        while at >= 0 and left:
            begin = at + len(mark)
            if not at or text[at - 1 : at] in ("&", "?"):
                end = text.find("&", begin)
                if value := text[begin : end if end >= 0 else None]:
                    found.append(unquote_plus(value) if len(value) <= 3 * MAX_KEY else value)
                    left -= 1
            at = text.find(mark, begin)
    return found
