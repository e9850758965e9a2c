"""The examples of docs/schema.md are read as the services read them, and do what the text beside them says."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest
import yaml

from services.processor.parse import Parser, Reject, Row
from services.shared import schema_file
from services.shared.schema import Schema
from tests.docs import schema_file as document
from tests.docs.test_json_schema import problems
from tests.emulators.bigquery import oracle
from tests.process import ROOT
from tests.processor.parsing import NOW, a_hit

TEXT = (ROOT / "docs" / "schema.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
MORE = {name: {"type": "STRING", "from": f"param.{name}"} for name in ("tenant", "user_id", "type", "url")}


def whole(example: str) -> str:
    """The example in a file that has what it leaves out."""
    given = yaml.safe_load(textwrap.dedent(example)) or {}
    found: dict[str, Any] = yaml.safe_load(document._GOOD)
    if "tables" in given:
        columns = found["tables"].pop("events")["columns"]
        rejects = found["tables"].pop("rejects")
        for name, table in given["tables"].items():
            own = {key: value for key, value in (table or {}).items() if key != "columns"}
            mine = (table or {}).get("columns", {})
            rest = {key: one for key, one in {**MORE, **columns}.items() if key not in mine and key != "params"}
            found["tables"][name] = {
                "partition": "day",
                **own,
                "columns": {**rest, "params": columns["params"], **mine},
            }
        found["tables"]["rejects"] = rejects
    elif "privacy" in given or "lookups" in given:
        found |= given
    else:
        columns = found["tables"]["events"]["columns"]
        found["tables"]["events"]["columns"] = {**MORE, **columns, **given}
    if "from: lookup." in example:
        (lookups,) = (one for one in EXAMPLES if one.startswith("lookups:"))
        found |= yaml.safe_load(lookups)
    return yaml.safe_dump(found, sort_keys=False)


def schema(part: str) -> Schema:
    """Of the one example that has this in it."""
    (example,) = (one for one in EXAMPLES if part in one)
    return schema_file.parse(whole(example))


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_can_be_used(example: str) -> None:
    text = whole(example)
    assert schema_file.parse(text).tables
    assert problems(text) == []


def test_an_order_without_its_total_is_a_reject_and_a_view_is_not() -> None:
    parser = Parser(schema("required_if"))
    assert isinstance(parser.parse(a_hit("type=view"), NOW), Row)
    refused = parser.parse(a_hit("type=order"), NOW)
    assert isinstance(refused, Reject)
    assert refused.detail == "no value in param.total, which is required if param.type is order or refund"


def test_an_order_is_a_row_of_both_tables() -> None:
    row = Parser(schema("events: {}")).parse(a_hit("type=order&user_id=ada"), NOW)
    assert isinstance(row, Row) and [row.table, *(copy.table for copy in row.copies)] == ["events", "orders"]


def test_orders_are_all_there_and_a_tenth_of_the_visitors() -> None:
    parser = Parser(schema("sample:"))
    made = [parser.parse(a_hit(f"type=order&user_id=u{number}"), NOW) for number in range(1_000)]
    kept = [row for row in made if isinstance(row, Row) and not row.sampled_out]
    assert 70 < len(kept) < 130
    assert all(isinstance(row, Row) and isinstance(copy, Row) for row in made for copy in row.copies)


def test_the_sql_of_the_sample_says_who_is_kept() -> None:
    (sql,) = (one for one in re.findall(r"^```sql\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL) if "SHA256" in one)
    parser = Parser(schema("sample:"))
    for who in ("ada", "grace", *(f"u{number}" for number in range(30))):
        ((kept,),) = oracle.oracle().evaluate(sql.replace("'ada'", f"'{who}'"))
        row = parser.parse(a_hit(f"user_id={who}"), NOW)
        assert isinstance(row, Row) and row.sampled_out is not kept
