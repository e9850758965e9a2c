"""What tables take of an event: copies, samples of people, and columns that a condition requires."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from services.processor.parse import Parser, Reject, Row
from services.processor.table_batches import Batcher
from services.shared import schema_file
from services.shared.hit import Hit
from services.shared.schema import Schema
from tests.processor.parsing import NOW, a_hit
from tests.schemas import NEEDED, REJECTS

FILE = f"""
tables:
  events:
    partition: day
    %s
    columns:
{NEEDED}\
      user_id: {{type: STRING, from: param.user_id}}
      anonymous_id: {{type: STRING, from: param.anonymous_id}}
      type: {{type: STRING, from: param.type}}
      url: {{type: STRING, from: param.url}}
      total: {{type: NUMERIC, from: param.total, required_if: {{param.type: [order, refund], url.host: a.example.com}}}}
      tags: {{type: STRING, mode: REPEATED, from: param.tags, required_if: {{param.type: tagged}}}}
      params: {{type: JSON, from: param.*}}
  orders:
    copy: true
    when: {{param.type: order}}
    partition: day
    %s
    columns:
{NEEDED}\
      user_id: {{type: STRING, from: param.user_id}}
      order_id: {{type: STRING, mode: REQUIRED, from: param.order_id}}
      problems: {{type: JSON, from: event.problems}}
      amount: {{type: INT64, from: [param.properties.amount, param.amount]}}
      browser: {{type: STRING, from: agent.browser}}
      rest: {{type: JSON, from: param.*}}
  all_events:
    copy: true
    partition: day
    columns:
{NEEDED}\
      query: {{type: STRING, from: hit.query}}
{REJECTS}"""  # fmt: skip
HALF = "sample: 0.5"


def schema(events: str = "", orders: str = "") -> Schema:
    return schema_file.parse(FILE % (events, orders))


def parsed(one: Hit, tables: Schema | None = None) -> Row:
    result = Parser(tables or schema()).parse(one, NOW)
    assert isinstance(result, Row), result
    return result


def values(row: Row, tables: Schema) -> dict[str, Any]:
    names = [column.name for column in tables.tables[row.table].columns]
    return {name: value for name, value in zip(names, row.values, strict=True) if value not in (None, [])}


# Copies


def test_a_hit_is_a_row_of_its_table_and_of_each_copy_that_takes_it() -> None:
    tables = schema()
    row = parsed(
        a_hit("", {"type": "order", "order_id": "7", "event_id": "e", "properties": {"amount": 3, "a": 1}}), tables
    )
    assert row.table == "events"
    orders, everything = row.copies
    assert isinstance(orders, Row) and isinstance(everything, Row)
    assert (orders.table, everything.table) == ("orders", "all_events")
    found, main = values(orders, tables), values(row, tables)
    assert found["order_id"] == "7" and found["amount"] == 3
    assert all(found[name] == main[name] for name in ("day", "event_id", "received_at"))
    # Each table keeps what its own columns did not take.
    assert json.loads(found["rest"]) == {"type": "order", "properties": {"a": 1}}
    assert json.loads(main["params"]) == {"order_id": "7", "properties": {"amount": 3, "a": 1}}


def test_only_the_copies_whose_conditions_hold_are_made() -> None:
    assert [copy.table for copy in parsed(a_hit("type=view")).copies] == ["all_events"]


def test_problems_of_a_copy_are_its_own() -> None:
    tables = schema()
    row = parsed(a_hit("type=order&order_id=7&amount=many"), tables)
    orders = row.copies[0]
    assert isinstance(orders, Row) and not row.problems
    assert json.loads(values(orders, tables)["problems"])[0]["column"] == "amount"
    assert json.loads(values(orders, tables)["rest"]) == {"type": "order", "amount": "many"}


def test_a_copy_that_does_not_fit_costs_itself_and_says_why() -> None:
    row = parsed(a_hit("type=order"))
    misfit, everything = row.copies
    assert isinstance(misfit, Reject) and isinstance(everything, Row)
    assert (misfit.table, misfit.column, misfit.reason) == ("orders", "order_id", "missing")


def test_a_reject_has_no_copies() -> None:
    result = Parser(schema()).parse(a_hit("type=order&url=https://a.example.com/&order_id=7"), NOW)
    assert isinstance(result, Reject) and result.column == "total"
    found = Batcher(schema(), Parser(schema())).make([a_hit("type=order&url=https://a.example.com/&order_id=7")], NOW)
    assert list(found.batches) == ["rejects"] and not found.copies


def test_batches_hold_rows_and_copies_and_count_them() -> None:
    hits = [a_hit("type=order&order_id=1"), a_hit("type=order&amount=many"), a_hit("type=view")]
    found = Batcher(schema(), Parser(schema())).make(hits, NOW)
    assert {name: batch.num_rows for name, batch in found.batches.items()} == {
        "events": 3,
        "orders": 1,
        "all_events": 3,
    }
    assert found.copies == {"orders": 1, "all_events": 3} and found.misfits == {"orders": 1}
    assert found.sampled_out == [] and not found.left_out and not found.rejects


class _Bent(Parser):
    """Gives copies a value that Arrow refuses."""

    def parse(self, hit: Hit, now: int) -> Row | Reject:
        row = super().parse(hit, now)
        assert isinstance(row, Row)
        copies = [
            msgspec.structs.replace(copy, values=[object(), *copy.values[1:]])
            for copy in row.copies
            if isinstance(copy, Row)
        ]
        return msgspec.structs.replace(row, copies=copies)


def test_a_copy_that_arrow_refuses_costs_itself() -> None:
    found = Batcher(schema(), _Bent(schema())).make([a_hit("type=order&order_id=1"), a_hit("type=view")], NOW)
    assert {name: batch.num_rows for name, batch in found.batches.items()} == {"events": 2}
    assert found.misfits == {"orders": 1, "all_events": 2} and not found.rejects and len(found.faults) == 3


# Samples


def kept(who: str, share: float) -> bool:
    """As the document says it."""
    return int(sha256(who.encode()).hexdigest()[:8], 16) / 2**32 < share


def test_a_sample_keeps_the_same_people_for_ever() -> None:
    tables = schema(HALF)
    for number in range(50):
        assert parsed(a_hit(f"user_id=u{number}&type=a"), tables).sampled_out is not kept(f"u{number}", 0.5)
    # These are written down: another hash would cut every visit in two at the next release.
    assert [number for number in range(12) if kept(f"u{number}", 0.5)] == [2, 3, 5, 6, 9, 10]


def test_about_the_share_is_kept() -> None:
    tables = schema("sample: 0.1")
    parser = Parser(tables)
    rows = [parser.parse(a_hit(f"user_id=u{number}"), NOW) for number in range(2_000)]
    assert 150 <= sum(isinstance(row, Row) and not row.sampled_out for row in rows) <= 250


@pytest.mark.parametrize(
    ("query", "who"),
    [
        ("user_id=u3&anonymous_id=a", "u3"),
        ("anonymous_id=a9", "a9"),
        ("event_id=e5", "e5"),
        ("user_id=&anonymous_id=%C3%BC", "ü"),
    ],
)
def test_people_are_known_by_the_first_id_there_is(query: str, who: str) -> None:
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert parsed(a_hit(query), schema(f"sample: {share}")).sampled_out is not kept(who, share)


def test_what_a_sample_leaves_out_is_counted_and_is_in_no_table() -> None:
    tables = schema(HALF, "sample: 0.25")
    out = next(f"u{number}" for number in range(99) if not kept(f"u{number}", 0.5))
    quarter = next(f"u{number}" for number in range(99) if kept(f"u{number}", 0.25))
    hits = [a_hit(f"user_id={who}&type=order&order_id=1") for who in (out, quarter)]
    found = Batcher(tables, Parser(tables)).make(hits, NOW)
    assert {name: batch.num_rows for name, batch in found.batches.items()} == {
        "events": 1,
        "orders": 1,
        "all_events": 2,  # has no sample
    }
    assert len(found.sampled_out) == 1 and found.left_out == {"events": 1, "orders": 1} and not found.rejects


def test_what_does_not_fit_is_a_reject_whoever_sent_it() -> None:
    tables = schema("sample: 0.000000001")
    result = Parser(tables).parse(a_hit("type=order&url=https://a.example.com/&user_id=u"), NOW)
    assert isinstance(result, Reject)


# Columns that a condition requires


@pytest.mark.parametrize(
    ("query", "column"),
    [
        ("type=order&url=https://a.example.com/", "total"),
        ("type=refund&url=https://a.example.com/&total=", "total"),
        ("type=tagged", "tags"),
        ("type=tagged&tags=", "tags"),
    ],
)
def test_what_is_required_and_missing_is_a_reject_that_names_column_and_condition(query: str, column: str) -> None:
    result = Parser(schema()).parse(a_hit(query), NOW)
    assert isinstance(result, Reject) and (result.reason, result.table, result.column) == ("missing", "events", column)
    assert (
        result.detail
        == {
            "total": "no value in param.total, which is required if param.type is order or refund and url.host is "
            "a.example.com",
            "tags": "no value in param.tags, which is required if param.type is tagged",
        }[column]
    )


@pytest.mark.parametrize("query", ["type=order", "type=view&url=https://a.example.com/", "type=tagged&tags=a", ""])
def test_where_the_condition_does_not_hold_a_column_may_be_empty(query: str) -> None:
    parsed(a_hit(query))


def test_a_value_that_does_not_fit_is_a_reject_only_where_the_column_is_required() -> None:
    result = Parser(schema()).parse(a_hit("type=order&url=https://a.example.com/&total=lots"), NOW)
    assert isinstance(result, Reject)
    assert (result.reason, result.column, result.value) == ("wrong_type", "total", "lots")
    assert [problem.column for problem in parsed(a_hit("type=view&total=lots")).problems] == ["total"]
