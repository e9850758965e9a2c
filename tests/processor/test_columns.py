"""Columns that say what people mean: paths, lists and objects, transformations, and values that do not fit."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.processor.parse import PROBLEMS, Parser, Reject, Row
from services.processor.table_batches import Batcher
from services.shared import rows, schema_file
from tests.processor.parsing import NOW, a_hit
from tests.schemas import NEEDED, REST, a_file

CART = """
      cart:
        type: STRUCT
        mode: REPEATED
        from: [param.properties.products, param.items]
        fields:
          sku: {type: STRING, mode: REQUIRED, from: [product_id, sku]}
          price: {type: NUMERIC, transform: [{round: 2}, {min: 0}]}
          tags: {type: STRING, mode: REPEATED, transform: lower}
          maker: {type: STRING, from: maker.name}
"""


def parser(columns: str) -> Parser:
    return Parser(schema_file.parse(a_file(columns + REST)))


def read(columns: str, query: str = "", body: Any = None) -> dict[str, Any]:
    """The row's values that there are, without those that every row has; `problems` and `params` decoded."""
    schema = schema_file.parse(a_file(columns + REST))
    result = Parser(schema).parse(a_hit(query, body), NOW)
    assert isinstance(result, Row), result
    table = schema.tables["events"]
    values = {column.name: value for column, value in zip(table.columns, result.values, strict=True)}
    for name in ("day", "event_id", "received_at"):
        del values[name]
    for name in ("problems", "params"):
        values[name] = json.loads(values[name]) if values[name] else None
    return {name: value for name, value in values.items() if value not in (None, [])}


def one(spec: str, value: Any) -> Any:
    """What a column makes of the parameter `a` of a posted event."""
    return read(f"      x: {spec}\n", body={"a": value}).get("x")


def problem(spec: str, value: Any) -> tuple[str, str]:
    found = read(f"      x: {spec}\n", body={"a": value})
    assert "x" not in found
    (only,) = found["problems"]
    assert found["params"] == {"a": value}
    return only["reason"], only["detail"]


# Values that do not fit


def test_one_optional_value_that_does_not_fit_costs_itself_and_is_explained() -> None:
    columns = "      n: {type: INT64, from: param.n}\n      t: {type: TIMESTAMP, from: param.t}\n"
    found = read(columns, "n=many&t=yesterday&title=hi")
    assert found["params"] == {"n": "many", "t": "yesterday", "title": "hi"}
    assert [(one["column"], one["reason"], one["value"]) for one in found["problems"]] == [
        ("n", "wrong_type", "many"),
        ("t", "wrong_type", "yesterday"),
    ]


def test_a_column_may_say_that_it_costs_the_event() -> None:
    result = parser("      n: {type: INT64, from: param.n, on_error: reject}\n").parse(a_hit("n=many"), NOW)
    assert isinstance(result, Reject) and (result.column, result.reason, result.value) == ("n", "wrong_type", "many")


def test_problems_are_bounded_and_their_values_cut() -> None:
    found = read("      n: {type: INT64, mode: REPEATED, from: param.n}\n", body={"n": ["x" * 1000] * 200})
    assert len(found["problems"]) == 50 and all(len(one["value"]) == 256 for one in found["problems"])


def test_a_row_says_its_problems_for_the_metric() -> None:
    result = parser("      n: {type: INT64, from: param.n}\n").parse(a_hit("n=many"), NOW)
    assert isinstance(result, Row) and [(one.column, one.reason) for one in result.problems] == [("n", "wrong_type")]


# Paths


@pytest.mark.parametrize(
    ("posted", "value", "left"),
    [
        ({"properties": {"total": 3, "tax": 1}}, 3, {"properties": {"tax": 1}}),
        ({"properties": {"total": 3}}, 3, None),
        ({"properties.total": 4, "properties": {"total": 3}}, 4, {"properties": {"total": 3}}),
        ({"properties": {"total": None}}, None, {"properties": {"total": None}}),
        ({"properties": {"total": ""}}, None, {"properties": {"total": ""}}),
        ({"properties": [3]}, None, {"properties": [3]}),
        ({"properties": "3"}, None, {"properties": "3"}),
        ({"total": 3}, None, {"total": 3}),
    ],
)
def test_a_path_finds_a_value_inside_objects_and_takes_it_from_what_is_left(posted: Any, value: Any, left: Any) -> None:
    found = read("      total: {type: INT64, from: param.properties.total}\n", body=posted)
    assert (found.get("total"), found.get("params")) == (value, left)


