"""Functions of JSON: paths as BigQuery writes them, and scalars as BigQuery tells them apart."""

from __future__ import annotations

import re

from services.local.bigquery.errors import invalid_query, unsupported
from services.local.bigquery.sql.expr import Expr, combined, text

STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][A-Za-z0-9_\-]*)|\."(?P<quoted>(?:[^"\\]|\\.)*)"|\[(?P<index>\d+)\]|\['(?P<key>(?:[^'\\]|\\.)*)'\]"""
)
# Legacy functions quote keys with brackets only, the standard ones with double quotes only.
SCALARS = {"JSON_VALUE": "key", "JSON_EXTRACT_SCALAR": "quoted"}
QUERIES = {"JSON_QUERY": "key", "JSON_EXTRACT": "quoted"}
LAX = ("LAX_STRING",)
TYPED = {
    "INT64": ("['BIGINT', 'UBIGINT']", "an integer", "BIGINT"),
    "BOOL": ("['BOOLEAN']", "a boolean", "BOOLEAN"),
    "FLOAT64": ("['BIGINT', 'UBIGINT', 'DOUBLE']", "a number", "DOUBLE"),
}
NAMES = (*SCALARS, *QUERIES, *LAX, *TYPED, "PARSE_JSON", "JSON_REMOVE", "JSON_TYPE")
KINDS = {
    "OBJECT": "object",
    "ARRAY": "array",
    "VARCHAR": "string",
    "BOOLEAN": "boolean",
    "NULL": "null",
    "BIGINT": "number",
    "UBIGINT": "number",
    "DOUBLE": "number",
}


def duckdb_path(steps: list[str | int]) -> str:
    written = "$"
    for step in steps:
        if isinstance(step, int):
            written += f"[{step}]"
        elif '"' in step:
            raise unsupported('a JSON key that contains "')
        else:
            written += f'."{step}"'
    return text(written)


def read_path(path: Expr, name: str, forbidden: str) -> str:
    """The DuckDB path literal of a BigQuery path literal."""
    if path.type != "STRING" or not path.literal:
        raise unsupported(f"{name} with a path that is no string literal")
    given = path.sql[1:-1].replace("''", "'")
    if not given.startswith("$"):
        raise invalid_query(f"JSONPath must start with '$': {given}")
    steps: list[str | int] = []
    position = 1
    while position < len(given):
        matched = STEP.match(given, position)
        if matched is None or matched[forbidden] is not None:
            raise unsupported(f"the JSONPath {given} in {name}")
        position = matched.end()
        if matched["index"] is not None:
            steps.append(int(matched["index"]))
        else:
            key = matched["name"] or matched["quoted"] or matched["key"] or ""
            if "\\" in key:
                raise unsupported(f"the JSONPath {given} in {name}: an escaped key")
            steps.append(key)
    return duckdb_path(steps)


def call(name: str, arguments: list[Expr]) -> Expr:
    if not arguments or len(arguments) > (2 if name in SCALARS or name in QUERIES or name == "JSON_REMOVE" else 1):
        raise invalid_query(f"Number of arguments does not match for function {name}")
    value = arguments[0]
    if name == "PARSE_JSON":
        if value.type != "STRING":
            raise _mismatch(name, value)
        strict = f"regexp_matches({value.sql}, '(?i)nan|inf|,\\s*[]}}]')"
        refused = f"error('The local BigQuery emulator cannot be sure that this is JSON: ' || {value.sql})"
        return combined(f"(CASE WHEN {strict} THEN {refused} ELSE CAST({value.sql} AS JSON) END)", "JSON", [value])
    if value.type not in (("JSON", "STRING") if name in SCALARS or name in QUERIES else ("JSON",)):
        raise _mismatch(name, value)
    if name in TYPED:
        kinds, wanted, type_ = TYPED[name]
        sql = f"CAST(bq_json_typed({value.sql}, {kinds}, '{wanted}') AS {type_})"
        return combined(sql, name, [value])
    if name == "JSON_TYPE":
        cases = " ".join(f"WHEN '{kind}' THEN '{word}'" for kind, word in KINDS.items())
        return combined(f"(CASE json_type({value.sql}) {cases} END)", "STRING", [value])
    if name == "JSON_REMOVE":
        if len(arguments) != 2:
            raise unsupported("JSON_REMOVE of several paths")
        return combined(f"json_remove({value.sql}, {read_path(arguments[1], name, 'key')})", "JSON", arguments)
    path = "'$'"
    if len(arguments) == 2:
        path = read_path(arguments[1], name, SCALARS.get(name) or QUERIES[name])
    if name in SCALARS or name in LAX:
        return combined(f"bq_json_scalar({value.sql}, {path})", "STRING", [value])
    found = f"json_extract({value.sql}, {path})"
    if value.type == "JSON":
        return combined(found, "JSON", [value])
    return combined(
        f"(CASE json_type({found}) WHEN 'NULL' THEN NULL ELSE CAST({found} AS VARCHAR) END)", "STRING", [value]
    )


def field(value: Expr, key: str | int) -> Expr:
    """`value.key` or `value[0]` of a JSON value: JSON, or NULL where there is none."""
    return combined(f"json_extract({value.sql}, {duckdb_path([key])})", "JSON", [value])


def _mismatch(name: str, value: Expr) -> Exception:
    return invalid_query(f"No matching signature for function {name} for argument types: {value.type}")
