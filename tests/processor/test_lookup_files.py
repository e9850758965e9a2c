"""Events joined with an operator's own files: by what, what a missing row is, and a file that is replaced."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.processor.lookup_files import LookupFiles
from services.processor.lookups import Lookups
from services.processor.metrics import Metrics
from services.processor.parse import Parser, Row
from services.shared import hit, identity, schema_file
from services.shared.config import ConfigError
from services.shared.privacy import Privacy
from services.shared.schema import Schema
from tests.processor.parsing import NOW, a_hit
from tests.processor.test_worker import _now, _rows, _running
from tests.schemas import NEEDED, REST, SCHEMA_FILE, a_file
from tests.topics import Topics
from tests.waiting import until

LOOKUPS = """\
lookups:
  products: {file: %s/products.csv, key: sku, by: [param.sku, param.properties.product]}
  tiers: {file: %s/tiers.csv, key: plan, by: header.x-plan}
"""
COLUMNS = """
      product: {type: STRING, from: [lookup.products.name, param.name], transform: upper}
      price: {type: NUMERIC, from: lookup.products.price}
      tier: {type: STRING, from: lookup.tiers.tier}
"""


def _schema(folder: Path, columns: str = COLUMNS, text: str = LOOKUPS) -> Schema:
    return schema_file.parse(text.replace("%s", str(folder)) + a_file(columns + REST))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "products.csv").write_text("sku,name,price\nA1,Chair,12.50\nA2,Table,cheap\n7,Lamp,\n")
    (tmp_path / "tiers.csv").write_text("plan,tier\np1,gold\n")
    return tmp_path


def _parse(schema: Schema, query: str = "", body: Any = None, **given: Any) -> dict[str, Any]:
    files = LookupFiles.of_schema(schema, Privacy())
    assert files is not None
    found = Parser(schema, Lookups(tables=files.tables)).parse(a_hit(query, body, **given), NOW)
    assert isinstance(found, Row), found
    names = [column.name for column in schema.tables["events"].columns]
    return {name: value for name, value in zip(names[3:], found.values[3:], strict=True) if value is not None}


def test_a_row_gives_its_columns_and_its_key_stays_a_parameter(folder: Path) -> None:
    found = _parse(_schema(folder), "sku=A1", headers={"x-plan": "p1"})
    assert str(found.pop("price")) == "12.500000000"
    assert found == {"product": "CHAIR", "tier": "gold", "params": '{"sku":"A1"}'}


def test_a_key_may_be_inside_an_object_and_a_number(folder: Path) -> None:
    assert _parse(_schema(folder), body={"properties": {"product": 7}})["product"] == "LAMP"


def test_without_a_row_the_next_source_has_the_word(folder: Path) -> None:
    assert _parse(_schema(folder), "sku=A9&name=Desk") == {"product": "DESK", "params": '{"sku":"A9"}'}
    assert _parse(_schema(folder), "name=Desk") == {"product": "DESK"}


def test_a_value_that_does_not_fit_is_a_problem_of_the_row(folder: Path) -> None:
    found = _parse(_schema(folder), "sku=A2")
    (problem,) = json.loads(found["problems"])
    assert (problem["column"], problem["reason"], problem["value"]) == ("price", "wrong_type", "cheap")
    assert "price" not in found


def test_a_table_may_be_chosen_by_a_lookup(folder: Path) -> None:
    gold = f"  gold:\n    when: {{lookup.tiers.tier: gold}}\n    partition: day\n    columns:\n{NEEDED}  events:\n"
    text = a_file(REST).replace("  events:\n", gold)
    schema = schema_file.parse(LOOKUPS.replace("%s", str(folder)) + text)
    files = LookupFiles.of_schema(schema, Privacy())
    assert files is not None
    assert list(files.tables) == ["tiers"]  # the other is not asked for, and not read
    parser = Parser(schema, Lookups(tables=files.tables))
    for plan, table in (("p1", "gold"), ("p2", "events")):
        found = parser.parse(a_hit("x=1", headers={"x-plan": plan}), NOW)
        assert isinstance(found, Row)
        assert found.table == table


def test_an_enrichment_may_be_the_key(folder: Path) -> None:
    text = "lookups: {own: {file: %s/own.csv, key: host, by: url.host}}\n"
    (folder / "own.csv").write_text("host,shop\nshop.example.com,Main\n")
    schema = _schema(folder, "\n      shop: {type: STRING, from: lookup.own.shop}\n", text)
    assert _parse(schema, "url=https://shop.example.com/x")["shop"] == "Main"


def test_without_its_file_a_lookup_knows_nothing(folder: Path) -> None:
    found = Parser(_schema(folder)).parse(a_hit("sku=A1"), NOW)
    assert isinstance(found, Row)
    assert found.values[3:6] == [None, None, None]


def test_a_schema_without_lookups_reads_no_file() -> None:
    assert LookupFiles.of_schema(schema_file.load(SCHEMA_FILE), Privacy()) is None


def test_files_that_cannot_be_used_fail_at_start_and_are_named(folder: Path) -> None:
    (folder / "products.csv").write_text("sku,title\nA1,Chair\n")
    (folder / "tiers.csv").unlink()
    with pytest.raises(ConfigError) as caught:
        LookupFiles.of_schema(_schema(folder), Privacy())
    fix = "; mount a whole file there, or take the lookup out of the schema file's columns"
    assert str(caught.value).splitlines() == [
        f"lookup products: {folder}/products.csv: it has no column 'name'; its columns are sku, title{fix}",
        f"lookup tiers: {folder}/tiers.csv: No such file or directory{fix}",
    ]


async def test_a_file_is_replaced_while_it_is_in_use(folder: Path) -> None:
    file = folder / "products.csv"
    files = LookupFiles.of_schema(_schema(folder), Privacy())
    assert files is not None
    registry = CollectorRegistry()
    metrics = Metrics(registry, {})

    def counts() -> list[float | None]:
        name = "pixelpipe_processor_lookup_files_total"
        labels = [{"lookup": "products", "outcome": outcome} for outcome in ("taken", "refused")]
        return [registry.get_sample_value(name, one) for one in labels]

    def modified() -> float | None:
        return registry.get_sample_value(
            "pixelpipe_processor_lookup_modified_timestamp_seconds", {"lookup": "products"}
        )

    with capture_logs() as logs:
        keeping = asyncio.create_task(files.keep_fresh(metrics, every_seconds=0.01))
        before = file.stat().st_mtime
        os.unlink(file)
        await until(lambda: counts() == [0, 1], "a file that is gone is counted")
        assert files.tables["products"].find("A1") == ("Chair", "12.50")
        assert modified() == pytest.approx(before)
        file.write_text("sku,title\nA1,Chair\n")
        await until(lambda: counts() == [0, 2], "a file with another header is counted")
        file.write_text("sku,title\nA1,Stool\n")
        await until(lambda: counts() == [0, 3], "and so is the next")
        new = file.with_suffix(".new")
        new.write_text("sku,name,price\nA1,Stool,1\n")
        os.replace(new, file)
        await until(lambda: counts() == [1, 3], "a good file is taken")
        assert files.tables["products"].find("A1") == ("Stool", "1")
        assert modified() == pytest.approx(file.stat().st_mtime)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert [(line["event"], line["lookup"], line.get("error")) for line in logs] == [
        (
            "the new lookup file cannot be used; the one before stays",
            "products",
            "No such file or directory",
        ),
        (
            "the new lookup file cannot be used; the one before stays",
            "products",
            "it has no column 'name'; its columns are sku, title",
        ),
        ("a new lookup file is in use", "products", None),
    ]


async def test_the_service_joins_with_the_file_of_its_schema(topics: Topics, folder: Path) -> None:
    column = "      product: {type: STRING, from: lookup.products.name}\n"
    text = SCHEMA_FILE.read_text().replace("      params:", column + "      params:", 1)
    schema = folder / "schema.yaml"
    schema.write_text(LOOKUPS.replace("%s", str(folder)) + text)
    now = _now()
    one = hit.Hit(identity.uuid7(now), now, "GET", "/i", "user_id=1&sku=A1")
    async with _running(topics, schema=schema):
        topics.publish("hits", *hit.pack([hit.encode(one)], identity.uuid7(now)))
        ((_, row),) = await _rows(topics, 1)
    assert row["product"] == "Chair"