def test_a_members_name_may_have_dots() -> None:
    columns = "      v: {type: INT64, from: param.context.app.build.no}\n"
    assert read(columns, body={"context": {"app.build.no": 7}}) == {"v": 7}
    assert read(columns, body={"context": {"app": {"build.no": 7}}}) == {"v": 7}


def test_two_paths_into_one_object_leave_the_event_as_it_was() -> None:
    columns = "      a: {type: INT64, from: param.p.a}\n      b: {type: INT64, from: param.p.b}\n"
    columns += "      p: {type: JSON, from: param.q}\n"
    assert read(columns, body={"p": {"a": 1, "b": 2, "c": {"d": 3}}}) == {
        "a": 1,
        "b": 2,
        "params": {"p": {"c": {"d": 3}}},
    }


def test_a_condition_may_follow_a_path() -> None:
    text = a_file(REST)
    text = text.replace(
        "  events:\n",
        f"  orders:\n    when: {{param.properties.kind: order}}\n    partition: day\n    columns:\n{NEEDED}  events:\n",
        1,
    )
    parse = Parser(schema_file.parse(text)).parse
    rows_of = [parse(a_hit("", {"properties": {"kind": kind}}), NOW) for kind in ("order", "view")]
    assert [row.table for row in rows_of if isinstance(row, Row)] == ["orders", "events"]


# Lists and objects


def test_an_array_of_objects_becomes_an_array_of_structs() -> None:
    products = [
        {"product_id": "a", "price": 3.3000000000000003, "tags": ["New", None, "RED"], "maker": {"name": "Acme"}},
        {"sku": "b", "price": "7", "tags": "Old"},
    ]
    found = read(CART, body={"properties": {"products": products, "total": 10}})
    assert found["cart"] == [
        {"sku": "a", "price": Decimal("3.3"), "tags": ["new", "red"], "maker": "Acme"},
        {"sku": "b", "price": Decimal(7), "tags": ["old"], "maker": None},
    ]
    assert [(one["column"], one["reason"]) for one in found["problems"]] == [("cart.tags[1]", "null_element")]
    assert found["params"]["properties"]["total"] == 10


def test_what_a_struct_does_not_take_stays_among_the_parameters() -> None:
    whole = [{"sku": "a", "price": 1}]
    assert "params" not in read(CART, body={"items": whole})
    more = [{"sku": "a", "price": 1, "colour": "red"}]
    found = read(CART, body={"items": more})
    assert found["cart"][0]["sku"] == "a" and found["params"] == {"items": more}


def test_an_element_that_does_not_fit_is_left_out_and_explained() -> None:
    items = [{"sku": "a", "price": -1}, {"price": 2}, "c", None, {"sku": "d", "price": "dear"}]
    found = read(CART, body={"items": items})
    assert [(one["sku"], one["price"]) for one in found["cart"]] == [("a", None), ("d", None)]
    assert [(one["column"], one["reason"]) for one in found["problems"]] == [
        ("cart.price", "out_of_range"),
        ("cart[1]", "missing"),
        ("cart[2]", "wrong_type"),
        ("cart[3]", "null_element"),
        ("cart.price", "wrong_type"),
    ]
    assert found["params"] == {"items": items}


def test_one_object_alone_is_a_list_of_one_and_text_in_a_query_string_is_json() -> None:
    assert read(CART, body={"items": {"sku": "a"}})["cart"][0]["sku"] == "a"
    assert read(CART, urlencode({"items": '[{"sku": "a"}, {"sku": "b"}]'}))["cart"][1]["sku"] == "b"
    assert read(CART, "items=nothing")["problems"][0]["reason"] == "wrong_type"
    assert read(CART, "items=[oops")["problems"][0]["reason"] == "wrong_type"


def test_what_comes_again_in_a_query_string_is_a_list() -> None:
    columns = "      tag: {type: STRING, mode: REPEATED, from: param.tag}\n"
    assert read(columns, "tag=a&tag=b&tag=c&x=1") == {"tag": ["a", "b", "c"], "params": {"x": "1"}}
    assert read(columns, "tag=a") == {"tag": ["a"]}


def test_objects_of_fifty_levels_for_a_flat_struct_are_a_problem_not_a_fault() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"sku": deep}
    found = read(CART, body={"items": deep})
    assert found["problems"][0]["reason"] == "wrong_type" and found["params"] == {"items": deep}


def test_an_array_has_at_most_ten_thousand_elements() -> None:
    found = read("      n: {type: INT64, mode: REPEATED, from: param.n}\n", body={"n": [1] * 10_001})
    assert "n" not in found and found["problems"][0]["reason"] == "out_of_range"


# Transformations


