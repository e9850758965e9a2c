"""Whether a hit, a row or a text is about somebody, by the processor's own readers: what SQL cannot read.

An id is compared as a whole and exactly: no case, no Unicode form, no wildcard is made equal to another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from services.ops.people import People
from services.processor import convert
from services.processor.event import Event, gather
from services.processor.query import text as as_text
from services.provision import row_access
from services.shared.hit import Hit
from services.shared.schema import Schema, Source
from services.shared.tenants import Resolver

# In what no reader understands, a short id such as 7 counts only beside its name; a longer one wherever it stands.
TELLING = 8  # characters
_ESCAPE = re.compile(r"""\\(?:u([0-9a-fA-F]{4})|(["\\/bfnrt]))""")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LEVELS = 3  # of percent-encoding or JSON in a text that are taken off


class Matcher:
    """Decides for one set of people; build it once."""

    def __init__(self, people: People, schema: Schema) -> None:
        self.tenant, self._everyone, self._resolver = people.tenant, people.everyone, Resolver(schema.tenants)
        self._tenant_columns = {name: row_access.column(table) for name, table in schema.tables.items()}
        self._wanted = {source: frozenset(values) for source, values in people.stored.items()}
        self._columns: dict[str, list[tuple[str, bool, Source]]] = {}  # by table: column, whether it is JSON, source
        for table in schema.tables.values():
            self._columns[table.name] = [
                (column.name, column.type == "JSON" and source.name == "*", wanted)
                for column in table.columns
                for source in column.sources
                for wanted in self._wanted
                if source == wanted or (str(source) == "param.*" and wanted.namespace == "param")
            ]

    def hit(self, hit: Hit) -> bool:
        """Whether one of the parameters of the hit, as the processor reads them, is one of the ids."""
        if self.tenant and self.tenant != (hit.tenant or self._resolver.again(hit.headers.get("host", ""), hit.path)):
            return False
        if self._everyone or any(
            getattr(hit, source.name, None) in ids for source, ids in self._wanted.items() if source.namespace == "hit"
        ):
            return True
        event = Event(hit)
        try:
            gather(event)
        except convert.Invalid:
            return self.text("\n".join((hit.query, hit.text, as_text(bytes(hit.body)), as_text(bytes(hit.envelope)))))
        return any(
            value in ids
            for source, ids in self._wanted.items()
            if source.namespace == "param"
            for found in (event.first, event.more)
            for value in _values(found, source.name)
        )

    def reject(self, text: str) -> bool:
        """The same of the `hit` of a reject: a hit of the processor's, or a row that the loader could not append."""
        try:
            return self.hit(msgspec.json.decode(text, type=Hit))
        except (msgspec.MsgspecError, RecursionError):
            pass
        try:
            row = convert.decode_json(text)
        except convert.Invalid:
            return self.text(text)
        return self.row(None, row) if isinstance(row, dict) else self.text(text)

    def row(self, table: str | None, row: Mapping[str, Any]) -> bool:
        """The same of a row as the loader's rejects and the packs of rows have it, with JSON as text.

        Without a table, or with one that the schema file does not know, the columns of all tables count.
        """
        if self.tenant:
            names = {self._tenant_columns.get(table or "")} - {None} or set(self._tenant_columns.values())
            if self.tenant not in [row.get(str(name)) for name in names]:
                return False
            if self._everyone:
                return True
        columns = self._columns.get(table or "")
        if columns is None:
            columns = [one for several in self._columns.values() for one in several]
        for name, is_rest, source in columns:
            value = row.get(name)
            if value is None:
                continue
            if is_rest:
                if isinstance(value, str):
                    try:
                        value = convert.decode_json(value)
                    except convert.Invalid:
                        if self.text(value):
                            return True
                        continue
                if not isinstance(value, dict) or self._wanted[source].isdisjoint(_values(value, source.name)):
                    continue
                return True
            if not self._wanted[source].isdisjoint(_scalars(value)):
                return True
        return False

    def log_entry(self, hit: Hit) -> bool:
        """The same as `hit` of a log entry, whose tenant nobody has looked for yet."""
        return self.hit(self._resolver.named(hit) if self.tenant else hit)

    def unread(self, text: str) -> bool:
        """The same as `text` of a message that nobody could read: of no tenant, as far as anyone knows."""
        return not self.tenant and self.text(text)

    def text(self, text: str) -> bool:
        """Whether an id stands in a text that nothing could read, with nothing of a word or an address around it."""
        for _ in range(_LEVELS):
            if any(
                value in text and _beside(source, value).search(text)
                for source, values in self._wanted.items()
                for value in values
            ):
                return True
            plain = _ESCAPE.sub(_unescaped, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            plain = unquote_plus(plain, errors="replace")
            if plain == text:
                return False
            text = plain
        return False


def _unescaped(found: re.Match[str]) -> str:
    return chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2])


def _beside(source: Source, value: str) -> re.Pattern[str]:
    name = source.name.rpartition(".")[2]
    words = r"[_-]?".join(map(re.escape, re.split(r"[_-]", name)))
    before = (
        r"(?<![\w.@+%-])"
        if len(value) >= TELLING
        else rf"""(?i:{words})["'\\\]]{{0,3}}\s{{0,9}}[:=]\s{{0,9}}["'\\]{{0,3}}"""
    )
    return re.compile(before + re.escape(value) + r"(?![\w@+%-])(?!\.\w)")


def _values(found: Mapping[str, Any], name: str) -> Iterator[str]:
    """What stands under a name, or under a path such as context.traits.email, as texts."""
    if name in found:
        yield from _scalars(found[name])
    if "." in name:
        at: Any = found
        for step in name.split("."):
            at = at.get(step) if isinstance(at, dict) else None
        yield from _scalars(at)


def _scalars(value: Any) -> Iterator[str]:
    for one in value if isinstance(value, list) else (value,):
        if one is not None and not isinstance(one, (dict, list)):
            if not isinstance(one, (str, int, Decimal)):
                yield str(one)  # of a row: a day, a moment, a FLOAT64
                continue
            with suppress(convert.Invalid):  # more digits than any id
                yield convert.string(one)
