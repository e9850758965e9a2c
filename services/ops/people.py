"""Who is meant: the ids that people are known by, as options or a file name them."""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.ops import option
from services.provision import row_access
from services.shared import config, hash_keys
from services.shared.config import ConfigError
from services.shared.hash_keys import HashKey
from services.shared.name_rules import HASH, NameRules
from services.shared.schema import TENANT_SOURCE, Schema, Source

MOST = 100_000  # ids in one run: their hashes fill one row of the receipts
_OPTIONS = {"user_id": "param.user_id", "anonymous_id": "param.anonymous_id", "visitor_id": "hit.visitor_id"}
# A parameter's name goes into the text of a statement, as a path of JSON, which takes no query parameter.
_PARAMETER = re.compile(r"""[^\x00-\x1f\x7f"'\\`{}]{1,300}""")
_JSON_LINES = (".ndjson", ".jsonl")


@dataclass(frozen=True)
class People:
    """Ids by source, such as `param.user_id`: `given` as they were given, `stored` in each form a table may hold.

    With a `tenant` they are ids of that tenant's people: whoever has the same id at another tenant is somebody else.
    Without ids they are `everyone` of that tenant.
    """

    count: int
    given: dict[Source, tuple[str, ...]]
    stored: dict[Source, tuple[str, ...]] = field(default_factory=dict)
    tenant: str = ""

    @property
    def everyone(self) -> bool:
        return bool(self.tenant) and not self.given

    def digests(self, salt: bytes) -> list[str]:
        """The HMAC-SHA256 of each given id under `salt`, in hexadecimal, sorted; without any, of the tenant."""
        return sorted(self._digests(salt))

    def among(self, salt: bytes, digests: frozenset[str]) -> bool:
        """Whether each id is one of those that `digests` were made of."""
        return all(one in digests for one in self._digests(salt))

    def _digests(self, salt: bytes) -> Iterator[str]:
        of_tenant = [f"hit.tenant={self.tenant}"] if self.tenant else []
        ids = [[f"{source}={value}"] for source, values in self.given.items() for value in values]
        for one in ids or [[]]:
            yield hmac.new(salt, "&".join((*of_tenant, *one)).encode(), hashlib.sha256).hexdigest()


def add_options(parser: argparse.ArgumentParser) -> None:
    for name, text in (
        ("user-id", "the person's `user_id`"),
        ("anonymous-id", "the person's `anonymous_id`"),
        ("visitor-id", "the value of the person's visitor cookie"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], help=f"{text}; may be repeated")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="param.NAME=VALUE",
        help="the person's value of another parameter, such as param.email=…; may be repeated",
    )
    parser.add_argument(
        "--file",
        type=option.file,
        metavar="PEOPLE",
        help="one user id a line; a file *.ndjson has an object a line, such as "
        '{"user_id": "…", "anonymous_id": "…", "visitor_id": "…", "param.email": "…"}',
    )
    parser.add_argument(
        "--tenant",
        default="",
        help="only rows of this tenant of the schema file: another one's user of the same id is somebody else",
    )
    parser.add_argument("--everyone", action="store_true", help="all rows of --tenant, instead of ids")
    parser.add_argument(
        "--key-file",
        action="append",
        type=option.file,
        default=[],
        help="the keys of the schema file's `privacy: hash:`, needed where an id is stored hashed; may be repeated",
    )


def read(options: argparse.Namespace, schema: Schema) -> People:
    """The people that the options name. Raises ConfigError, a line, for what cannot be meant, or nobody."""
    if options.tenant:
        _check_tenant(options.tenant, schema)
    people = list(_of_options(options))
    if options.file is not None:
        people += _of_file(options.file)
    if options.everyone:
        if people or not options.tenant:
            raise ConfigError("--everyone goes with --tenant alone: it means all of that tenant's rows")
        return People(0, {}, tenant=options.tenant)
    if not people:
        raise ConfigError("nobody is named; use --user-id, --anonymous-id, --visitor-id, --where, --file or --everyone")
    given: dict[Source, dict[str, None]] = {}
    for ids in people:
        for source, value in ids:
            given.setdefault(source, {})[value] = None
    if (number := sum(map(len, given.values()))) > MOST:
        raise ConfigError(f"{number} ids are named, at most {MOST} go into one run; split the file")
    found = {source: tuple(values) for source, values in given.items()}
    # Options name one person together; each line of a file names another.
    return People(len(people), found, _stored(found, schema, options.key_file), options.tenant)


