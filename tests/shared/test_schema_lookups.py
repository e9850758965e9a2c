"""The `lookups` of a schema file: which files events are joined with, and by what."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from services.shared import schema_file
from services.shared.schema import Lookup, Source
from services.shared.schema_lookups import MOST_LOOKUPS
from tests.process import ROOT
from tests.schemas import a_file, refused

PRODUCTS = "{file: /lookups/products.csv, key: sku, by: param.sku}"
NAME = "      name: {type: STRING, from: lookup.products.name}\n"


def _refused(lookups: str, column: str = NAME) -> str:
    return refused(f"{lookups}\n{a_file(column)}", "s.yaml")[0]


def test_a_source_knows_its_lookup() -> None:
    schema = schema_file.parse(f"lookups: {{products: {PRODUCTS}}}\n{a_file(NAME)}")
    lookup = Lookup("products", Path("/lookups/products.csv"), "sku", (Source("param", "sku"),))
    (source,) = schema.tables["events"].column("name").sources
    assert source == Source("lookup", "products.name", lookup=lookup)
    assert str(source) == "lookup.products.name"
    assert schema.asks_for("lookup") and not schema.asks_for("agent")


def test_what_a_lookup_is_looked_up_by_is_asked_for() -> None:
    by_agent = PRODUCTS.replace("param.sku", "agent.name")
    assert schema_file.parse(f"lookups: {{products: {by_agent}}}\n{a_file(NAME)}").asks_for("agent")
    assert not schema_file.parse(f"lookups: {{products: {by_agent}}}\n{a_file()}").asks_for("agent")


@pytest.mark.parametrize(
    ("lookups", "column", "said"),
    [
        ("", NAME, "column events.name: from: 'lookup.products.name': the file has no `lookups` that can be read here"),
        (f"lookups: {{product: {PRODUCTS}}}", NAME, "there is no lookup 'products'; did you mean 'product'?"),
        (f"lookups: {{products: {PRODUCTS}}}", NAME.replace(".name", ""), "name a column of its file too, such as"),
        ("lookups: {products: {file: a.csv, key: sku}}", NAME, "lookup products: 'by' is missing"),
        ("lookups: {products: {file: a.csv, by: param.a}}", NAME, "lookup products: 'key' is missing"),
        ("lookups: {products: {file: a.xlsx, key: a, by: param.a}}", NAME, "'a.xlsx' ends with none of .csv, .parquet"),
        (
            'lookups: {products: {file: "a\\0.csv", key: a, by: param.a}}',
            NAME,
            "is no path; remove the character U+0000",
        ),
        ("lookups: {products: {file: a.csv, key: a, by: param.*}}", NAME, "by: param.* is no key"),
        ("lookups: {products: {file: a.csv, key: a, by: event.id}}", NAME, "by: event.id is no key"),
        ("lookups: {products: {file: a.csv, key: a, by: [hit.ip, param.a]}}", NAME, "so it stands alone"),
        ("lookups: {products: {file: a.csv, key: a, by: param.token}}", NAME, "is one of the secrets"),
        (
            "lookups: {products: {file: a.csv, key: a, by: lookup.products.b}}",
            NAME,
            "by: 'lookup.products.b': the file",
        ),
        ("lookups: {pro-ducts: {file: a.csv, key: a, by: param.a}}", "", "a name is letters, digits and underscores"),
        ("lookups: [products]", "", "lookups: a mapping (`name: value` lines) is wanted here, not a list"),
        (
            f"lookups: {{products: {PRODUCTS}}}",
            "      n: {type: STRUCT, from: lookup.products.n, fields: {a: {type: STRING}}}\n",
            "a STRUCT is filled from a parameter, not from lookup.products.n",
        ),
    ],
)
def test_what_cannot_be_looked_up_is_refused_with_its_place(lookups: str, column: str, said: str) -> None:
    found = _refused(lookups, column)
    assert found.startswith("s.yaml:")
    assert said in found


def test_there_are_only_so_many() -> None:
    names = ", ".join(f"l{number}: {PRODUCTS}" for number in range(MOST_LOOKUPS + 1))
    assert "lookups: 9 files; at most 8 are held in memory" in _refused(f"lookups: {{{names}}}", "")


def test_the_documents_example_is_one() -> None:
    text = (ROOT / "docs/schema.md").read_text().partition("## Lookups\n")[2].partition("\n## ")[0]
    lookups, columns = (part.partition("```")[0] for part in text.split("```yaml\n")[1:])
    assert list(yaml.safe_load(lookups)["lookups"]) == ["products", "offices"]
    events = schema_file.parse(lookups + a_file(columns)).tables["events"]
    assert str(events.column("office").sources[0]) == "lookup.offices.site"
