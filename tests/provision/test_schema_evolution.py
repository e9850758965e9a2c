from __future__ import annotations

import pytest
from google.cloud.bigquery import SchemaField

from services.provision import schema_evolution
from tests.provision.schemas import TYPE, USER, events


def stored(*names_types_modes: tuple[str, str, str]) -> list[SchemaField]:
    """The schema as BigQuery's REST API answers: legacy names of types, descriptions only where there are some."""
    needed = [
        SchemaField("day", "DATE", mode="REQUIRED", description="The partition"),
        SchemaField("event_id", "STRING", mode="REQUIRED"),
        SchemaField("received_at", "TIMESTAMP", mode="REQUIRED"),
    ]
    return needed + [SchemaField(name, kind, mode=mode) for name, kind, mode in names_types_modes]


def test_a_table_like_its_file_needs_nothing() -> None:
    table = events(
        "n: {type: INT64, from: param.n}", "f: {type: FLOAT64, from: param.f}", "b: {type: BOOL, from: param.b}"
    )
    existing = stored(("n", "INTEGER", "NULLABLE"), ("f", "FLOAT", "NULLABLE"), ("b", "BOOLEAN", "NULLABLE"))
    evolution = schema_evolution.evolve(table, existing)
    assert (evolution.changes, evolution.problems, evolution.strangers) == ((), (), ())
    assert list(evolution.fields) == existing


def test_a_new_column_comes_last_and_nullable() -> None:
    evolution = schema_evolution.evolve(
        events(TYPE, "n: {type: INT64, from: param.n}"), stored(("type", "STRING", "NULLABLE"))
    )
    assert [field.name for field in evolution.fields] == ["day", "event_id", "received_at", "type", "n"]
    assert evolution.fields[-1].mode == "NULLABLE"
    assert evolution.changes == ("new column n INT64",)
    assert not evolution.problems


def test_a_new_required_column_is_refused_with_the_way_out() -> None:
    (problem,) = schema_evolution.evolve(events(USER), stored()).problems
    assert "user_id" in problem
    assert "make it NULLABLE in the schema file" in problem


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        (SchemaField("n", "INTEGER"), "STRING"),
        (SchemaField("n", "STRING"), "INT64"),
        (SchemaField("n", "FLOAT"), "NUMERIC"),
        (SchemaField("n", "TIMESTAMP"), "DATE"),
        (SchemaField("n", "STRING", max_length=10), "STRING"),
        (SchemaField("n", "NUMERIC", precision=10, scale=2), "NUMERIC"),
        (SchemaField("n", "STRING", mode="REPEATED"), "STRING"),
        (SchemaField("n", "RECORD", fields=[SchemaField("x", "STRING")]), "JSON"),
    ],
)
def test_a_type_change_is_refused_naming_both_types(have: SchemaField, wanted: str) -> None:
    table = events(f"n: {{type: {wanted}, from: param.n}}")
    (problem,) = schema_evolution.evolve(table, [*stored(), have]).problems
    assert f"n is {schema_evolution.type_name(have)} in the table and {wanted} in the schema file" in problem
    assert schema_evolution.type_name(have) != wanted


def test_type_names_are_those_of_the_schema_file() -> None:
    names = [schema_evolution.type_name(SchemaField("x", kind)) for kind in ("INTEGER", "FLOAT", "BOOLEAN", "JSON")]
    assert names == ["INT64", "FLOAT64", "BOOL", "JSON"]
    assert schema_evolution.type_name(SchemaField("x", "NUMERIC", precision=10, scale=2)) == "NUMERIC(10, 2)"
    assert schema_evolution.type_name(SchemaField("x", "INTEGER", mode="REPEATED")) == "ARRAY<INT64>"


def test_nullable_never_becomes_required() -> None:
    (problem,) = schema_evolution.evolve(events(USER), stored(("user_id", "STRING", "NULLABLE"))).problems
    assert "NULLABLE in the table and REQUIRED in the schema file" in problem


def test_required_becomes_nullable() -> None:
    evolution = schema_evolution.evolve(events(TYPE), stored(("type", "STRING", "REQUIRED")))
    assert evolution.fields[-1].mode == "NULLABLE"
    assert evolution.changes == ("column type: REQUIRED -> NULLABLE",)