def _check_tenant(tenant: str, schema: Schema) -> None:
    if tenant not in schema.tenants.by_name:
        listed = ", ".join(schema.tenants.by_name) or "none"
        raise ConfigError(f"--tenant {config.shown(tenant)}: the schema file lists no such tenant ({listed})")
    if without := [name for name, table in schema.tables.items() if row_access.column(table) is None]:
        raise ConfigError(
            f"--tenant: nobody knows whose the rows of {', '.join(without)} are, which have no column from "
            f"{TENANT_SOURCE}; leave --tenant out to look for the people of all tenants"
        )


def _of_options(options: argparse.Namespace) -> Iterator[list[tuple[Source, str]]]:
    ids = [
        (_source(source), _checked(f"--{name.replace('_', '-')}", value))
        for name, source in _OPTIONS.items()
        for value in getattr(options, name)
    ]
    for text in options.where:
        name, sign, value = text.partition("=")
        if not sign or not name.startswith("param."):
            raise ConfigError(
                f"--where {config.shown(text)}: use param.NAME=VALUE, such as param.email=ada@example.com"
            )
        ids.append((_parameter("--where", name), _checked(f"--where {name}", value)))
    if ids:
        yield ids


def _of_file(file: Path) -> Iterator[list[tuple[Source, str]]]:
    try:
        lines = file.read_bytes().decode().split("\n")
    except OSError as error:
        raise ConfigError(f"--file {file}: it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--file {file}: it is not UTF-8") from error
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        where = f"{file}:{number}"
        if not line:
            continue
        yield _of_object(where, line) if file.suffix in _JSON_LINES else [(_source("param.user_id"), line)]


def _of_object(where: str, line: str) -> list[tuple[Source, str]]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: it is not JSON; an object a line is wanted") from error
    if not isinstance(found, dict) or not found:
        raise ConfigError(f'{where}: an object with ids is wanted, such as {{"user_id": "…"}}')
    ids = []
    for name, value in found.items():
        if name not in _OPTIONS and not name.startswith("param."):
            raise ConfigError(f"{where}: {config.shown(name)}: use {', '.join(_OPTIONS)} or param.NAME")
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {name}: a text is wanted")
        source = _source(_OPTIONS[name]) if name in _OPTIONS else _parameter(where, name)
        ids.append((source, _checked(f"{where}: {name}", value)))
    return ids


def _source(text: str) -> Source:
    return Source(*text.split(".", 1))


def _parameter(where: str, name: str) -> Source:
    source = _source(name)
    if source.name == "*" or not _PARAMETER.fullmatch(source.name):
        raise ConfigError(f"{where} {config.shown(name)}: it is not the name of a parameter, such as param.email")
    return source


def _checked(where: str, value: str) -> str:
    if not value:
        raise ConfigError(f"{where}: it is empty, which would be everybody without one; name an id")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where}: it is not UTF-8") from error
    return value


def _stored(
    given: Mapping[Source, tuple[str, ...]], schema: Schema, files: Sequence[Path]
) -> dict[Source, tuple[str, ...]]:
    """Each id as given, since rows may be older than the hashing, and hashed by every key."""
    rules = [NameRules(privacy, anonymize=False) for privacy in schema.privacy.values()]
    wanted: dict[Source, tuple[str, ...]] = {}  # what is done before the hashing
    for source in given:
        for one in rules if source.namespace == "param" else ():
            rule = one.find(source.name)
            if rule is not None and rule.kind == HASH:
                wanted[source] = rule.first
    found = dict(given)
    if not wanted:
        return found
    if not files:
        raise ConfigError(
            f"{', '.join(map(str, wanted))}: the schema file stores it hashed; name the file of keys with --key-file"
        )
    keys = [key for file in files for key in _keys(file)]
    for source, steps in wanted.items():
        forms: dict[str, None] = {}
        for value in given[source]:
            text = value
            for step in steps:
                text = text.strip() if step == "trim" else text.lower()
            forms |= dict.fromkeys((value, *(key.hash(text) for key in keys)))
        found[source] = tuple(forms)
    return found


def _keys(file: Path) -> list[HashKey]:
    try:
        keys = hash_keys.read(str(file))
    except ValueError as error:
        raise ConfigError(f"--key-file {file}: {error}") from error
    return [key for key in (keys.current, keys.previous) if key is not None]


def described(people: People) -> dict[str, Any]:
    """For a report: how many ids of each kind, and nobody's."""
    return {"people": people.count, "ids": {str(source): len(values) for source, values in people.given.items()}}
