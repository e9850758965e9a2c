"""Whose event it is: the schema file's `tenants:`. Frozen; `schema_tenants.py` reads it."""

from __future__ import annotations

from dataclasses import dataclass, field

REJECT, REFUSE = "reject", "refuse"  # unknown: a row of `rejects`; 401 for posts (pixels are rejects all the same)
UNKNOWN_CHOICES = (REJECT, REFUSE)
CAPTURE, DROP = "capture", "drop"  # limited: a row of `rejects`; counted and gone
LIMITED_CHOICES = (CAPTURE, DROP)


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
