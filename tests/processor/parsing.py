"""What tests of the parser share: a hit of a fixed time, and the row or the reject that a schema makes of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from services.processor.parse import Parser, Reject, Row
from services.shared import hit, identity
from services.shared.hit import Hit
from services.shared.schema import Schema
from tests.schemas import NEEDED, REJECTS, SCHEMA

DAY = 86_400_000_000
NOW = 20_000 * DAY + 3_600_000_000  # one hour into a day

WIDE = (
    """
tables:
  clicks:
    when: {param.type: [click, tap]}
    partition: day
    columns:
NEEDED
      x: {type: INT64, mode: REQUIRED, from: [param.x, header.x-position]}
  events:
    partition: day
    columns:
      rest: {type: JSON, from: param.*}
NEEDED
      n: {type: INT64, from: param.n, on_error: reject}
      f: {type: FLOAT64, from: param.f, on_error: reject}
      b: {type: BOOL, from: param.b, on_error: reject}
      t: {type: TIMESTAMP, from: param.t, on_error: reject}
      d: {type: DATE, from: param.d, on_error: reject}
      m: {type: NUMERIC, from: param.m, on_error: reject}
      j: {type: JSON, from: param.j, on_error: reject}
      n_again: {type: STRING, from: param.n, on_error: reject}
      path: {type: STRING, from: hit.path}
""".replace("NEEDED\n", NEEDED)
    + REJECTS
    + "      n: {type: INT64, mode: REQUIRED, from: param.n}\n"
)


def a_hit(query: str = "", body: Any = None, at: int = NOW, **fields: Any) -> Hit:
    raw = hit.NO_BODY if body is None else msgspec.Raw(body if isinstance(body, bytes) else json.dumps(body).encode())
    given = {"id": identity.uuid7(at), "method": "GET", "path": "/i", **fields}
    return Hit(at=at, query=query, body=raw, **given)


def row_of(one: Hit, tables: Schema = SCHEMA, now: int = NOW) -> dict[str, Any]:
    result = Parser(tables).parse(one, now)
    assert isinstance(result, Row), result
    names = [column.name for column in tables.tables[result.table].columns]
    return {"table": result.table, **dict(zip(names, result.values, strict=True))}


def reject_of(one: Hit, tables: Schema = SCHEMA, now: int = NOW) -> Reject:
    result = Parser(tables).parse(one, now)
    assert isinstance(result, Reject), result
    return result
