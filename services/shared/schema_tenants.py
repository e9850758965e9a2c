"""Reads the schema file's `tenants:`, and applies it to the columns and conditions of tables."""

from __future__ import annotations

import dataclasses
import math
import re

import yaml

from services.shared import tenants
from services.shared.schema import TENANT_SOURCE, Source, Table
from services.shared.schema_nodes import NodeReader, quoted
from services.shared.tenants import Tenant, Tenants

KEYS = ("parameter", "unknown", "limited", "admins", "list")
TENANT_KEYS = ("keys", "hosts", "paths", "rate", "burst", "expire_days", "consent", "readers")
MOST_TENANTS = 10_000
MOST_RATE, MOST_BURST, MOST_DAYS = 1_000_000, 10_000_000, 99_999
COLUMN = "tenant"

_NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
_PARAMETER = re.compile(r"[A-Za-z_$][\w.$-]{0,99}", re.ASCII)
_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,251}[a-z0-9])?")
_PATH = re.compile(r"/[!-~]{1,511}")
_MEMBER = re.compile(
    r"(?:user|group|serviceAccount):[\w.+-]{1,64}@[\w.-]{1,253}|domain:[\w.-]{1,253}"
    r"|principal(?:Set)?://iam\.googleapis\.com/[\w./@%+=~-]{1,1024}",
    re.ASCII,
)
_RATE = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_WHOLE = re.compile(r"[1-9][0-9]{0,8}")


