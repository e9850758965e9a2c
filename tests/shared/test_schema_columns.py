"""Columns of the schema file: fields, transformations, and what becomes of a value that does not fit."""

from __future__ import annotations

import pytest

from services.shared import schema_file
from services.shared.schema import Column, SchemaError, Source, Transform
from tests.schemas import a_file, refused

NESTED = """\
      cart:
        type: STRUCT
        mode: REPEATED
        from: [param.properties.products, param.items]
        fields:
          sku: {type: STRING, mode: REQUIRED, from: [product_id, sku]}
          price: {type: NUMERIC, transform: [{round: 2}, {min: 0}]}
          tags: {type: STRING, mode: REPEATED, transform: lower}
"""


def column(text: str) -> Column:
    return schema_file.parse(a_file(text)).tables["events"].columns[3]


def test_a_struct_has_fields_whose_sources_are_relative() -> None:
    cart = column(NESTED)
    assert (cart.type, cart.repeated, cart.lenient) == ("STRUCT", True, True)
    assert cart.sources == (Source("param", "properties.products"), Source("param", "items"))
    sku, price, tags = cart.fields
    assert sku.sources == (Source("param", "product_id"), Source("param", "sku")) and sku.required
    assert price.sources == (Source("param", "price"),)
    assert price.transforms == (Transform("round", 2), Transform("min", "0"))
    assert tags.repeated and tags.transforms == (Transform("lower"),)


@pytest.mark.parametrize(
    ("spec", "lenient"),
    [
        ("{type: INT64, from: param.a}", True),
        ("{type: INT64, from: param.a, on_error: null}", True),
        ("{type: INT64, from: param.a, on_error: reject}", False),
        ("{type: INT64, mode: REPEATED, from: param.a}", True),
        ("{type: INT64, mode: REQUIRED, from: param.a}", False),
        ("{type: INT64, mode: REQUIRED, from: param.a, on_error: reject}", False),
    ],
)
def test_only_an_optional_column_can_do_without_a_value_that_does_not_fit(spec: str, lenient: bool) -> None:
    assert column(f"      a: {spec}\n").lenient is lenient


# Each case: the column, and the line, column and a part of the error.
CASES = {
    "fields of a scalar": ("{type: INT64, from: param.a, fields: {b: {type: INT64}}}", 8, 47, "goes with type STRUCT"),
    "no fields": ("{type: STRUCT, from: param.a}", 8, 10, "a STRUCT needs `fields`"),
    "empty fields": ("{type: STRUCT, from: param.a, fields: {}}", 8, 48, "a STRUCT has at least one field"),
    "a field without type": ("{type: STRUCT, from: param.a, fields: {b: {}}}", 8, 52, "'type' is missing"),
    "a field's name": (
        "{type: STRUCT, from: param.a, fields: {1b: {type: INT64}}}",
        8,
        53,
        "not starting with a digit",
    ),
    "a struct of a header": ("{type: STRUCT, from: header.a, fields: {b: {type: INT64}}}", 8, 31, "from a parameter"),
    "on_error": ("{type: INT64, from: param.a, on_error: drop}", 8, 49, "none of null, reject"),
    "null and REQUIRED": ("{type: INT64, mode: REQUIRED, from: param.a, on_error: null}", 8, 65, "cannot be null"),
    "problems elsewhere": ("{type: STRING, from: event.problems}", 8, 31, "is JSON"),
    "repeated id": ("{type: STRING, mode: REPEATED, from: event.id}", 8, 47, "the column is REPEATED STRING"),
    "unknown step": ("{type: STRING, from: param.a, transform: [lowr]}", 8, 52, "did you mean 'lower'?"),
    "url step": ("{type: STRING, from: param.a, transform: url.query.NAME}", 8, 51, "is none of"),
    "step without value": ("{type: STRING, from: param.a, transform: [max_length]}", 8, 52, "needs a value"),
    "step with a value": ("{type: STRING, from: param.a, transform: [{trim: 3}]}", 8, 52, "takes no value"),
    "two in one": (
        "{type: STRING, from: param.a, transform: [{max_length: 3, default: x}]}",
        8,
        52,
        "one step",
    ),
    "length": ("{type: STRING, from: param.a, transform: [{max_length: 0}]}", 8, 65, "from 1 to 1,048,576"),
    "decimals": ("{type: NUMERIC, from: param.a, transform: [{round: 39}]}", 8, 61, "from 0 to 38"),
    "bound": ("{type: INT64, from: param.a, transform: [{min: few}]}", 8, 57, "is not a number"),
    "round a text": ("{type: STRING, from: param.a, transform: [{round: 2}]}", 8, 51, "go with INT64"),
    "text after value": ("{type: INT64, from: param.a, transform: [{min: 2}, trim]}", 8, 50, "trim works on text"),
    "split one": ("{type: STRING, from: param.a, transform: [{split: ','}]}", 8, 51, "must be `mode: REPEATED`"),
    "zone": ("{type: TIMESTAMP, from: param.a, transform: [{time_zone: Berlin}]}", 8, 67, "no time zone such as"),
    "zone of a text": ("{type: STRING, from: param.a, transform: [{time_zone: UTC}]}", 8, 51, "goes with TIMESTAMP"),
    "json": ("{type: JSON, from: param.a, transform: trim}", 8, 49, "a JSON has none"),
    "empty map": ("{type: STRING, from: param.a, transform: [{map: {}}]}", 8, 58, "at least one value"),
    "pattern": ("{type: STRING, from: param.a, transform: [{regex: '(a'}]}", 8, 60, "no pattern of RE2: missing )"),
    "lookahead": ("{type: STRING, from: param.a, transform: [{regex: '(?=a)'}]}", 8, 60, "no pattern of RE2"),
    "a bomb": (
        "{type: STRING, from: param.a, transform: [{regex: '((a{999}){999}){99}'}]}",
        8,
        60,
        "no pattern of RE2",
    ),
    "groups": ("{type: STRING, from: param.a, transform: [{regex: '(a)(b)'}]}", 8, 60, "has 2 groups"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_named_with_its_line_and_column(name: str) -> None:
    spec, line, place, words = CASES[name]
    (error,) = refused(a_file(f"      a: {spec}\n"))
    assert error.startswith(f"schema.yaml:{line}:{place}: ") and words in error, error


def test_structs_nest_as_deep_as_bigquery_takes_and_no_deeper() -> None:
    def nested(levels: int) -> str:
        spec = "{type: INT64}"
        for _ in range(levels - 1):
            spec = f"{{type: STRUCT, fields: {{b: {spec}}}}}"
        return f"      a: {{type: STRUCT, from: param.a, fields: {{b: {spec}}}}}\n"

    assert column(nested(15)).fields
    with pytest.raises(SchemaError, match="nested over 15 levels"):
        schema_file.parse(a_file(nested(16)))


def test_a_repeated_column_can_neither_cluster_nor_be_a_key() -> None:
    text = a_file("      a: {type: STRING, mode: REPEATED, from: param.a}\n", "    cluster: [a]\n    unique: [a]\n")
    with pytest.raises(SchemaError, match=r"cannot cluster by REPEATED STRING(.|\n)*cannot group by"):
        schema_file.parse(text)
