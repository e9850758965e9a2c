"""The whole way of one event: raw request → protocol → parameters → columns → row or reject. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local import item
from services.collector import routes
from services.ops import explain
from services.processor import query
from services.processor.nested_columns import MISSING
from services.processor.parse import Parser, Row
from services.shared.hit import Hit
from services.shared.schema import REJECTS, Schema, Table

MOST_BODY = 20_000  # characters of a body shown
# What a server of ours added, or curl does by itself.
_NOT_SENT_AGAIN = ("host", "content-length", "connection", "accept-encoding", "x-forwarded-for")


class Reading:
    """Reads hits by one schema file; `collector` is its base URL."""

    def __init__(self, schema: Schema, parser: Parser, collector: str) -> None:
        self.schema, self._parser, self._collector = schema, parser, collector
        self._routes = routes.Table()

    def event_id(self, one: Hit, now: int) -> str:
        """As the processor has it; `now` in microseconds since 1970."""
        found = self._parser.parse(one, now)
        row = found if isinstance(found, Row) else self._parser.reject_row(one, found, now)
        table = self.schema.tables[row.table]
        names = [column.name for column in table.columns]
        return str(row.values[names.index(table.filled_by("event.id").name)])

    def of_hit(self, one: Hit, now: int, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The story of a hit; `stored` is the item of its row, if BigQuery has it."""
        said = explain.explain(self._parser, self.schema, one, now)
        row: dict[str, Any] = said.get("row", {})
        reject = said.get("reject")
        table = self.schema.tables[said["table"] if reject is None else reject.get("table") or REJECTS]
        problems = said.get("problems", [])
        steps = [self._request(one), self._protocol(one, said), _parameters(one)]
        if table.name != REJECTS:
            steps.append(_columns(table, said, reject))
        steps.append(_outcome(said, table, row, stored))
        return {
            "event_id": self.event_id(one, now),
            "found": True,
            "outcome": said["outcome"],
            "protocol": said["protocol"],
            "table": REJECTS if reject else table.name,
            "steps": steps,
            "empty": said.get("empty", []),
            "unknown": said.get("unknown", []),
            "kept_in": said.get("kept_in"),
            "changed": said.get("changed", {}),
            "refused": [_named(reject, " or ".join(_blamed(reject, table)))] if reject else problems,
            "privacy": None,
            "curl": self.curl(one),
            "note": None,
            "others": [],
        }

    def of_item(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What is left to say of an event whose raw request is gone."""
        reject = stored["kind"] == item.REJECT
        refused = [_named(stored)] if reject else stored["problems"]
        step = {
            "name": "reject" if reject else "row",
            "title": f"A row of {stored['table']}",
            "table": stored["table"],
            "row": stored["row"],
            "stored": True,
            **({name: stored[name] for name in ("reason", "column", "detail")} if reject else {}),
        }
        return {
            "event_id": stored["id"],
            "found": True,
            "outcome": "reject" if reject else "row",
            "protocol": stored["protocol"],
            "table": stored["table"],
            "steps": [step],
            "empty": [],
            "unknown": [],
            "kept_in": None,
            "changed": {},
            "refused": refused,
            "privacy": None,
            "curl": None,
            "note": "the raw request is no longer known: the page keeps the latest, and only while it runs",
            "others": [],
        }

    def _request(self, one: Hit) -> dict[str, Any]:
        body = one.text or query.text(bytes(one.body)) or None
        return {
            "name": "request",
            "title": f"{one.method} {one.path}",
            "method": one.method,
            "path": one.path,
            "url": self._url(one),
            "headers": dict(one.headers),
            "query": one.query,
            "body": body and _cut(body),
            "envelope": _cut(query.text(bytes(one.envelope))) if bytes(one.envelope) else None,
            "ip": one.ip or None,
            "id": one.id,
            "received_at": _time(one.at),
        }

    def _protocol(self, one: Hit, said: Mapping[str, Any]) -> dict[str, Any]:
        text = f"Its path, {one.path}, speaks {said['protocol']}."
        if one.protocol == "native":
            text = (
                f"Its path, {one.path}, is our own: parameters are the query string, or the members of what is posted."
            )
        if one.opt_out:
            text += f" Its sender opted out ({one.opt_out})" + ("; it is anonymized." if one.anonymized else ".")
        return {
            "name": "protocol",
            "title": f"Protocol {said['protocol']}",
            "protocol": said["protocol"],
            "via": one.via,
            "tenant": one.tenant or None,
            "opt_out": one.opt_out or None,
            "text": text,
        }

    def _url(self, one: Hit) -> str:
        return f"{self._collector}{one.path}" + (f"?{one.query}" if one.query else "")

    def curl(self, one: Hit) -> str:
        """Sends it again: as the event it was, so with an id of the client's own it counts once."""
        parts = ["curl", "-i", "-g"]  # brackets and braces of a URL are no pattern
        if one.method != "GET":
            parts += ["-X", shlex.quote(one.method)]
        for name, value in one.headers.items():
            if name not in _NOT_SENT_AGAIN and value.isprintable():
                parts += ["-H", shlex.quote(f"{name}: {value}")]
        body = self._body(one)
        if body is not None:
            if "content-type" not in one.headers:
                media = "application/json" if bytes(one.body) else "text/plain"
                parts += ["-H", shlex.quote(f"content-type: {media}")]
            parts += ["--data-raw", shlex.quote(body)]  # --data-binary would read a file for a body like @/etc/hosts
        return " ".join([*parts, shlex.quote(self._url(one))])

    def _body(self, one: Hit) -> str | None:
        """The body, with what surrounded its items."""
        if one.text:
            return one.text
        if not bytes(one.body):
            return None
        found = self._routes.at(one.path)
        text = query.text(bytes(one.body))
        if found is None or not found[0].items or not bytes(one.envelope):
            return text
        try:
            around = json.loads(bytes(one.envelope))
        except (ValueError, RecursionError):
            return text
        if not isinstance(around, dict):
            return text
        return json.dumps(around, ensure_ascii=False)[:-1] + f', "{found[0].items}": [{text}]}}'


def _parameters(one: Hit) -> dict[str, Any]:
    values = {name: item.shown(value) for name, value in explain.parameters(one).items()}
    return {"name": "parameters", "title": f"{len(values)} parameters", "values": values}


def _columns(table: Table, said: Mapping[str, Any], reject: Mapping[str, Any] | None) -> dict[str, Any]:
    row, came, changed = said["row"] if reject is None else said["known"], said["from"], said["changed"]
    refused = {problem["column"].partition(".")[0].partition("[")[0]: problem for problem in said.get("problems", [])}
    if reject:
        refused |= dict.fromkeys(_blamed(reject, table), reject)
    values = [
        {
            "column": column.name,
            "type": f"ARRAY<{column.type}>" if column.repeated else column.type,
            "mode": "REPEATED" if column.repeated else "REQUIRED" if column.required else "NULLABLE",
            "description": column.description,
            "from": came.get(column.name, str(column.sources[0])) if column.name in row else None,
            "sources": [str(source) for source in column.sources],
            "value": item.shown(row.get(column.name)),
            "sent": changed.get(column.name),
            "refused": _refusal(refused[column.name]) if column.name in refused else None,
        }
        for column in table.columns
    ]
    filled = sum(value["value"] is not None for value in values)
    return {"name": "columns", "title": f"{filled} of {len(values)} columns of {table.name}", "values": values}


def _outcome(
    said: Mapping[str, Any], table: Table, row: Mapping[str, Any], stored: Mapping[str, Any] | None
) -> dict[str, Any]:
    reject = said.get("reject")
    name = REJECTS if reject else table.name
    values = stored["row"] if stored is not None else {key: item.shown(value) for key, value in row.items()}
    return {
        "name": "reject" if reject or (stored and stored["kind"] == item.REJECT) else "row",
        "title": f"A row of {stored['table'] if stored else name}",
        "table": stored["table"] if stored else name,
        "row": values,
        "stored": stored is not None,
        **(_refusal(reject) if reject else {}),
    }


def _blamed(reject: Mapping[str, Any], table: Table) -> tuple[str, ...]:
    """The columns that an event was refused for: one, or those of which none had a value."""
    if column := reject.get("column"):
        return (column,)
    return tuple(table.require_any) if reject["reason"] == MISSING else ()


def _named(of: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """A refusal; where no single column is to blame, `name` is what to call that."""
    return {**_refusal(of), "name": of.get("column") or name or "the event"}


def _refusal(of: Mapping[str, Any]) -> dict[str, Any]:
    return {name: of.get(name) for name in ("column", "reason", "detail", "value")}


def _cut(text: str) -> str:
    return text if len(text) <= MOST_BODY else text[: MOST_BODY - 1] + "…"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat().replace("+00:00", "Z")