@pytest.mark.parametrize(
    ("kind", "steps", "sent", "value"),
    [
        ("STRING", "[trim, lower]", "  Ada@Example.COM ", "ada@example.com"),
        ("STRING", "collapse", " a \t b\n", "a b"),
        ("STRING", "upper", "de", "DE"),
        ("STRING", "[trim, lower, sha256]", " ADA ", hashlib.sha256(b"ada").hexdigest()),
        ("STRING", "[trim, sha256]", " ", None),
        ("STRING", "sha256", "é", hashlib.sha256("é".encode()).hexdigest()),
        ("STRING", "[{default: none}]", None, "none"),
        ("STRING", "[{default: none}]", "", "none"),
        ("STRING", "[{map: {m: mobile, d: desktop}}]", "m", "mobile"),
        ("STRING", "[{map: {m: mobile, '*': other}}]", "x", "other"),
        ("STRING", "[{map: {'1': one}}]", 1, "one"),
        ("STRING", "[{regex: '^([0-9]+)-'}]", "42-b", "42"),
        ("STRING", "[{regex: 'b+'}]", "abbbc", "bbb"),
        ("STRING", "[{regex: 'z'}]", "abc", None),
        ("STRING", "[{max_length: 3}]", "abcdef", "abc"),
        ("INT64", "[{regex: '[0-9]+'}, {min: 1}, {max: 50}]", "item 42", 42),
        ("NUMERIC", "[{round: 1}]", 2.25, Decimal("2.3")),
        ("NUMERIC", "[{round: 1}]", -2.25, Decimal("-2.3")),
        ("FLOAT64", "[{round: 2}]", 0.125, 0.13),
        ("INT64", "[{round: 0}]", 7, 7),
        ("STRING", "url.host", "https://Shop.example.com:8443/a?b=c", "shop.example.com"),
        ("STRING", "url.path", "https://shop.example.com/a/b?c=d", "/a/b"),
        ("STRING", "url.query.utm_source", "https://x.example/?utm_source=mail%20list", "mail list"),
        ("STRING", "url.query.utm_source", "https://x.example/?a=b", None),
        ("STRING", "url.host", "http://[", None),
        ("TIMESTAMP", "[{time_zone: Europe/Berlin}]", "2026-07-01 12:00:00", 1_782_900_000_000_000),
        ("TIMESTAMP", "[{time_zone: Europe/Berlin}]", "2026-07-01T12:00:00Z", 1_782_907_200_000_000),
        ("TIMESTAMP", "[{time_zone: Europe/Berlin}]", "2026-07-01", 1_782_856_800_000_000),
        ("TIMESTAMP", "[{time_zone: Europe/Berlin}]", 1_782_907_200, 1_782_907_200_000_000),
    ],
)
def test_steps_make_of_a_value_what_they_say(kind: str, steps: str, sent: Any, value: Any) -> None:
    assert one(f"{{type: {kind}, from: param.a, transform: {steps}}}", sent) == value


@pytest.mark.parametrize(
    ("kind", "steps", "sent", "detail"),
    [
        ("STRING", "[{map: {m: mobile}}]", "x", "not among the values of the column's `map`"),
        ("INT64", "[{min: 1}]", 0, "below 1, the column's `min`"),
        ("NUMERIC", "[{max: 9.99}]", "10", "above 9.99, the column's `max`"),
    ],
)
def test_what_a_bound_excludes_is_a_problem(kind: str, steps: str, sent: Any, detail: str) -> None:
    assert problem(f"{{type: {kind}, from: param.a, transform: {steps}}}", sent) == ("out_of_range", detail)


def test_a_text_is_split_and_the_steps_after_it_work_on_each_part() -> None:
    spec = "{type: STRING, mode: REPEATED, from: param.a, transform: [{split: ','}, trim, lower]}"
    assert one(spec, "A, b,,C ") == ["a", "b", "c"]
    assert one("{type: INT64, mode: REPEATED, from: param.a, transform: [{split: ','}]}", "1,2") == [1, 2]


def test_a_step_works_on_headers_and_enrichments_too() -> None:
    columns = "      ua: {type: STRING, from: header.user-agent, transform: [lower, {max_length: 4}]}\n"
    schema = schema_file.parse(a_file(columns + REST))
    result = Parser(schema).parse(a_hit("a=1", headers={"user-agent": "MOZILLA"}), NOW)
    assert isinstance(result, Row) and "mozi" in result.values


# Types


