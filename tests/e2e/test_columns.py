"""Columns of every type, lists and objects: posted, carried through all services, and queried."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Stack, start_stack
from tests.processor.test_columns import CART
from tests.schemas import REST, a_file

COLUMNS = """
      user_id: {type: STRING, from: param.user_id, transform: [trim, lower]}
      total: {type: NUMERIC, from: param.properties.total, transform: [{round: 2}]}
      quantity: {type: INT64, from: param.properties.quantity}
      tags: {type: STRING, mode: REPEATED, from: param.properties.tags}
      visit: {type: DATETIME, from: param.properties.visit}
      opens: {type: TIME, from: param.properties.opens}
      raw: {type: BYTES, from: param.properties.raw}
"""
EVENT = {
    "type": "track",
    "event": "Order Completed",
    "userId": " Ada ",
    "properties": {
        "total": 12.345,
        "quantity": "several",
        "tags": ["new", None, "gift"],
        "visit": "2026-03-01 10:00:00",
        "opens": "08:30",
        "raw": "aGk=",
        "coupon": "SPRING",
        "products": [{"product_id": "a", "price": 5}, {"sku": "b", "price": "7.345", "tags": "Sale"}, {"price": 1}],
    },
}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Stack]:
    schema = tmp_path / "schema.yaml"
    schema.write_text(a_file(COLUMNS + CART + REST))
    running = start_stack(tmp_path / "stack", {"PIPE_SCHEMA": str(schema)})
    yield running
    assert running.stop() == 0, running.process.output()


def decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def test_an_order_with_a_cart_is_one_typed_row(shop: Stack) -> None:
    request = urllib.request.Request(f"{shop.collector}/v1/track", json.dumps(EVENT).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200
    (row,) = shop.rows(
        "SELECT user_id, total, quantity, tags, CAST(visit = DATETIME '2026-03-01 10:00:00' AS INT64) AS visited, "
        "opens = TIME '08:30:00' AS opens, CAST(raw AS STRING) AS raw, cart, problems, params, "
        "(SELECT SUM(price) FROM UNNEST(cart)) AS spent FROM pixelpipe.events"
    )
    assert (row["user_id"], float(row["total"]), row["quantity"]) == ("ada", 12.35, None)
    assert row["tags"] == ["new", "gift"]
    assert [row["visited"], row["opens"], row["raw"]] == [1, True, "hi"]
    assert [(one["sku"], float(one["price"]), one["tags"]) for one in row["cart"]] == [
        ("a", 5.0, []),
        ("b", 7.35, ["sale"]),
    ]
    assert float(row["spent"]) == 12.35
    assert [(one["column"], one["reason"]) for one in decoded(row["problems"])] == [
        ("quantity", "wrong_type"),
        ("tags[1]", "null_element"),
        ("cart[2]", "missing"),
    ]
    properties = decoded(row["params"])["properties"]
    assert properties["coupon"] == "SPRING" and properties["quantity"] == "several"
    assert "total" not in properties and len(properties["products"]) == 3
