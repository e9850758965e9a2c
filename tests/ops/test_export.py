"""`python -m services.ops export`: LookML as its parser reads it, and sources.yml as dbt does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lkml
import pytest
import yaml

from services.ops.__main__ import main
from services.ops.exported import Exported, exported
from services.shared import schema_file
from services.shared.schema import DEFAULT_FILE
from tests.provision import schemas

CART = (
    'Total: {type: NUMERIC, from: param.total, description: "What it \\"cost\\": {{ not a template }}"}',
    "n: {type: INT64, from: param.n}",
    "count: {type: STRING, from: param.count}",
    "at: {type: DATETIME, from: param.at}",
    "raw: {type: BYTES, from: param.raw}",
    "clock: {type: TIME, from: param.clock}",
    "ok: {type: BOOL, from: param.ok}",
    "user_id: {type: STRING, from: param.user_id}",
    "tags: {type: STRING, mode: REPEATED, from: param.tags}",
    "place: {type: STRUCT, from: param.place, fields: {city: {type: STRING, from: city}}}",
    "items: {type: STRUCT, mode: REPEATED, from: param.items, fields: {sku: {type: STRING, from: sku}, "
    "price: {type: NUMERIC, from: price}, sizes: {type: INT64, mode: REPEATED, from: sizes}}}",
    "params: {type: JSON, from: param.*}",
)


def export(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["export", *arguments, "--project", "my-project"]) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.out if not code else said.err


@pytest.fixture
def cart(tmp_path: Path) -> str:
    file = tmp_path / "schema.yaml"
    file.write_text(schemas.text(*CART, views="all"))
    return str(file)


def lookml(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The model, and the views by name."""
    found: dict[str, dict[str, Any]] = {}
    for path in (folder / "views").iterdir():
        found |= {view["name"]: view for view in lkml.load(path.read_text())["views"]}
    return dict(lkml.load((folder / "pixelpipe.model.lkml").read_text())), found


def names(view: dict[str, Any]) -> set[str]:
    """Of what a column became."""
    return {one["name"] for kind in ("dimensions", "dimension_groups") for one in view.get(kind, ())}