@pytest.mark.parametrize(
    ("kind", "sent", "value"),
    [
        ("DATETIME", "2026-03-01 12:30:00", 1_772_368_200_000_000),
        ("DATETIME", "2026-03-01T12:30:00.1234567", 1_772_368_200_123_456),
        ("DATETIME", "2026-03-01", 1_772_323_200_000_000),
        ("TIME", "23:59:59.5", 86_399_500_000),
        ("TIME", "07:30", 27_000_000_000),
        ("BYTES", "aGk=", b"hi"),
        ("BYTES", "_-8", b"\xff\xef"),
        ("BIGNUMERIC", "1e37", Decimal(10) ** 37),
        ("BIGNUMERIC", "0.12345678901234567890", Decimal("0.12345678901234567890")),
    ],
)
def test_a_type_takes_what_its_table_lists(kind: str, sent: Any, value: Any) -> None:
    assert one(f"{{type: {kind}, from: param.a}}", sent) == value


@pytest.mark.parametrize(
    ("kind", "sent", "reason"),
    [
        ("DATETIME", "2026-03-01T12:30:00Z", "wrong_type"),
        ("DATETIME", "2026-02-30 00:00:00", "out_of_range"),
        ("DATETIME", 1_772_323_200, "wrong_type"),
        ("TIME", "24:00", "out_of_range"),
        ("TIME", "noon", "wrong_type"),
        ("BYTES", "a", "wrong_type"),
        ("BYTES", 7, "wrong_type"),
        ("BIGNUMERIC", "1e39", "out_of_range"),
        ("BIGNUMERIC", "much", "wrong_type"),
    ],
)
def test_a_type_refuses_everything_else(kind: str, sent: Any, reason: str) -> None:
    assert problem(f"{{type: {kind}, from: param.a}}", sent)[0] == reason


ALL = CART + "".join(
    f"      {kind.lower()}_{mode.lower()}: {{type: {kind}, mode: {mode}, from: [param.a, param.b.c]}}\n"
    for kind in (
        "STRING",
        "INT64",
        "FLOAT64",
        "BOOL",
        "TIMESTAMP",
        "DATE",
        "DATETIME",
        "TIME",
        "NUMERIC",
        "BIGNUMERIC",
        "BYTES",
        "JSON",
    )
    for mode in ("NULLABLE", "REPEATED")
)
SCHEMA = schema_file.parse(a_file(ALL + REST))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
    | st.sampled_from(["2026-03-01", "12:30", "aGk=", "1e30", "2026-03-01 12:00:00"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "c", "sku", "price"]), inner),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "items", "properties"]), JSON, max_size=4))
def test_whatever_is_posted_becomes_a_row_that_arrow_takes(posted: Any) -> None:
    made = Batcher(SCHEMA, Parser(SCHEMA)).make([a_hit("", posted)], NOW)
    assert not made.faults and not made.unplaced and not made.rejects
    (batch,) = made.batches.values()
    batch.validate(full=True)
    data, attributes = rows.pack(batch, "events", "x")
    assert rows.unpack(data, attributes) == batch
    noted = json.loads(batch.column("problems")[0].as_py() or "[]")
    assert {one["reason"] for one in noted} <= set(PROBLEMS)


@pytest.mark.parametrize(
    ("column", "query", "value", "left"),
    [
        ("{type: STRING, from: param.a, transform: lower}", "a=X&a=Y", "x", {"a": "Y"}),
        (
            "{type: STRUCT, from: param.a, fields: {n: {type: INT64}}}",
            'a={"n":1}&a={"n":2}',
            {"n": 1},
            {"a": '{"n":2}'},
        ),
        ("{type: STRING, mode: REPEATED, from: param.a}", "a=X&a=Y", ["X", "Y"], None),
    ],
)
def test_what_comes_again_stays_where_a_column_takes_one(column: str, query: str, value: Any, left: Any) -> None:
    found = read(f"\n      taken: {column}\n", query)
    assert (found["taken"], found.get("params")) == (value, left)


def test_fifty_levels_where_a_struct_is_flat_cost_a_value_and_not_the_event() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"n": deep}
    flat = "      p: {type: STRUCT, from: param.properties, fields: {n: {type: INT64}, m: {type: STRING}}}\n"
    found = read(flat, body={"properties": {**deep, "m": "x"}})
    assert found["p"] == {"n": None, "m": "x"} and found["params"] == {"properties": {**deep, "m": "x"}}
    (problem,) = found["problems"]
    assert (problem["column"], problem["reason"]) == ("p.n", "wrong_type") and len(problem["value"]) <= 256
    path = "      x: {type: INT64, from: param.properties." + ".".join(["n"] * 50) + "}\n"
    assert read(path, body={"properties": deep})["x"] == 1
