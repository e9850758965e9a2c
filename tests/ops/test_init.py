"""`python -m services.ops init`: a schema file with columns for what events bring; names and counts, never values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ops import observed, schema_text, suggested
from services.ops.observed import Observed
from services.ops.suggested import Suggestions
from services.processor.parse import Parser, Row
from services.shared import hit, identity, schema_file
from services.shared.schema_file import parse
from tests.ops import schemas
from tests.ops.conftest import Pipeline
from tests.schemas import SCHEMA_FILE

TABLE = parse(schemas.text()).tables["events"]


def seen(*rows: Any) -> Observed:
    found = Observed()
    for row in rows:
        found.add(row if row is None else json.dumps(row))
    return found


def suggest(found: Observed, **options: Any) -> Suggestions:
    given = {"least_share": 0.0, "most": 100, "is_secret": lambda path: False, **options}
    return suggested.suggest(found, TABLE, **given)


def columns(*rows: Any, **options: Any) -> dict[str, str]:
    """What is suggested: the name of each column, and its type as SQL has it."""
    made = suggest(seen(*rows), **options).columns
    return {one.name: f"ARRAY<{one.type}>" if one.repeated else one.type for one in made}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, "2", -3], "INT64"),
        (["0", "1"], "INT64"),
        ([True, "false"], "BOOL"),
        (["true", "yes"], "STRING"),
        ([1, 2.5, "10.00"], "NUMERIC"),
        ([0.123456, "1e5"], "FLOAT64"),
        ([2**63, 1], "NUMERIC"),
        (["2026-03-01T10:00:00Z", "2026-03-01 10:00:00+01:00"], "TIMESTAMP"),
        (["2026-03-01", "2026-03-02"], "DATE"),
        (["2026-03-01T10:00:00", "2026-03-01 10:00:00"], "DATETIME"),
        ([1_772_359_200, "1772359200000"], "INT64"),
        (["007", "012"], "STRING"),
        (["a", "1"], "STRING"),
        (["x" * 100_000, "9" * 100_000], "STRING"),
        ([{"deep": 1}, "text"], "JSON"),
        ([[1, "2"], [3]], "ARRAY<INT64>"),
        (["[1,2]", "[3]"], "ARRAY<INT64>"),
        (['{"a": 1}', '{"a": 2}'], "JSON"),
        ([[], []], "JSON"),
        ([["a", {"b": 1}], ["c"]], "JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_type_is_the_narrowest_that_the_values_fit(values: list[Any], kind: str) -> None:
    assert columns(*({"v": value} for value in values)) == {"v": kind}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("order_id", "STRING"), ("zip", "STRING"), ("skuCode", "STRING"), ("paid", "INT64"), ("width", "INT64")],
)
def test_digits_that_are_a_label_stay_text(name: str, kind: str) -> None:
    assert columns(*({name: number} for number in (10_115, "20095"))) == {name: kind}


def test_numbers_that_are_times_by_their_name() -> None:
    rows = [{"created_at": 1_772_359_200, "clickTs": 1_772_359_200_000, "at": 5}] * 2
    assert columns(*rows) == {"at": "INT64", "clickTs": "TIMESTAMP", "created_at": "TIMESTAMP"}


def test_objects_are_paths_and_lists_of_simple_objects_are_structs() -> None:
    items = [{"sku": "a", "price": 1.5, "no": True}, {"sku": "b", "price": "2"}]
    row = {"properties": {"total": 3, "page": {"width": 80}, "items": items}, "deep": [{"a": {"b": 1}}]}
    made = suggest(seen(row, row)).columns
    assert {one.name: one.path for one in made} == {
        "total": "properties.total",
        "page_width": "properties.page.width",
        "items": "properties.items",
        "deep": "deep",
    }
    by_name = {one.name: one for one in made}
    assert by_name["deep"].type == "JSON"
    assert by_name["items"].fields == (("sku", "STRING"), ("price", "NUMERIC"), ("no", "BOOL"))
    assert by_name["items"].line(2) == (
        "items: {type: STRUCT, mode: REPEATED, from: param.properties.items, "
        'fields: {sku: {type: STRING}, price: {type: NUMERIC}, "no": {type: BOOL}}}  # 2 of 2 rows, 100.0 %'
    )


def test_names_that_are_taken_get_more_words() -> None:
    row = {"properties": {"n": 1, "day": "x", "param_day": 1}, "context": {"day": 2}, "event_id": "e"}
    assert columns(row, row) == {
        "context_day": "INT64",
        "param_event_id": "STRING",
        "properties_day": "STRING",
        "properties_n": "INT64",
        "param_day": "INT64",
    }


def test_what_is_rare_unsafe_secret_or_a_column_already_is_left_out() -> None:
    rows = [{"often": 1, "ada@example.com": 1, "x y": 2, "pin": 3, "n": "many", "user_id": 1}] * 98
    made = suggest(seen(*rows, {"once": 1}, None), least_share=0.05, is_secret=lambda path: path == "pin")
    assert [one.line(100) for one in made.columns] == [
        "often: {type: INT64, from: param.often}  # 98 of 100 rows, 98.0 %"
    ]
    assert made.left_out == {"values under names that are not plain": 196, "secrets": 1, "too rare": 1}


def test_a_value_of_another_type_in_a_hundred_changes_nothing() -> None:
    rows = [{"v": number} for number in range(199)]
    (column,) = suggest(seen(*rows, {"v": "many"})).columns
    assert (column.type, column.misfits) == ("INT64", 1)
    assert column.line(200).endswith("# 200 of 200 rows, 100.0 %; 1 values do not fit")
    assert columns(*rows[:20], {"v": "many"}) == {"v": "STRING"}


def test_a_map_whose_names_are_values_is_one_column() -> None:
    assert columns(*({"by_user": {f"user_{n}": 1}} for n in range(observed.MOST_MEMBERS + 5))) == {"by_user": "JSON"}


def test_there_are_bounds_to_what_a_stranger_can_have_counted() -> None:
    found = seen(*({f"n{n}_{m}": 1 for m in range(1_000)} for n in range(10)))
    assert found.is_full and len(found.root.members) == observed.MOST_NAMES
    assert len(suggest(seen({f"n{n}": 1 for n in range(300)}, {f"n{n}": 1 for n in range(300)}), most=7).columns) == 7
    deep: Any = 1
    for _ in range(50):
        deep = {"a": deep}
    assert columns(deep, deep) == {"_".join("a" * observed.DEEPEST): "JSON"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aB_1.- é", max_size=5), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.text("aBn_1.- é", max_size=4), JSON_VALUES, max_size=4), max_size=4)


@settings(max_examples=80, deadline=None)
@given(ROWS)
def test_whatever_comes_what_is_written_is_a_schema_file(rows: list[dict[str, Any]]) -> None:
    found = seen(*rows, *rows)
    lines = [one.line(found.rows) for one in suggest(found).columns]
    written = schema_text.insert(schemas.text(), "schema.yaml", {"events": lines})
    table = parse(written).tables["events"]
    assert len(table.columns) == len(TABLE.columns) + len(lines)
    assert [one.name for one in table.columns][-1] == "params"


def test_the_files_own_lines_stay_as_they_are() -> None:
    text = SCHEMA_FILE.read_text()
    written = schema_text.insert(text, "schema.yaml", {"events": ["a: {type: STRING, from: param.a}", "# b"]})
    lines = written.split("\n")
    at = lines.index("      a: {type: STRING, from: param.a}")
    assert lines[at + 1] == "      # b" and lines[at + 2].startswith("      params:")
    assert lines[:at] + lines[at + 2 :] == text.split("\n")


def test_tables_that_share_their_columns_get_them_once() -> None:
    text = schemas.text().replace("  events:\n", "  clicks:\n    when: {param.type: click}\n", 1)
    text = text.replace("    columns:", "    columns: &own", 1)
    text = text.replace("\n  rejects:", "\n  events:\n    partition: day\n    columns: *own\n  rejects:", 1)
    assert schema_text.tables(text, "f") == {"clicks": "params", "events": "params"}
    line = "a: {type: STRING, from: param.a}"
    written = schema_text.insert(text, "f", {"clicks": [line], "events": [line]})
    assert written.count(line) == 1 and parse(written).tables["events"].column("a")


def test_columns_in_braces_leave_no_place() -> None:
    text = "tables: {events: {partition: day, columns: {params: {type: JSON, from: param.*}}}}"
    with pytest.raises(schema_text.NoPlace, match="table events: its columns stand in"):
        schema_text.insert(text, "f", {"events": ["a: {}"]})


PROBLEM = {"column": "n", "reason": "wrong_type", "detail": "SECRETVALUE", "value": "SECRETVALUE"}


def stored(pipeline: Pipeline) -> None:
    pipeline.provision(schemas.text("problems: {type: JSON, from: event.problems}"))
    items = [{"sku": "SECRETVALUE", "price": "1.50"}]
    params = {
        "total": "12.50",
        "properties": {"width": 80, "items": items},
        "SECRETVALUE@x.org": 1,
        "name": "SECRETVALUE",
    }
    rows = [schemas.row(f"e{n}", params=params, problems=[PROBLEM, {"column": "SECRETVALUE"}]) for n in range(20)]
    rows += [schemas.row("bare"), schemas.row("large", params={"big": "x" * 70_000})]
    rows += [schemas.row("old", day=schemas.DAY.replace(day=1, month=2), params={"old": 1})]
    pipeline.load("events", rows)


def test_a_day_of_events_becomes_a_schema_file_that_takes_them(pipeline: Pipeline) -> None:
    stored(pipeline)
    done = pipeline.ops("init", "--since", schemas.DAY.isoformat())
    assert done.err.startswith("init: events: 22 events, 4 columns suggested")
    assert "SECRETVALUE" not in done.out + done.err and "big" not in done.out and "old" not in done.out
    assert "      # n: 20 values did not fit (wrong_type)\n" in done.out
    assert "      total: {type: NUMERIC, from: param.total}  # 20 of 22 rows, 90.9 %\n" in done.out
    made = schema_file.parse(done.out)
    names = [column.name for column in made.tables["events"].columns]
    assert names[-5:] == ["name", "items", "width", "total", "params"]
    one = hit.Hit(
        identity.uuid7(1_772_359_200_000_000),
        1_772_359_200_000_000,
        "GET",
        "/i",
        "user_id=ada&total=9.50&properties=%7B%22width%22%3A80%7D&name=Ada",
    )
    row = Parser(made).parse(one, one.at)
    assert isinstance(row, Row)
    values = dict(zip(names, row.values, strict=True))
    assert (str(values["total"]), values["name"]) == ("9.500000000", "Ada")
    said = pipeline.ops("init", "--since", schemas.DAY.isoformat(), "--json").json
    assert said["schema"] == done.out
    assert said["tables"]["events"]["events"] == 22 and "total" in said["tables"]["events"]["columns"]
    pipeline.file.write_text(done.out)
    assert "new column total NUMERIC" in pipeline.ops("check", str(pipeline.file), "--against", "live").out


def test_it_is_bounded_and_says_what_it_left_out(pipeline: Pipeline) -> None:
    stored(pipeline)
    done = pipeline.ops("init", "--since", "2026-01-01", "--rows", "5", "--columns", "1")
    assert "init: events: 5 events, 1 columns suggested" in done.err and "over the 1 most frequent" in done.err
    assert done.out == pipeline.ops("init", "--since", "2026-01-01", "--rows", "5", "--columns", "1").out
    done = pipeline.ops("init", "--since", "2026-05-01")
    assert done.err == "init: events: no events since 2026-05-01\n" and done.out == pipeline.file.read_text()


def test_what_cannot_be_done_is_one_line(pipeline: Pipeline) -> None:
    done = pipeline.ops("init", "--dataset", "nowhere", code=1)
    assert done.err.startswith("init: failed: ") and len(done.err.splitlines()) == 1 and done.out == ""
    pipeline.file.write_text(schemas.text().replace("      params: {type: JSON, from: param.*}\n", ""))
    done = pipeline.ops("init", code=1)
    assert "no table has a column from param.*" in done.err and len(done.err.splitlines()) == 1