@pytest.mark.parametrize("file", ["default", "cart"])
def test_every_column_of_every_view_is_in_both(
    file: str, cart: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cart if file == "cart" else str(DEFAULT_FILE)
    wanted = exported(schema_file.load(Path(path)))
    assert len(wanted) > 10 and "funnel" not in {one.name for one in wanted}
    for kind in ("lookml", "dbt"):
        export(capsys, kind, "--schema", path, "--to", str(tmp_path / kind))
    model, views = lookml(tmp_path / "lookml")
    assert [one["name"] for one in model["explores"]] == [one.name for one in wanted]
    (source,) = yaml.safe_load((tmp_path / "dbt" / "sources.yml").read_text())["sources"]
    assert (source["database"], source["schema"]) == ("my-project", "pixelpipe")
    assert [one["name"] for one in source["tables"]] == [one.name for one in wanted]
    for one, table in zip(wanted, source["tables"], strict=True):
        _check(one, table, views[one.name])


def _check(one: Exported, table: dict[str, Any], view: dict[str, Any]) -> None:
    assert view["sql_table_name"] == f"`my-project.pixelpipe.{one.name}`"
    columns = {column["name"]: column for column in table["columns"]}
    assert [*columns] == [field.name for field in one.fields]
    for field in one.fields:
        assert columns[field.name]["data_type"] == field.data_type
        assert ("data_tests" in columns[field.name]) == (field.required and bool(one.key))
    plain = {field.name.lower() for field in one.fields if not field.fields or field.repeated}
    assert plain <= names(view)
    dimensions = [name for kind in ("dimensions", "dimension_groups", "measures") for name in view.get(kind, ())]
    assert len({each["name"] for each in dimensions}) == len(dimensions)
    assert sum(each.get("primary_key") == "yes" for each in dimensions) == bool(one.key)


def test_each_type_of_column_has_its_kind(cart: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(capsys, "lookml", "--schema", cart, "--to", str(tmp_path / "made"), "--connection", "warehouse")
    model, views = lookml(tmp_path / "made")
    assert model["connection"] == "warehouse"
    events = views["events"]
    dimensions = {one["name"]: one for one in events["dimensions"]}
    groups = {one["name"]: one for one in events["dimension_groups"]}
    measures = {one["name"]: one for one in events["measures"]}
    assert {name: dimensions[name]["type"] for name in ("total", "n", "ok", "raw", "params", "place__city")} == {
        "total": "number", "n": "number", "ok": "yesno", "raw": "string", "params": "string", "place__city": "string",
    }  # fmt: skip
    assert dimensions["total"]["description"] == 'What it \\"cost\\": { { not a template }}'
    assert dimensions["place__city"]["sql"] == "${TABLE}.`place`.`city`"
    assert dimensions["params"]["sql"] == "TO_JSON_STRING(${TABLE}.`params`)"
    assert {name: group["datatype"] for name, group in groups.items()} == {
        "day": "date", "received_at": "timestamp", "at": "datetime",
    }  # fmt: skip
    kinds = {name: one["type"] for name, one in measures.items()}
    assert kinds == {"row_count": "count", "sum_of_total": "sum", "number_of_user_id": "count_distinct"}
    explore = next(one for one in model["explores"] if one["name"] == "events")
    assert explore["always_filter"]["filters__all"] == [[{"events.day_date": "7 days"}]]
    assert [join["sql"] for join in explore["joins"]] == [
        "LEFT JOIN UNNEST(${events.tags}) AS events__tags",
        "LEFT JOIN UNNEST(${events.items}) AS events__items",
        "LEFT JOIN UNNEST(${events__items.sizes}) AS events__items__sizes",
    ]
    assert names(views["events__items"]) == {"sku", "price", "sizes"}
    assert views["events__tags"]["dimensions"][0]["sql"] == "events__tags"


def test_what_a_view_computes_is_among_its_columns() -> None:
    schema = schemas.schema("n: {type: INT64, from: param.n}", "twice: {type: INT64, expression: 2 * n}")
    events = next(one for one in exported(schema) if one.name == "events")
    assert [field.data_type for field in events.fields if field.name == "twice"] == ["INT64"]


def test_numbers_of_views_are_added_or_averaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(capsys, "lookml", "--schema", str(DEFAULT_FILE), "--to", str(tmp_path))
    _, views = lookml(tmp_path)
    kinds = {one["name"]: one["type"] for one in views["daily_active"]["measures"]}
    assert kinds == {
        "count": "count", "average_visitors": "average", "average_users": "average", "sum_of_events": "sum",
        "sum_of_pages": "sum", "sum_of_orders": "sum",
    }  # fmt: skip


def test_a_row_is_unique_by_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    found = yaml.safe_load(export(capsys, "dbt", "--schema", str(DEFAULT_FILE)))
    events = found["sources"][0]["tables"][0]
    (test,) = events["data_tests"]
    assert test["unique"]["column_name"] == "TO_JSON_STRING(STRUCT(`day`, `tenant`, `type`, `event_id`))"
    assert test["unique"]["config"]["where"] == "`day` >= DATE_SUB(CURRENT_DATE(), INTERVAL 3 DAY)"


def test_a_template_in_a_description_is_none_to_dbt(cart: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = export(capsys, "dbt", "--schema", cart)
    assert "{{" not in text and "{%" not in text


def test_without_a_folder_all_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text = export(capsys, "lookml", "--schema", str(DEFAULT_FILE))
    assert len(lkml.load(text)["views"]) == len(exported(schema_file.load(DEFAULT_FILE)))


def test_json_has_the_files_or_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("dbt", "--schema", str(DEFAULT_FILE), "--json")
    files = json.loads(export(capsys, *arguments))["files"]
    said = json.loads(export(capsys, *arguments, "--to", str(tmp_path)))
    assert said == {"folder": str(tmp_path), "written": list(files)}
    assert {name: (tmp_path / name).read_text() for name in files} == files


def test_files_that_differ_are_left_alone_without_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("lookml", "--schema", str(DEFAULT_FILE), "--to", str(tmp_path))
    export(capsys, *arguments)
    mine, gone = tmp_path / "views" / "events.view.lkml", tmp_path / "views" / "orders.view.lkml"
    mine.write_text("mine")
    gone.unlink()
    said = export(capsys, *arguments, code=1)
    assert said.startswith(f"export: {mine}: there already, and different") and said.count("\n") == 1
    assert mine.read_text() == "mine" and not gone.exists()
    export(capsys, *arguments, "--force")
    assert mine.read_text() != "mine" and gone.exists()


def test_a_schema_file_that_is_wrong_is_said_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "schema.yaml"
    file.write_text("tables: {events: {}}\n")
    assert "schema.yaml:1:" in export(capsys, "dbt", "--schema", str(file), code=2)
