"""Arrays out of JSON, and the LAX_ conversions, which give NULL where others fail."""

from __future__ import annotations

from emulators.bigquery.errors import invalid_query
from emulators.bigquery.sql import json_path
from emulators.bigquery.sql.compiler import Node, calls, compile_
from emulators.bigquery.sql.expr import Expr, combined, signature
from emulators.bigquery.sql.scope import Scope

LAX = {"LAX_INT64": "INT64", "LAX_FLOAT64": "FLOAT64", "LAX_BOOL": "BOOL"}
# What stands in the array, per function: JSON as it is, or scalars only.
ARRAYS = {"JSON_QUERY_ARRAY": "JSON_QUERY", "JSON_VALUE_ARRAY": "JSON_VALUE"}

MACROS = (
    """CREATE OR REPLACE MACRO bq_json_items(j, p) AS CAST(CASE
        WHEN json_type(j, p) = 'ARRAY' THEN json_extract(json_extract(j, p), '$[*]') END AS JSON[])""",
    # An item of an array in text: its own text, where that shows how a number is written.
    r"""CREATE OR REPLACE MACRO bq_json_item(s, e) AS CASE
        WHEN json_type(e) = 'DOUBLE' AND NOT regexp_matches(
            s, '(?:^|[^\d.eE+-])' || regexp_escape(CAST(e AS VARCHAR)) || '(?:$|[^\d.eE+-])')
        THEN error('The local BigQuery emulator does not know how this number was written: ' || s)
        ELSE e END""",
    # Of scalars only: NULL when there is an object or array among them.
    """CREATE OR REPLACE MACRO bq_json_scalars(items) AS CASE
        WHEN len(list_filter(items, lambda e: json_type(e) IN ('OBJECT', 'ARRAY'))) = 0 THEN items END""",
    r"""CREATE OR REPLACE MACRO bq_lax_int64(j) AS CASE json_type(j)
        WHEN 'BOOLEAN' THEN CAST(CAST(json_extract_string(j, '$') AS BOOLEAN) AS BIGINT)
        WHEN 'BIGINT' THEN TRY_CAST(json_extract_string(j, '$') AS BIGINT)
        WHEN 'UBIGINT' THEN TRY_CAST(json_extract_string(j, '$') AS BIGINT)
        WHEN 'DOUBLE' THEN TRY_CAST(round(TRY_CAST(json_extract_string(j, '$') AS DOUBLE)) AS BIGINT)
        WHEN 'VARCHAR' THEN CASE
            WHEN regexp_full_match(json_extract_string(j, '$'),
                '\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*')
            THEN TRY_CAST(round(TRY_CAST(trim(json_extract_string(j, '$')) AS DECIMAL(38,18))) AS BIGINT) END
        END""",
    r"""CREATE OR REPLACE MACRO bq_lax_float64(j) AS CASE
        WHEN json_type(j) IN ('BIGINT', 'UBIGINT', 'DOUBLE') THEN TRY_CAST(json_extract_string(j, '$') AS DOUBLE)
        WHEN json_type(j) = 'VARCHAR' THEN CASE
            WHEN regexp_full_match(json_extract_string(j, '$'), '\s*[+-]?0[xX].*')
            THEN error('The local BigQuery emulator does not read hexadecimal numbers: ' || json_extract_string(j, '$'))
            WHEN regexp_full_match(json_extract_string(j, '$'),
                '\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+|(?i:inf|infinity|nan))(?:[eE][+-]?[0-9]+)?\s*')
            THEN TRY_CAST(trim(json_extract_string(j, '$')) AS DOUBLE) END
        END""",
    """CREATE OR REPLACE MACRO bq_lax_bool(j) AS CASE
        WHEN json_type(j) = 'BOOLEAN' THEN CAST(json_extract_string(j, '$') AS BOOLEAN)
        WHEN json_type(j) IN ('BIGINT', 'UBIGINT', 'DOUBLE')
        THEN TRY_CAST(json_extract_string(j, '$') AS DOUBLE) <> 0
        WHEN json_type(j) = 'VARCHAR' THEN CASE lower(json_extract_string(j, '$'))
            WHEN 'true' THEN TRUE WHEN 'false' THEN FALSE END
        END""",
)


@calls(*LAX)
def _lax(name: str, nodes: list[Node], scope: Scope) -> Expr:
    arguments = [compile_(node, scope) for node in nodes]
    if len(arguments) != 1 or arguments[0].type not in ("JSON", "NULL"):
        raise invalid_query(f"No matching signature for function {name} for argument types: {signature(arguments)}")
    value = arguments[0]
    if value.type == "NULL":
        value = value.retyped("CAST(NULL AS JSON)", "JSON")
    return combined(f"bq_{name.lower()}({value.sql})", LAX[name], [value])


@calls(*ARRAYS)
def _array(name: str, nodes: list[Node], scope: Scope) -> Expr:
    arguments = [compile_(node, scope) for node in nodes]
    if not 1 <= len(arguments) <= 2 or arguments[0].type not in ("JSON", "STRING", "NULL"):
        raise invalid_query(f"No matching signature for function {name} for argument types: {signature(arguments)}")
    value = arguments[0]
    inner = "JSON" if value.type == "JSON" and name == "JSON_QUERY_ARRAY" else "STRING"
    if any(argument.type == "NULL" or argument.sql == "CAST(NULL AS VARCHAR)" for argument in arguments):
        return combined("NULL", f"ARRAY<{inner}>", arguments)
    path = "'$'"
    if len(arguments) == 2:
        path = json_path.read_path(arguments[1], name, "key")
    given = value.sql
    if value.type == "STRING":
        given = f"(CASE WHEN json_valid({given}) THEN {given} END)"
    items = f"bq_json_items({given}, {path})"
    item = f"bq_json_item({value.sql}, e0)" if value.type == "STRING" else "e0"
    if name == "JSON_VALUE_ARRAY":
        one = json_path.call("JSON_VALUE", [Expr(item, "JSON")]).sql
        items = f"list_transform(bq_json_scalars({items}), lambda e0: {one})"
    elif inner == "STRING":
        items = f"list_transform({items}, lambda e0: CAST({item} AS VARCHAR))"
    return combined(items, f"ARRAY<{inner}>", [value])