def test_a_column_the_file_lost_stays() -> None:
    evolution = schema_evolution.evolve(events(), stored(("old", "STRING", "NULLABLE")))
    assert [field.name for field in evolution.fields][-1] == "old"
    assert evolution.strangers == ("old",)
    assert evolution.changes == ()


def test_a_required_column_the_file_lost_is_relaxed_or_every_row_would_fail() -> None:
    evolution = schema_evolution.evolve(events(), stored(("old", "STRING", "REQUIRED")))
    assert evolution.fields[-1].mode == "NULLABLE"
    assert "old" in evolution.changes[0]


def test_what_others_set_on_a_column_stays() -> None:
    tagged = {
        "name": "user_id",
        "type": "STRING",
        "mode": "REQUIRED",
        "policyTags": {"names": ["projects/p/locations/us/taxonomies/1/policyTags/2"]},
        "collation": "und:ci",
    }
    evolution = schema_evolution.evolve(events(USER), [*stored(), SchemaField.from_api_repr(dict(tagged))])
    assert evolution.changes == ("column user_id: description",)
    assert evolution.fields[-1].to_api_repr() == {**tagged, "description": "Who did it"}


def test_a_name_in_other_case_is_refused_not_added_twice() -> None:
    evolution = schema_evolution.evolve(events(TYPE), stored(("Type", "STRING", "NULLABLE")))
    assert "type is Type in the table" in evolution.problems[0]
    assert len(evolution.fields) == 4


def test_every_problem_is_told() -> None:
    table = events(USER, "n: {type: INT64, from: param.n}")
    assert len(schema_evolution.evolve(table, stored(("n", "STRING", "NULLABLE"))).problems) == 2


CART = (
    "cart: {type: STRUCT, mode: REPEATED, from: param.items, fields: {"
    "sku: {type: STRING}, "
    "maker: {type: STRUCT, fields: {name: {type: STRING, description: Who}, size: {type: INT64}}}}}"
)


def test_a_struct_gains_fields_at_any_depth_and_loses_none() -> None:
    have = SchemaField(
        "cart",
        "RECORD",
        mode="REPEATED",
        fields=(
            SchemaField("old", "STRING", mode="NULLABLE"),
            SchemaField("maker", "RECORD", mode="NULLABLE", fields=(SchemaField("name", "STRING", mode="REQUIRED"),)),
        ),
    )
    evolution = schema_evolution.evolve(events(CART), [*stored(), have])
    assert not evolution.problems
    assert evolution.strangers == ("cart.old",)
    assert evolution.changes == (
        "column cart.maker.name: REQUIRED -> NULLABLE",
        "column cart.maker.name: description",
        "new column cart.maker.size INT64",
        "new column cart.sku STRING",
    )
    cart = evolution.fields[-1]
    assert [field.name for field in cart.fields] == ["old", "maker", "sku"]
    assert [field.name for field in cart.fields[1].fields] == ["name", "size"]
    assert schema_evolution.evolve(events(CART), evolution.fields).changes == ()


def test_what_a_new_table_gets_needs_nothing_afterwards() -> None:
    table = events(
        CART, "tags: {type: STRING, mode: REPEATED, from: param.tags}", "at: {type: DATETIME, from: param.at}"
    )
    evolution = schema_evolution.evolve(table, schema_evolution.fields(table))
    assert (evolution.changes, evolution.problems, evolution.strangers) == ((), (), ())


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        (SchemaField("tags", "STRING", mode="NULLABLE"), "tags is STRING in the table and ARRAY<STRING>"),
        (SchemaField("tags", "RECORD", mode="REPEATED"), "tags is ARRAY<STRUCT> in the table and ARRAY<STRING>"),
    ],
)
def test_a_column_neither_becomes_a_list_nor_a_struct(have: SchemaField, wanted: str) -> None:
    (problem,) = schema_evolution.evolve(
        events("tags: {type: STRING, mode: REPEATED, from: param.tags}"), [*stored(), have]
    ).problems
    assert wanted in problem