class TenantsReader(NodeReader):
    """`_taken` says which tenant has a key, host or path already."""

    def __init__(self, file: str, errors: list[tuple[int, int, str]]) -> None:
        super().__init__(file, errors)
        self._has_admins = False
        self._taken: dict[tuple[str, object], str] = {}
        self._paths: dict[tuple[str, ...], tuple[str, str]] = {}  # the segments of each: tenant and path
        self._above: dict[tuple[str, ...], tuple[str, str]] = {}  # those above them: likewise

    def read(self, node: yaml.Node | None) -> Tenants:
        if node is None:
            return Tenants()
        keys = self._mapping(node, "tenants", KEYS, required=("list",))
        parameter = self._text(keys.get("parameter"), "tenants: parameter")
        if parameter and not _PARAMETER.fullmatch(parameter):
            self._error(keys["parameter"], f"tenants: parameter: {quoted(parameter)} is no name of one, such as tenant")
        self._has_admins = "admins" in keys
        return Tenants(
            by_name=self._list(keys["list"], parameter) if "list" in keys else {},
            parameter=parameter,
            unknown=self._choice(keys.get("unknown"), "tenants: unknown", tenants.UNKNOWN_CHOICES) or tenants.REJECT,
            limited=self._choice(keys.get("limited"), "tenants: limited", tenants.LIMITED_CHOICES) or tenants.CAPTURE,
            admins=self._members(keys.get("admins"), "tenants: admins"),
        )

    def check(self, table: Table, columns: yaml.Node | None, when: yaml.Node | None) -> Table:
        """The table as tenants make it: only the tenant that was found fills its column `tenant`.

        What else the column lists, such as a parameter, anyone could claim; so could a condition on one of those.
        """
        column = next((one for one in table.columns if one.name == COLUMN), None)
        if column is None:
            return table
        claimed = {source for source in column.sources if source != TENANT_SOURCE}
        if claimed == set(column.sources):
            if column.sources:
                self._error(
                    _spec(columns, COLUMN),
                    f"column {table.name}.{COLUMN}: `tenants:` is there, and anyone could claim another's events by "
                    f"{' or '.join(map(str, column.sources))}; write `from: [{TENANT_SOURCE}, …]`, {TENANT_SOURCE} "
                    "first",
                )
            return table
        for condition in table.conditions:
            if condition.source in claimed:
                self._error(
                    when,
                    f"table {table.name}: when: {condition.source}: `tenants:` is there, and anyone could choose the "
                    f"table by it; use {TENANT_SOURCE}",
                )
        told = dataclasses.replace(column, sources=(TENANT_SOURCE,))
        return dataclasses.replace(table, columns=tuple(told if one is column else one for one in table.columns))

    def _list(self, node: yaml.Node, parameter: str) -> dict[str, Tenant]:
        found: dict[str, Tenant] = {}
        specs = self._mapping(node, "tenants: list")
        if isinstance(node, yaml.MappingNode) and not specs:
            self._error(node, "tenants: list: it is empty; name at least one tenant, or leave out `tenants`")
        if len(specs) > MOST_TENANTS:
            self._error(node, f"tenants: list: {len(specs):,} tenants, at most {MOST_TENANTS:,} are allowed")
            return {}
        lower: dict[str, str] = {}
        for name, spec in specs.items():
            if not _NAME.fullmatch(name):
                self._error(spec, f"tenant {quoted(name)}: letters, digits and underscores only, at most 100")
            if (other := lower.setdefault(name.lower(), name)) != name:
                self._error(spec, f"tenant {quoted(name)}: {quoted(other)} differs from it only in case; rename one")
            found[name] = self._tenant(name, spec, parameter)
        return found

    def _tenant(self, name: str, node: yaml.Node, parameter: str) -> Tenant:
        where = f"tenant {quoted(name)}"
        keys = self._mapping(node, where, TENANT_KEYS)
        tenant = Tenant(
            name,
            key_hashes=self._hashes(name, keys.get("keys"), f"{where}: keys"),
            hosts=self._hosts(name, keys.get("hosts"), f"{where}: hosts"),
            paths=self._prefixes(name, keys.get("paths"), f"{where}: paths"),
            rate=self._rate(keys.get("rate"), f"{where}: rate"),
            burst=self._whole(keys.get("burst"), f"{where}: burst", MOST_BURST),
            expire_days=self._whole(keys.get("expire_days"), f"{where}: expire_days", MOST_DAYS),
            consent=self._choice(keys.get("consent"), f"{where}: consent", (tenants.DENIED,)),
            readers=self._members(keys.get("readers"), f"{where}: readers"),
        )
        if tenant.readers and not self._has_admins:
            self._error(
                keys["readers"],
                f"{where}: readers: BigQuery then hides all rows from whom no policy names; name in `tenants: admins` "
                "who sees them all: the account of ops, which compacts, and your own people",
            )
        if "burst" in keys and "rate" not in keys:
            self._error(keys["burst"], f"{where}: burst: there is no rate that it would be over; add `rate`")
        known_by = parameter or any(key in keys for key in ("keys", "hosts", "paths"))
        if isinstance(node, yaml.MappingNode) and not known_by:
            self._error(node, f"{where}: nothing says which events are its; add `keys`, `hosts` or `paths`")
        return tenant

    def _hashes(self, name: str, node: yaml.Node | None, where: str) -> tuple[str, ...]:
        found = []
        for item, text in self._items(node, where):
            if not _HASH.fullmatch(text):
                # Whoever wrote the key itself here must not find it in a log as well.
                meant = f"if this is the key, write sha256:{tenants.hashed(text)}"
                if text.startswith("sha256:"):
                    meant = "sha256: and 64 hexadecimal digits, of printf %s KEY | sha256sum"
                self._error(
                    item, f"{where}: a key is written as its SHA-256, so that the file holds no secret; {meant}"
                )
                continue
            hashed = text.removeprefix("sha256:").lower()
            if hashed == tenants.hashed(""):
                self._error(item, f"{where}: this is the SHA-256 of nothing; hash the key: printf %s KEY | sha256sum")
            elif hashed == tenants.hashed("\n"):
                self._error(item, f"{where}: this is the SHA-256 of a line end; use printf %s KEY | sha256sum")
            self._take(item, "key", hashed, name, where)
            found.append(hashed)
        return tuple(found)

    def _hosts(self, name: str, node: yaml.Node | None, where: str) -> tuple[str, ...]:
        found = []
        for item, text in self._items(node, where):
            host = tenants.plain_host(text)
            if not _HOST.fullmatch(host) or ".." in host or host != text.lower():
                self._error(
                    item,
                    f"{where}: {quoted(text)} is not the name of one host, such as a.example.com: without scheme, port "
                    "and *, and with international names as xn--…",
                )
                continue
            self._take(item, "host", host, name, where)
            found.append(host)
        return tuple(found)

    def _prefixes(self, name: str, node: yaml.Node | None, where: str) -> tuple[str, ...]:
        found = []
        for item, text in self._items(node, where):
            parts = tenants.segments(text)
            if not _PATH.fullmatch(text) or any(mark in text for mark in "?#") or not parts:
                self._error(
                    item, f"{where}: {quoted(text)} is not the beginning of a path, such as /shop_a/; it is more than /"
                )
                continue
            self._place(item, name, text, parts, where)
            found.append(text)
        return tuple(found)

    def _place(self, item: yaml.Node, name: str, path: str, parts: tuple[str, ...], where: str) -> None:
        """Keep a path; one that is another, or is below or above it, would belong to two."""
        above = [parts[:size] for size in range(1, len(parts))]
        other = self._paths.get(parts) or self._above.get(parts)
        other = other or next((self._paths[one] for one in above if one in self._paths), None)
        if other is not None:
            whose = "it" if other[0] == name else f"tenant {quoted(other[0])}"
            self._error(item, f"{where}: {quoted(path)}: {whose} has {quoted(other[1])}, which overlaps; change one")
            return
        self._paths[parts] = (name, path)
        for one in above:
            self._above.setdefault(one, (name, path))

    def _take(self, node: yaml.Node, kind: str, value: str, name: str, where: str) -> None:
        other = self._taken.setdefault((kind, value), name)
        if other != name:
            self._error(node, f"{where}: tenant {quoted(other)} has the same {kind}; an event has one tenant")

    def _members(self, node: yaml.Node | None, where: str) -> tuple[str, ...]:
        """IAM members; never all users, and nothing that could end the SQL string it is written into."""
        found = []
        for item, text in self._items(node, where):
            if not _MEMBER.fullmatch(text):
                self._error(
                    item,
                    f"{where}: {quoted(text)} is none of user:NAME@HOST, group:NAME@HOST, serviceAccount:NAME@HOST, "
                    "domain:HOST and principal://iam.googleapis.com/…",
                )
            else:
                found.append(text)
        return tuple(found)

    def _rate(self, node: yaml.Node | None, where: str) -> float | None:
        text = self._text(node, where)
        if not text:
            return None
        rate = float(text) if _RATE.fullmatch(text) else math.nan
        if not 0 < rate <= MOST_RATE:
            self._error(node, f"{where}: {quoted(text)} is not a number of hits a second, over 0 to {MOST_RATE:,}")
            return None
        return rate

    def _whole(self, node: yaml.Node | None, where: str, most: int) -> int | None:
        text = self._text(node, where)
        if not text:
            return None
        if not _WHOLE.fullmatch(text) or int(text) > most:
            self._error(node, f"{where}: {quoted(text)} is not a whole number from 1 to {most:,}")
            return None
        return int(text)

    def _items(self, node: yaml.Node | None, where: str) -> list[tuple[yaml.Node, str]]:
        """One text or a list of different ones, each with its own node."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node] if node is not None else []
        if node is not None and not nodes:
            self._error(node, f"{where}: the list is empty; name at least one")
        found: dict[str, yaml.Node] = {}
        for item in nodes:
            text = self._text(item, where)
            if text in found:
                self._error(item, f"{where}: it is there twice")  # it may be a secret, so it is not shown
            elif text:
                found[text] = item
        return [(item, text) for text, item in found.items()]


def condition_source(sources: tuple[Source, ...], found: Tenants) -> Source:
    """What decides which tenant's table an event goes to: without `tenants:` nothing but what the event says."""
    if found:
        return TENANT_SOURCE
    return next((source for source in sources if source != TENANT_SOURCE), TENANT_SOURCE)


def _spec(columns: yaml.Node | None, name: str) -> yaml.Node | None:
    """The node of what a column says in `from`."""
    for key in (name, "from"):
        pairs = columns.value if isinstance(columns, yaml.MappingNode) else []
        columns = next((value for one, value in pairs if one.value == key), columns)
    return columns
